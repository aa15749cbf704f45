//! The licences of what is handed out: `dist/build` writes their texts, and refuses one that it does not know.

use kipi_tests::{run_tests, test};
use std::process::Command;

fn main() -> std::process::ExitCode {
    run_tests()
}

const ABOUT: &str = include_str!("../../dist/about.toml");

/// Those that cargo-about takes.
fn accepted() -> Vec<&'static str> {
    let list = ABOUT.lines().find_map(|line| line.strip_prefix("accepted = [")).expect("a list");
    list.trim_end_matches(']').split(", ").map(|name| name.trim_matches('"')).collect()
}

/// Whether an SPDX expression, of choices that all hold, leaves a choice.
fn is_met(expression: &str, accepted: &[&str]) -> bool {
    let choices = |all: &str| {
        all.trim_matches(['(', ')']).replace('/', " OR ").split(" OR ").any(|name| accepted.contains(&name))
    };
    expression.split(" AND ").all(choices)
}

#[test]
fn each_crate_in_kipi_has_one_that_is_accepted() {
    let accepted = accepted();
    assert!(accepted.len() > 2 && is_met("MIT/Apache-2.0", &accepted) && !is_met("GPL-2.0 AND MIT", &accepted));
    let cargo = std::env::var_os("CARGO").expect("cargo runs tests");
    let arguments = ["tree", "--locked", "--offline", "--package", "kipi", "--edges", "normal", "--prefix", "none"];
    let tree = Command::new(cargo).args(arguments).args(["--format", "{l}: {p}"]).output().expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let crates = String::from_utf8(tree.stdout).expect("UTF-8");
    assert!(crates.lines().count() > 100, "{crates}");
    for line in crates.lines() {
        let (licence, name) = line.split_once(": ").expect("as it was asked for");
        assert!(is_met(licence, &accepted), "{name}: dist/about.toml does not accept {licence}");
    }
}
