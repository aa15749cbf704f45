//! An older kernel: all that kipi does needs no system call that Linux 4.18 (RHEL 8's) does not have.
//!
//! System calls that came later are refused with ENOSYS, as an older kernel refuses them. What ioctls and flags an older kernel
//! lacks this does not show: `tests/emulated-host/run --kernel bullseye` boots Linux 5.10.

use kipi::results::measurement::Measurement;
use kipi_tests::{Ran, Running, assert_valid, binary, hypervisor, run_tests, test, turn};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::fs;
use std::process::Command;
use std::thread;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// The first number that Linux 4.18 does not know (rseq(2) has the last that it does), and one that is beyond all.
const NEWER: std::ops::Range<i64> = 335..1024;
const ENOSYS: u32 = 38;

/// kipi, as that kernel runs it. A filter is its thread's, and its thread's children's.
fn on_an_older_kernel(arguments: &[&str]) -> Ran {
    let rules = NEWER.map(|number| (number, vec![])).collect();
    let arch = std::env::consts::ARCH.try_into().expect("an architecture of seccomp's");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(ENOSYS), arch);
    let program: BpfProgram = filter.expect("distinct actions").try_into().expect("a short program");
    thread::scope(|scope| {
        let run = || {
            seccompiler::apply_filter(&program).expect("seccomp is there");
            Running::start(Command::new(binary()).args(arguments)).finish()
        };
        scope.spawn(run).join().expect("no panic")
    })
}

#[test]
fn measures_in_what_there_is_of_a_sandbox() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let path = directory.path().join("result.json");
    let result = path.to_str().expect("UTF-8");
    let ran = on_an_older_kernel(&["--route", "x2apic,vmm", "--rounds", "20", "--json", result]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let document = serde_json::from_str(&fs::read_to_string(path).expect("it was written")).expect("JSON");
    assert_valid(&document);
    let measurement: Measurement = serde_json::from_value(document).expect("a measurement");
    let sandbox = measurement.sandbox.and_then(|sandbox| sandbox.warning()).expect("it is not whole");
    assert!(sandbox.contains("without Landlock: this kernel has none"), "{sandbox}");
}

#[test]
fn checks_and_looks_at_the_host() {
    let _turn = turn();
    if hypervisor().is_none() {
        return;
    }
    let ran = on_an_older_kernel(&["check", "--filter", "trap/parked/vmm-host", "--format", "tap"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("ok 1 - trap/parked/vmm-host"), "{ran:?}");
    let ran = on_an_older_kernel(&["doctor"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}
