//! What cannot be done is refused in one line that names the thing, the value and the way out, with the right status.

use guest_stub::abi::{self, ImageHeader};
use kipi_tests::{Ran, Running, binary, file_offset, hypervisor, kipi, run_tests, skip, test, turn};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::fs::{self, Permissions};
use std::mem::offset_of;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

fn main() -> std::process::ExitCode {
    run_tests()
}

const BAD_INPUT: i32 = 2;
const HOST_CANNOT: i32 = 4;

/// Runs kipi, which must refuse with `status` and one line that has all of `needles`.
fn refused(arguments: &[&str], status: i32, needles: &[&str]) {
    expect_refusal(&kipi(arguments), arguments, status, needles);
}

fn expect_refusal(ran: &Ran, arguments: &[&str], status: i32, needles: &[&str]) {
    let line = ran.complaint();
    for needle in needles {
        assert!(line.contains(needle), "{arguments:?}: no {needle:?} in: {line}");
    }
    assert_eq!(ran.status, Some(status), "{arguments:?}: {line}");
    assert_eq!(ran.stdout, "", "{arguments:?}: nothing was measured, so there is nothing to print");
}

#[test]
fn counts_of_vcpus() {
    for bad in ["0", "5000", "x", "-1", "1.5", "", "2,0"] {
        let option = format!("--vcpus={bad}");
        let value = bad.rsplit(',').next().expect("split brings one part at least");
        refused(&[&option], BAD_INPUT, &["--vcpus", &format!("'{value}'"), "kipi --help"]);
    }
    refused(&["--vcpus", "5000"], BAD_INPUT, &["1..=1024"]);
}

#[test]
fn unknown_names_come_with_the_known_ones() {
    for (option, known) in [
        ("--route", ["xapic", "x2apic", "memory"]),
        ("--destination", ["all-but-self", "unicast", "mesh"]),
        ("--target-state", ["spin", "user", "halt"]),
        ("--worker", ["[possible values: ", "stamp", "spin"]),
        ("--observe", ["[possible values: ", "guest", "exits"]),
    ] {
        refused(&[option, "pigeon"], BAD_INPUT, &[&[option, "'pigeon'"][..], &known[..]].concat());
    }
    refused(&["pigeon"], BAD_INPUT, &["'pigeon'", "kipi --help"]);
    refused(&["--pigeon"], BAD_INPUT, &["'--pigeon'", "kipi --help"]);
    for command in ["measure", "trace", "check", "doctor", "compare", "history"] {
        refused(&[command, "--fomat"], BAD_INPUT, &["'--fomat'", &format!("'kipi {command} --help'")]);
    }
}

#[test]
fn pins() {
    refused(&["--pin", "9999"], BAD_INPUT, &["--pin", "CPU 9999", "it may use "]);
    refused(&["--pin", "abc"], BAD_INPUT, &["--pin", "'abc'", "auto", "none", "0,2-3"]);
    refused(&["--pin", "3-1"], BAD_INPUT, &["--pin", "'3-1'", "0,2-3"]);
    refused(&["--pin", "0-999999999"], BAD_INPUT, &["--pin", "'0-999999999'", "0,2-3"]);
}

#[test]
fn counts_of_rounds() {
    refused(&["--rounds", "0"], BAD_INPUT, &["--rounds", "'0'", "1..="]);
    refused(&["--warmup", "1001"], BAD_INPUT, &["--warmup", "'1001'", "1000"]);
}

#[test]
fn exits_without_a_virtual_machine() {
    if hypervisor().is_none() {
        return;
    }
    let natively =
        ["measure", "--exits", "--call", "ping", "--route", "native", "--target-state", "user", "--vcpus", "2"];
    refused(&natively, BAD_INPUT, &["--exits", "without a virtual machine nothing exits", "--route x2apic"]);
}

