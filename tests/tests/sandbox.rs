//! The sandbox: what is on while a guest runs, what follows a forbidden call, what the programs have that kipi starts, and which
//! system calls are really made.

#[path = "../../vmm/src/standalone/fixture.rs"]
mod fixture;

use kipi::sandbox::ThreadKind;
use kipi::sandbox::allowed::{ENTRIES, Entry};
use kipi_tests::{ONE_CELL, Ran, Running, binary, document, hypervisor, kipi, run_tests, skip, test, turn, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// Runs on real vCPUs, or says why not.
fn measure(more: &[&str]) -> Option<Ran> {
    let _turn = turn();
    hypervisor()?;
    Some(kipi(ONE_CELL.iter().chain(&["--native", "none"]).chain(more)))
}

/// What /proc/PID/status says of a sandbox.
fn lines_of(status: &str) -> Vec<&str> {
    let names = ["NoNewPrivs:", "Seccomp:", "CapEff:", "CapPrm:"];
    status.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect()
}

fn own_lines() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("a process has a status");
    lines_of(&status).join("\n")
}

#[test]
fn a_forbidden_call_ends_the_run_in_one_line_and_what_was_measured_is_written() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let json = folder.path().join("run.json");
    let json_name = json.to_str().expect("a plain path");
    // The third boot's first vCPU: two boots are over.
    let more = ["--rounds", "30", "--boots", "5", "--inject-forbidden-call", "5", "--json", json_name];
    let Some(ran) = measure(&more) else { return };
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let line = "a vCPU's thread tried a system call that its sandbox forbids: getppid";
    assert!(ran.complaint().starts_with(&format!("kipi: {line} (report it")), "{ran:?}");
    assert!(ran.complaint().contains("--no-sandbox"), "{ran:?}");
    let document = document(&fs::read_to_string(&json).expect("what was measured"));
    assert_eq!((&document["partial"], &document["error"]), (&true.into(), &line.into()));
    assert!(document["cells"][0]["rounds"].as_u64().is_some_and(|rounds| rounds > 0), "{document}");
}

/// vCPUs are kept on CPUs while clocks are compared, and machines of several sizes and kinds are booted.
#[test]
fn options_that_change_what_kipi_does_work_inside() {
    for more in [&["--pin", "none"][..], &["--observe", "all", "--wait", "spin,park"], &["--halt-poll", "0"]] {
        let Some(ran) = measure(&[&["--rounds", "10", "--boots", "2"], more].concat()) else { return };
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{more:?}: {ran:?}");
    }
}

#[test]
fn a_run_without_a_sandbox_says_so_everywhere() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let [json, html] = ["run.json", "run.html"].map(|name| folder.path().join(name).display().to_string());
    let more = ["--rounds", "5", "--boots", "1", "--no-sandbox", "--json", &json, "--html", &html];
    let Some(ran) = measure(&more) else { return };
    assert!(ran.stdout.contains("NO SANDBOX (--no-sandbox)"), "{ran:?}");
    assert_eq!(document(&fs::read_to_string(&json).expect("a document"))["sandbox"]["state"], "off");
    assert!(fs::read_to_string(&html).expect("a page").contains("NO SANDBOX (--no-sandbox)"));
    let check = kipi(["check", "--filter", "contract/completes/xapic", "--format", "tap", "--no-sandbox"]);
    assert!(check.stdout.contains("# NO SANDBOX (--no-sandbox)"), "{check:?}");
    let trace = kipi(["trace", "--vcpus", "2", "--source", "vmm", "--no-sandbox"]);
    assert!(trace.stdout.contains("NO SANDBOX (--no-sandbox)"), "{trace:?}");
}

