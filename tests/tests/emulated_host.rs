//! The command line of `tests/emulated-host/run`: what it refuses before it fetches anything, and what its help names.

use kipi_tests::{run_tests, test};
use std::collections::BTreeSet;
use std::process::{Command, Output};

fn main() -> std::process::ExitCode {
    run_tests()
}

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/emulated-host/run");

/// A program that has libraries.
const DYNAMIC: &str = "/bin/sh";

fn run(arguments: &[&str]) -> Output {
    Command::new(RUN).args(arguments).output().expect("bash")
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    let refused: [(&[&str], &str); 9] = [
        (&["--script", "/no/such/script"], "--script /no/such/script: there is no such file"),
        (&["--script"], "--script needs a value"),
        (&["--kernel=6.1 6.12"], "--kernel 6.1 6.12: needs a release of Debian's or a version"),
        (&["--host=arm"], "--host arm: there are amd and intel"),
        (&["--cpus", "0"], "--cpus 0: needs a whole number above zero"),
        (&["--exec", "/no/such/program"], "/no/such/program: there is no such executable"),
        (&["--alone"], "--alone: needs --exec FILE, a static one"),
        (&["--alone", "--exec", RUN, "--take", RUN], "--alone: --script and --take would put other files beside it"),
        (
            &["--alone", "--exec", DYNAMIC],
            &format!("--alone --exec {DYNAMIC}: is not static, and would need its libraries"),
        ),
    ];
    for (arguments, why) in refused {
        let ran = run(arguments);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with(&format!("emulated host: {why}")), "{arguments:?}: {said}");
        assert_eq!((said.lines().count(), ran.stdout.len()), (1, 0), "{arguments:?}: {said}");
    }
}

#[test]
fn the_help_names_every_option() {
    let help = String::from_utf8(run(&["--help"]).stdout).expect("UTF-8");
    let script = std::fs::read_to_string(RUN).expect("the script");
    let option = |line: &str| -> Option<String> {
        let name = line.trim().strip_prefix("--")?.split_once(')')?.0.to_owned();
        (!name.is_empty() && name.bytes().all(|it| it.is_ascii_lowercase() || it == b'-')).then_some(name)
    };
    let options: BTreeSet<String> = script.lines().filter_map(option).collect();
    assert!(options.len() > 8, "{options:?}");
    let unnamed: Vec<&String> = options.iter().filter(|name| !help.contains(&format!("\n  --{name} "))).collect();
    assert_eq!(unnamed, Vec::<&String>::new());
    assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
}