#[test]
fn devices_that_are_not_kvm() {
    let missing = "/nonexistent/kvm";
    refused(&["--device", missing], HOST_CANNOT, &[missing, "does not exist", "--device"]);
    refused(&["--device", "/dev/null"], HOST_CANNOT, &["/dev/null is not KVM's device", "--device /dev/kvm"]);
    refused(&["--device", "/"], HOST_CANNOT, &["/ is not KVM's device", "--device /dev/kvm"]);
    refused(&["measure", "--device", missing], HOST_CANNOT, &[missing]);
}

#[test]
fn a_vmm_that_is_not_there_is_missed_before_anything_is_measured() {
    let line = "no-such-vmm --kernel {kernel} {append}";
    refused(&["--under", line], BAD_INPUT, &["--under no-such-vmm", "there is no program no-such-vmm", "install it"]);
}

/// Another user's kipi, and a device that is closed to it: permission bits do not stop root.
#[test]
fn a_device_without_permission() {
    const NOBODY: u32 = 65534;
    const KVM: (u32, u32) = (10, 232);
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let device = directory.path().join("kvm");
    if mknodat(CWD, &device, FileType::CharacterDevice, Mode::empty(), makedev(KVM.0, KVM.1)).is_err() {
        skip("no device can be made here");
        return;
    }
    let program = directory.path().join("kipi");
    // By another process: were the copy open for writing here, a test beside this one that forks would hold it open, too,
    // and it could not be run (ETXTBSY).
    let copied = Command::new("cp").arg(binary()).arg(&program).status().expect("cp runs");
    assert!(copied.success(), "a copy of kipi");
    for (path, mode) in [(directory.path(), 0o755), (&program, 0o755)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("one's own files");
    }
    let device = device.to_str().expect("a plain path");
    let ran = Running::start(Command::new(&program).args(["--device", device]).uid(NOBODY).gid(NOBODY)).finish();
    expect_refusal(&ran, &["--device", device], HOST_CANNOT, &["permission denied", device, "usermod -aG kvm"]);
}

/// What has no controlling terminal has no /dev/tty, although its file is there.
#[test]
fn a_terminal_is_not_kvms_device() {
    let ran = Running::start(Command::new("setsid").arg("-w").arg(binary()).args(["--device", "/dev/tty"])).finish();
    expect_refusal(&ran, &["--device", "/dev/tty"], HOST_CANNOT, &["/dev/tty is not KVM's device", "--device"]);
}

/// Found before anything else is done: even before KVM is looked for, which here is not to be found.
#[test]
fn outputs_that_cannot_be_written() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let a_directory = directory.path().to_str().expect("a plain path");
    for option in ["--json", "--csv", "--html", "--bmf"] {
        for (path, reason) in [
            ("/nonexistent/out", "No such file or directory"),
            (a_directory, "Is a directory"),
            ("/dev/null/out", "Not a directory"),
            ("/proc/kipi.out", ""),
        ] {
            refused(&[option, path, "--device", "/nonexistent/kvm"], BAD_INPUT, &[option, path, reason]);
        }
    }
    let path = "/nonexistent/kipi.prom";
    let arguments = ["--prometheus", path, "--device", "/nonexistent/kvm"];
    refused(&arguments, BAD_INPUT, &["--prometheus", path, "No such file or directory"]);
    let names: Vec<_> = fs::read_dir(directory.path()).expect("the directory").collect();
    assert!(names.is_empty(), "left behind: {names:?}");
}

#[test]
fn two_outputs_in_one_place() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let file = directory.path().join("out");
    let file = file.to_str().expect("a plain path");
    for (path, name) in [("-", "-"), (file, file)] {
        let arguments = ["--json", path, "--csv", path, "--device", "/nonexistent/kvm"];
        refused(&arguments, BAD_INPUT, &["--json", "--csv", name, "different files"]);
    }
    refused(&["--json", "-", "--csv", "/dev/stdout"], BAD_INPUT, &["--json", "--csv", "standard output"]);
    assert!(!Path::new(file).exists());
}