/// Of every thread, while vCPUs run.
#[test]
fn a_run_has_a_sandbox_and_vcpus_have_a_narrower_one() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let mut running = Running::start(
        Command::new(binary()).args(ONE_CELL).args(["--native", "none", "--rounds", "100000", "--json", "-"]),
    );
    let tasks = format!("/proc/{}/task", running.id());
    let mut seen = BTreeMap::new();
    wait_until("a vCPU's thread runs", || {
        seen = threads(Path::new(&tasks));
        let filters = |name: &str| seen.get(name).and_then(|status| filters(status));
        running.has_ended() || filters("vcpu0") > filters("kipi")
    });
    // Of the signal of a forbidden call, too, if somebody sends it: no call was made.
    for signal in [Signal::SYS, Signal::INT] {
        let process = Pid::from_raw(running.id().cast_signed()).expect("a process");
        kill_process(process, signal).expect("one's own child");
    }
    let ran = running.finish();
    assert!(ran.status == Some(130) && !ran.stderr.contains("forbids"), "{ran:?}");
    assert_eq!(document(&ran.stdout)["sandbox"]["state"], sandbox_here(), "{}", ran.stderr);
    for (name, status) in &seen {
        let lines = lines_of(status).join("\n");
        assert!(lines.contains("NoNewPrivs:\t1") && lines.contains("Seccomp:\t2"), "{name}: {lines}");
        assert!(lines.contains("CapEff:\t0000000000000000"), "{name}: {lines}");
    }
}

#[test]
fn a_result_replaces_anothers_file_and_stays_theirs() {
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let json = folder.path().join("run.json");
    fs::write(&json, "yesterday's").expect("a file");
    if chown(&json, Some(NOBODY), Some(NOBODY)).is_err() {
        skip("only root may give a file away");
        return;
    }
    let Some(ran) = measure(&["--rounds", "20", "--json", json.to_str().expect("a plain path")]) else { return };
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let found = document(&fs::read_to_string(&json).expect("the result"));
    assert_eq!(found["sandbox"]["capabilities"], serde_json::json!(["CAP_FOWNER"]), "{}", found["sandbox"]);
    assert_eq!(fs::metadata(&json).expect("the file").uid(), NOBODY);
}

/// Landlock knows directories, and no paths: in the one that has come in its place, nothing may be written.
#[test]
fn a_result_follows_its_folder() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    fs::create_dir(&old).expect("a folder");
    let options = ["--native", "none", "--rounds", "100000", "--json"];
    let mut running = Running::start(Command::new(binary()).args(ONE_CELL).args(options).arg(old.join("run.json")));
    let tasks = format!("/proc/{}/task", running.id());
    wait_until("a vCPU's thread runs", || running.has_ended() || threads(Path::new(&tasks)).contains_key("vcpu0"));
    fs::rename(&old, &new).expect("one's own");
    fs::create_dir(&old).expect("another one in its place");
    let process = Pid::from_raw(running.id().cast_signed()).expect("a process");
    kill_process(process, Signal::INT).expect("one's own child");
    let ran = running.finish();
    assert_eq!(ran.status, Some(130), "{ran:?}");
    document(&fs::read_to_string(new.join("run.json")).expect("the result"));
}

/// A kernel without Landlock gives the rest.
fn sandbox_here() -> &'static str {
    let names = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_else(|_| "landlock".to_owned());
    if names.contains("landlock") { "on" } else { "partly" }
}

/// The status of each thread of a process, by its name.
fn threads(tasks: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(tasks) else { return BTreeMap::new() };
    let read = |entry: fs::DirEntry| {
        let [name, status] = ["comm", "status"].map(|file| fs::read_to_string(entry.path().join(file)).ok());
        Some((name?.trim().to_owned(), status?))
    };
    entries.flatten().filter_map(read).collect()
}

/// How many filters a thread has; `None`: this kernel does not count them (Linux 5.9).
fn filters(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:")).and_then(|count| count.trim().parse().ok())
}

