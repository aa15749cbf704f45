//! What a host's limits and its other users do to a run: it is told, and no number is of something else than it says.

use kipi::results::measurement::Measurement;
use kipi_tests::{Ran, Running, assert_valid, binary, hypervisor, kipi, run_tests, skip, test, turn};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// One cell, and nothing beside it.
const ONE_CELL: [&str; 8] = ["--route", "x2apic", "--native", "none", "--references", "none", "--observe", "guest"];

/// The program under a limit, as prlimit(1) names it.
fn limited(limit: &str, program: &Path) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(limit).arg(program);
    command
}

fn measurement(path: &Path) -> Measurement {
    let document = serde_json::from_str(&fs::read_to_string(path).expect("it was written")).expect("JSON");
    assert_valid(&document);
    serde_json::from_value(document).expect("a measurement")
}

/// Some vCPUs have KVM's counters and others do not: nobody takes what is missing for HLTs that never were.
#[test]
fn rounds_count_where_files_run_out() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let ran = Running::start(limited("--nofile=30", binary()).args(ONE_CELL).args([
        "--vcpus",
        "16",
        "--target-state",
        "halt",
        "--rounds",
        "20",
    ]))
    .finish();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("none of 20 calls lost"), "{ran:?}");
    assert!(ran.stdout.contains("KVM's own counters are missing"), "{ran:?}");
}

/// KVM's own thread is one more than the limit of processes allows: KVM_RUN is refused with EAGAIN as often as it is tried.
#[test]
fn a_limit_of_processes_is_named() {
    const NOBODY: u32 = 65534;
    const KVM: (u32, u32) = (10, 232);
    let _turn = turn();
    if hypervisor().is_none() || !rustix::process::geteuid().is_root() {
        skip("without KVM or root, nobody gets a device of kvm that another user may open");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let [device, program] = ["kvm", "kipi"].map(|name| directory.path().join(name));
    if mknodat(CWD, &device, FileType::CharacterDevice, Mode::empty(), makedev(KVM.0, KVM.1)).is_err() {
        skip("no device can be made here");
        return;
    }
    let copied = Command::new("cp").arg(binary()).arg(&program).status().expect("cp runs");
    assert!(copied.success(), "a copy of kipi");
    for (path, mode) in [(directory.path(), 0o755), (&device, 0o666), (&program, 0o755)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("one's own files");
    }
    // Which limit is too low for KVM's thread only: kipi has one for the signals, and one for each vCPU.
    let with = |limit: u32, arguments: &[&str]| -> Ran {
        let mut command = limited(&format!("--nproc={limit}"), &program);
        command.uid(NOBODY).gid(NOBODY).args(arguments).arg("--device").arg(&device);
        Running::start(&mut command).finish()
    };
    // Four vCPUs, and four threads of the host that call them at once.
    let callers = ["check", "--filter", "trap/4-initiators-everybody/vmm-host", "--format", "tap"];
    for limit in 2..=12 {
        let ran = with(limit, &callers);
        assert!(matches!(ran.status, Some(0 | 4)) && ran.stderr.is_empty(), "{limit}: {ran:?}");
        assert!(ran.status == Some(0) || ran.stdout.contains("ulimit -u"), "{limit}: {ran:?}");
    }
    let measure = [&ONE_CELL[..], &["--vcpus", "2", "--target-state", "spin", "--rounds", "20"]].concat();
    let ran: Vec<Ran> = (2..=8).map(|limit| with(limit, &measure)).collect();
    assert!(ran.iter().any(|ran| ran.status == Some(0)), "{ran:?}");
    let Some(refused) = ran.iter().find(|ran| ran.stderr.contains("KVM_RUN")) else {
        skip("this KVM starts no thread of its own");
        return;
    };
    assert_eq!(refused.status, Some(4), "{refused:?}");
    let line = refused.complaint();
    assert!(line.contains("Resource temporarily unavailable") && line.contains("ulimit -u"), "{line}");
}

/// A signal gets vCPUs out of the guest, wherever they are: however many may wait.
#[test]
fn a_limit_of_pending_signals_holds_nobody_up() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let mut command = limited("--sigpending=0", binary());
    let cells =
        ["--route", "x2apic,vmm", "--target-state", "halt", "--rounds", "20", "--native", "none", "--vcpus", "2"];
    let ran = Running::start(command.args(cells)).finish();
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn a_limit_of_open_files_is_named() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let ran = Running::start(limited("--nofile=16", binary()).args(ONE_CELL).args(["--vcpus", "16"])).finish();
    assert_eq!(ran.status, Some(4), "{ran:?}");
    let line = ran.complaint();
    assert!(line.contains("Too many open files") && line.contains("ulimit -n"), "{line}");
    let check = ["check", "--filter", "contract/completes/x2apic", "--format", "tap"];
    let ran = Running::start(limited("--nofile=8", binary()).args(check)).finish();
    assert_eq!(ran.status, Some(4), "{ran:?}");
    let told = [ran.stdout.as_str(), ran.stderr.as_str()].concat();
    assert!(told.contains("Too many open files") && told.contains("ulimit -n"), "{ran:?}");
}