/// What a shell makes of kipi's standard streams.
fn with_streams(arguments: &str, streams: &str) -> Ran {
    let line = format!("exec \"$0\" {arguments} {streams}");
    Running::start(Command::new("sh").args(["-c", &line]).arg(binary())).finish()
}

#[test]
fn results_do_not_replace_what_a_standard_stream_was_sent_to() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let file = directory.path().join("out").display().to_string();
    for (stream, name) in [(">", "standard output"), ("2>", "standard error")] {
        let ran = with_streams(&format!("--device /nonexistent/kvm --json '{file}'"), &format!("{stream}'{file}'"));
        let said = fs::read_to_string(&file).expect("the file") + &ran.stderr;
        assert_eq!(ran.status, Some(BAD_INPUT), "{ran:?}");
        assert!(said.contains(&format!("kipi: {name} and --json {file} are the same file (")), "{said}");
    }
    let both = with_streams("image - rounds=1", &format!(">'{file}' 2>&1"));
    assert_eq!(both.status, Some(0), "standard output is what was asked for: {both:?}");
}

#[test]
fn a_standard_output_that_is_closed_is_told() {
    for arguments in ["doctor", "--help", "measure --json -", "check --list"] {
        let ran = with_streams(arguments, ">&-");
        assert_eq!(ran.status, Some(BAD_INPUT), "{arguments}: {ran:?}");
        assert_eq!(ran.complaint(), "kipi: standard output is closed (open it: >/dev/null drops what is printed)");
    }
    assert_eq!(with_streams("--version", ">/dev/null").status, Some(0));
    // To git bisect run, 2 would be a bad version.
    assert_eq!(with_streams("bisect-step", ">&-").status, Some(128));
}

#[test]
fn two_outputs_in_one_place_under_two_names() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let path = |name: &str| format!("{}/{name}", directory.path().display());
    fs::create_dir(path("sub")).expect("a directory");
    symlink("out", path("link")).expect("a link");
    fs::write(path("there"), "yesterday's").expect("a file");
    fs::hard_link(path("there"), path("hard")).expect("a hard link");
    let commands: [(&[&str], [&str; 2]); 3] = [
        (&["measure", "--device", "/nonexistent/kvm"], ["--json", "--csv"]),
        (&["trace", "--device", "/nonexistent/kvm"], ["--json", "--perfetto"]),
        (&["history", "/nonexistent/runs"], ["--html", "--json"]),
    ];
    for (command, [one, other]) in commands {
        for [first, second] in [["out", "./out"], ["out", "sub/../out"], ["out", "link"], ["there", "hard"]] {
            let (first, second) = (path(first), path(second));
            let arguments = [command, &[one, &first, other, &second]].concat();
            refused(&arguments, BAD_INPUT, &[one, &first, other, &second, "are the same file"]);
        }
        refused(&[command, &[one, "-", other, "/dev/stdout"]].concat(), BAD_INPUT, &[one, other, "standard output"]);
    }
    assert_eq!(fs::read(path("there")).expect("the file"), b"yesterday's");
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 4, "nothing is left behind");
}

#[test]
fn an_output_that_is_an_input() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let path = |name: &str| format!("{}/{name}", directory.path().display());
    let [base, new, link, hard] = ["base.json", "new.json", "link.prom", "hard.prom"].map(path);
    for run in [&base, &new] {
        fs::write(run, "a run").expect("a file");
    }
    symlink("new.json", &link).expect("a link");
    fs::hard_link(&base, &hard).expect("a hard link");
    let all = path("");
    let pattern = path("n*.json");
    let commands: [(&[&str], &str, [&str; 2]); 6] = [
        (&["history", &base, &new], &new, ["--json", &new]),
        (&["history", &all], &link, ["--html", &new]),
        (&["history", &pattern], &link, ["--json", &new]),
        (&["compare", &base, "--new", &new], &link, ["--prometheus", &new]),
        (&["compare", &base, "--new", &new], &hard, ["--prometheus", &base]),
        (&["compare", &link, "--new", &base], &link, ["--prometheus", &link]),
    ];
    for (command, output, [option, input]) in commands {
        let arguments = [command, &[option, output]].concat();
        refused(&arguments, BAD_INPUT, &[option, output, input, "which is read", "are the same file"]);
    }
    for run in [&base, &new] {
        assert_eq!(fs::read(run).expect("the file"), b"a run");
    }
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 4, "nothing is left behind");
}