#[test]
fn another_vmm_has_the_rights_of_who_starts_kipi() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str| folder.path().join(name).display().to_string();
    fs::write(place("boot.log"), fixture::log(1, 5)).expect("a log");
    let [log, status, json] = ["boot.log", "status", "run.json"].map(place);
    // A VMM that makes a file, which Landlock would refuse, reads its own state, and runs on.
    let vmm = format!(
        "other=sh -c 'test -s {{kernel}} && test -n \"{{append}}\" && cat /proc/self/status > {status} && cat {log} > {{serial}} && exec sleep 600'"
    );
    // What the log's image was asked for.
    let plan = ["--route", "x2apic,msi", "--warmup", "2", "--deadline", "4000", "--rounds", "20", "--boots", "1"];
    let more = [&plan[..], &["--under", &vmm, "--json", &json]].concat();
    let Some(ran) = measure(&more) else { return };
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(lines_of(&fs::read_to_string(status).expect("it was run")).join("\n"), own_lines());
    let document = document(&fs::read_to_string(place("run.json")).expect("a document"));
    assert_eq!(document["sandbox"]["state"], sandbox_here(), "kipi's own VMM has one");
}

#[test]
fn another_build_has_the_rights_of_who_starts_kipi() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let [program, status] = ["kipi-other", "status"].map(|name| folder.path().join(name));
    let script =
        format!("#!/bin/sh\ncat /proc/self/status > {}\nexec {} \"$@\"\n", status.display(), binary().display());
    fs::write(&program, script).expect("a script");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("one's own file");
    let more = ["--rounds", "20", "--boots", "1", "--ab-exec", program.to_str().expect("a plain path")];
    let Some(ran) = measure(&more) else { return };
    assert_eq!(ran.stderr, "", "{ran:?}");
    assert_eq!(lines_of(&fs::read_to_string(status).expect("it was run")).join("\n"), own_lines());
}

/// By kind of thread, from its own filter on.
#[test]
fn the_calls_that_are_made_are_those_that_are_allowed() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "--decode-pids=comm", "-o", &place("calls")]).arg(binary());
    strace.args(["measure", "--vcpus", "2", "--route", "xapic,vmm,native-futex", "--target-state", "halt"]);
    strace.args(["--rounds", "2", "--boots", "1", "--references", "none", "--json", &place("run.json")]);
    if Command::new("strace").arg("--version").output().is_err() {
        skip("there is no strace here");
        return;
    }
    let ran = Running::start(&mut strace).finish();
    // Under strace, a call may take so long that its round does not count, which is status 1.
    assert!(matches!(ran.status, Some(0 | 1)) && !ran.stderr.contains("forbids"), "{ran:?}");
    let made = calls(&fs::read_to_string(place("calls")).expect("strace's file"));
    for kind in [ThreadKind::Main, ThreadKind::Vcpu, ThreadKind::Native] {
        let of_kind = |entry: &&Entry| kind == ThreadKind::Main || entry.kinds.contains(&kind);
        let allowed: BTreeSet<&str> = ENTRIES.iter().filter(of_kind).flat_map(Entry::names).collect();
        let made = &made[kind.short_name()];
        let missing: Vec<_> = made.iter().filter(|call| !allowed.contains(call.as_str())).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", kind.short_name());
        assert!(made.contains("futex"), "{}: {made:?}", kind.short_name());
        let unused: Vec<_> = allowed.iter().filter(|call| !made.contains(**call)).collect();
        println!("{}: allowed, and not used in this run: {unused:?}", kind.short_name());
    }
    assert!(made["vCPU"].contains("ioctl"), "KVM_RUN");
}

/// The calls in a file of strace's, by kind of thread.
fn calls(text: &str) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut made: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut is_filtered = false;
    let mut own = BTreeSet::new();
    for line in text.lines() {
        // `1234<vcpu0> ioctl(17, KVM_RUN, 0)`; others are ends of calls, and signals.
        let Some((thread, rest)) = line.split_once("> ") else { continue };
        let Some((id, name)) = thread.split_once('<') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let kind = match name.trim_end_matches(|it: char| it.is_ascii_digit()) {
            "vcpu" => "vCPU",
            "native-" => "native",
            "competitor" => "competitor",
            _ => "main",
        };
        if is_filtered && (kind == "main" || own.contains(id)) {
            made.entry(kind).or_default().insert(call.to_owned());
        }
        // A thread's own filter comes behind the process's.
        if call == "seccomp" {
            is_filtered = true;
            own.insert(id.to_owned());
        }
    }
    made
}