/// Whether it is KVM or tracefs that finds none left.
#[test]
fn a_limit_of_open_files_ends_every_trace_the_same_way() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    for limit in (8..=26).step_by(2) {
        let ran = Running::start(limited(&format!("--nofile={limit}"), binary()).arg("trace")).finish();
        if ran.status != Some(0) {
            assert_eq!(ran.status, Some(4), "{limit}: {ran:?}");
            assert!(ran.complaint().contains("ulimit -n"), "{limit}: {ran:?}");
        }
    }
}

/// As a full disk: what was measured is shown, and one line says what is lost.
#[test]
fn a_limit_of_file_sizes_is_named() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    for option in ["--json", "--csv", "--html"] {
        let file = directory.path().join("result");
        let mut command = limited("--fsize=2000", binary());
        command.args(ONE_CELL).args(["--vcpus", "2", "--target-state", "spin", "--rounds", "60", option]).arg(&file);
        let ran = Running::start(&mut command).finish();
        assert_eq!(ran.status, Some(1), "{option}: {ran:?}");
        let line = ran.complaint();
        assert!(line.contains("File too large") && line.contains("ulimit -f"), "{option}: {line}");
        assert!(
            ran.stdout.contains(" calls lost, duplicate, late or timed out") && !file.exists(),
            "{option}: {ran:?}"
        );
    }
}

/// As a container's `--volume FILE:FILE`: no other file can take its name.
#[test]
fn a_file_that_is_mounted_is_written_into() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let [outside, inside] = ["outside", "inside"].map(|name| directory.path().join(name));
    for file in [&outside, &inside] {
        fs::write(file, "what was there before").expect("a file");
    }
    let mounted = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &format!("mount --bind \"$1\" \"$2\" && {program}")]);
        Running::start(command.arg(binary()).args([&outside, &inside])).finish()
    };
    if mounted("true").status != Some(0) {
        skip("nothing can be mounted here");
        return;
    }
    let usual = "exec \"$0\" measure --vcpus 2 --route memory --target-state spin --native none --rounds 20";
    let commands = ["exec \"$0\" image \"$2\" rounds=5".to_owned(), format!("{usual} --json \"$2\"")];
    let _turn = turn();
    for command in commands.iter().take(if hypervisor().is_some() { 2 } else { 1 }) {
        let ran = mounted(command);
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{command}: {ran:?}");
        let written = fs::read(&outside).expect("it is there");
        assert!(written.starts_with(b"\x7fELF") || written.starts_with(b"{"), "{command}");
        assert_eq!(fs::read(&inside).expect("it is there"), b"what was there before");
        let names = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(names, 2, "{command}: something is left");
    }
}

/// Keeps a process's threads of this name on a CPU until the process ends.
fn keep_on(running: &mut Running, name: &str, cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu);
    while !running.has_ended() {
        let tasks = fs::read_dir(format!("/proc/{}/task", running.id())).into_iter().flatten().flatten();
        for task in tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|it| it.trim() == name))
        {
            let id = task.file_name().to_str().and_then(|id| Pid::from_raw(id.parse().ok()?));
            // It may have ended by now.
            let _ = sched_setaffinity(id, &only);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_vcpu_that_somebody_moves_is_told_with_where_it_ran() {
    let _turn = turn();
    let allowed = sched_getaffinity(None).expect("one's own affinity");
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let (Some(_), Some(first), Some(second)) = (hypervisor(), cpus.next(), cpus.next()) else {
        skip("without KVM or a second CPU, nothing is moved");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let [still, moved] = ["still", "moved"].map(|name| directory.path().join(name));
    let pin = format!("{first},{second}");
    let arguments = |json: &Path| {
        let mut all = ONE_CELL.map(str::to_owned).to_vec();
        all.extend(["--vcpus", "2", "--target-state", "halt", "--rounds", "100", "--pin", &pin].map(str::to_owned));
        all.extend(["--json".to_owned(), json.to_str().expect("a plain path").to_owned()]);
        all
    };
    let ran = kipi(arguments(&still));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let ran_on = measurement(&still).ran_on;
    let places: Vec<_> = ran_on.iter().map(|of| (of.vcpu, of.pin, of.cpus.clone(), of.affinity_changed)).collect();
    let stays = |vcpu, cpu| (vcpu, Some(cpu), [cpu].into(), Some(false));
    assert_eq!(places, [stays(0, first), stays(1, second)]);
    assert!(!ran.stdout.contains("NOT STAY"), "{}", ran.stdout);

    let mut running = Running::start(Command::new(binary()).args(arguments(&moved)));
    keep_on(&mut running, "vcpu1", first);
    let ran = running.finish();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let ran_on = measurement(&moved).ran_on;
    assert!(ran_on[1].affinity_changed == Some(true) && ran_on[1].cpus.contains(&first), "{ran_on:?}");
    assert!(!ran_on[0].was_moved(), "{ran_on:?}");
    assert!(ran.stdout.contains("1 of 2 threads did NOT STAY on their CPUs"), "{}", ran.stdout);
    assert!(ran.stdout.contains("thread 1 ran on CPU"), "{}", ran.stdout);
}