/// `kipi --csv out > out`: the file of the samples would replace the one that the table goes to.
#[test]
fn an_output_that_standard_output_was_redirected_to() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let path = directory.path().join("out");
    let name = path.to_str().expect("a plain path");
    for command in [
        &["--csv", name, "--device", "/nonexistent/kvm"][..],
        &["--csv", name, "--json", "-", "--device", "/nonexistent/kvm"],
    ] {
        let stdout = fs::File::create(&path).expect("a file");
        let mut kipi = Command::new(binary());
        let ran = kipi.args(command).stdout(stdout).output().expect("kipi runs");
        let line = String::from_utf8_lossy(&ran.stderr);
        assert!(line.contains("--csv") && line.contains(name) && line.contains("are the same file"), "{line}");
        assert_eq!((ran.status.code(), line.lines().count()), (Some(BAD_INPUT), 1), "{line}");
    }
}

#[test]
fn plans_that_a_standalone_image_would_not_follow() {
    let missing = "FILE is missing before rounds=20, which is a word of the plan (./rounds=20 is a file)";
    refused(&["image", "rounds=20"], BAD_INPUT, &[missing]);
    refused(&["image", "rounds=20", "state=user"], BAD_INPUT, &[missing]);
    refused(&["image", "Rounds=20"], BAD_INPUT, &["FILE is missing before Rounds=20,"]);
    refused(&["image", "help"], BAD_INPUT, &["kipi help image", "./help"]);
    refused(&["image", "-", "rounds=5", "rounds=6"], BAD_INPUT, &["rounds is there twice"]);
    refused(&["image", "-", "state=user rounds=5", "target-state=halt"], BAD_INPUT, &["target-state is there twice"]);
    refused(&["measure", "--threshold", "5"], BAD_INPUT, &["--ab"]);
    refused(&["image", "-", "bogus=3"], BAD_INPUT, &["there is no word bogus=3"]);
    refused(&["image", "-", "/rounds=5"], BAD_INPUT, &["there is no word /rounds=5"]);
    for other in ["/boot/kipi.elf", "root=/dev/sda", "kvm.rounds=5"] {
        refused(&["image", "-", other, "rounds=5"], BAD_INPUT, &[other, "is no word of a plan"]);
    }
}

#[test]
fn guest_images_that_cannot_be_read() {
    refused(&["--guest", "/nonexistent/guest"], BAD_INPUT, &["guest image", "/nonexistent/guest", "--guest"]);
    refused(&["--guest", "/"], BAD_INPUT, &["guest image /", "--guest"]);
    refused(&["--guest", "/dev/zero"], BAD_INPUT, &["guest image /dev/zero", "character device", "--guest"]);
}

/// The system's reason stands in the sentence; it is not appended once more.
#[test]
fn a_reason_is_said_once() {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let script = directory.path().join("guest");
    fs::write(&script, "#!/bin/sh\n".repeat(100)).expect("a file");
    let mut cases = vec![["--device", "/"], ["--guest", "/nonexistent/guest"]];
    if hypervisor().is_some() {
        cases.push(["--guest", script.to_str().expect("a plain path")]);
    }
    for arguments in cases {
        let _turn = turn();
        let ran = kipi(arguments);
        let parts: Vec<&str> = ran.complaint().split(": ").collect();
        let (last, earlier) = parts.split_last().expect("split brings one part at least");
        assert!(!earlier.iter().any(|part| part.starts_with(last)), "{last:?} comes twice in {parts:?}");
    }
}

/// Images, each with what the refusal must say about it.
fn images_of_others() -> Vec<(Vec<u8>, Vec<String>)> {
    let header = file_offset(kipi::vm::image::EMBEDDED, abi::IMAGE);
    let patched = |field: usize, bytes: &[u8]| {
        let mut image = kipi::vm::image::EMBEDDED.to_vec();
        image[header + field..][..bytes.len()].copy_from_slice(bytes);
        image
    };
    let version = abi::ABI_VERSION + 1;
    let newer = patched(offset_of!(ImageHeader, abi_version), &version.to_le_bytes());
    let versions = vec![format!("ABI version {version}"), format!("needs {}", abi::ABI_VERSION), "rebuild".to_owned()];
    let say = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    vec![
        (newer, versions),
        (patched(offset_of!(ImageHeader, magic), b"someone!"), say(&["no kipi header", "guest-stub"])),
        (patched(offset_of!(ImageHeader, data_end), &[0xff; 8]), say(&["damaged", "rebuild"])),
        (b"#!/bin/sh\n".repeat(100), say(&["ELF", "guest-stub"])),
        (Vec::new(), say(&["ELF", "guest-stub"])),
        (kipi::vm::image::EMBEDDED[..header].to_vec(), say(&["guest-stub"])),
    ]
}

#[test]
fn guest_images_of_others() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let path = directory.path().join("guest");
    for (image, needles) in images_of_others() {
        fs::write(&path, image).expect("a file");
        let ran = kipi(["--guest", path.to_str().expect("a plain path")]);
        let line = ran.complaint();
        for needle in needles.iter().map(String::as_str).chain(["guest image"]) {
            assert!(line.contains(needle), "no {needle:?} in: {line}");
        }
        assert_eq!(ran.status, Some(BAD_INPUT), "{line}");
    }
}

#[test]
fn nothing_is_printed_of_a_run_that_never_began() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let image = directory.path().join("guest");
    fs::write(&image, "not a guest").expect("a file");
    refused(&["--guest", image.to_str().expect("a plain path")], BAD_INPUT, &["guest image"]);
}

#[test]
fn combinations_that_cannot_be() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let memory = ["--route", "memory", "--target-state"];
    refused(&[&memory[..], &["halt"]].concat(), BAD_INPUT, &["memory", "halt", "a halted processor polls nothing"]);
    refused(&[&memory[..], &["user"]].concat(), BAD_INPUT, &["memory", "user", "poll at CPL0"]);
    let all = ["--route", "memory", "--destination", "all", "--target-state", "spin"];
    refused(&all, BAD_INPUT, &["memory, all, spin", "does not poll its own line", "--destination all-but-self"]);
    refused(&["--vcpus", "300", "--route", "xapic"], BAD_INPUT, &["xapic", "300 vCPUs", "254", "use x2apic"]);
    let observed = ["--call", "ping", "--observe", "exits"];
    refused(&observed, BAD_INPUT, &["ping", "no worker", "(pass --observe guest or --call broadcast)"]);
    refused(&["--idle-before", "20", "--settle", "30"], BAD_INPUT, &["--idle-before", "--settle"]);
}

#[test]
fn doctor_says_why_not_as_well() {
    let ran = kipi(["doctor", "--device", "/nonexistent/kvm"]);
    assert_eq!(ran.status, Some(HOST_CANNOT), "{ran:?}");
    assert!(ran.stdout.contains("/nonexistent/kvm") && ran.stderr.is_empty(), "{ran:?}");
    refused(&["doctor", "--vcpus", "0"], BAD_INPUT, &["--vcpus", "'0'"]);
}
