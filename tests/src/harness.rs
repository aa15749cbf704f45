//! What runs the tests: as the built-in harness does, to a command line and to cargo, but that a test which finds that it cannot be run
//! here is not called passed. It is counted as ignored, with its reason.

use libtest_mimic::{Arguments, Completion, Trial};
use std::cell::RefCell;
use std::fmt::Display;
use std::process::ExitCode;

/// A test, which the attribute [`test`](crate::test) makes.
#[derive(Debug)]
pub struct Test {
    /// Its crate, modules and name.
    pub path: &'static str,
    /// The test. It fails by a panic.
    pub run: fn(),
}

inventory::collect!(Test);

thread_local! {
    /// Why the test that this thread runs cannot be run here.
    static SKIPPED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes that the test cannot be run here, and why; the test then returns. Only from the test's own thread.
pub fn skip(reason: impl Display) {
    SKIPPED.with_borrow_mut(|skipped| {
        skipped.get_or_insert_with(|| reason.to_string());
    });
}

/// Runs the tests of a file that the command line chooses: its whole `main`.
pub fn run_tests() -> ExitCode {
    let mut tests: Vec<&Test> = inventory::iter::<Test>().collect();
    tests.sort_by_key(|test| test.path);
    let (filters, others) = split(std::env::args());
    let arguments = Arguments::from_iter(others);
    let is_chosen = |name: &str| {
        filters.is_empty() || filters.iter().any(|it| if arguments.exact { name == it } else { name.contains(it) })
    };
    // Without the crate's name, as the built-in harness has it.
    let name_of = |test: &Test| test.path.split_once("::").map_or(test.path, |(_, name)| name);
    let chosen = tests.into_iter().filter(|test| is_chosen(name_of(test)));
    let trials = chosen.map(|test| Trial::ignorable_test(name_of(test), || Ok(completion(test.run))));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// The parts of names that the command line chooses tests by, and the rest of it: the built-in harness takes several such parts, and
/// `libtest_mimic` one.
fn split(arguments: impl IntoIterator<Item = String>) -> (Vec<String>, Vec<String>) {
    const WITH_VALUE: [&str; 6] = ["--skip", "--test-threads", "--format", "--color", "--logfile", "-Z"];
    let (mut filters, mut others): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for argument in arguments {
        let is_value = others.last().is_none_or(|last| WITH_VALUE.contains(&last.as_str()));
        if is_value || argument.starts_with('-') { others.push(argument) } else { filters.push(argument) }
    }
    (filters, others)
}

fn completion(test: fn()) -> Completion {
    SKIPPED.set(None);
    test();
    SKIPPED.take().map_or(Completion::Completed, Completion::ignored_with)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_may_choose_tests_by_several_names() {
        let (filters, others) = split(["program", "one", "--skip", "two", "--exact", "three"].map(str::to_owned));
        assert_eq!(filters, ["one", "three"]);
        assert_eq!(others, ["program", "--skip", "two", "--exact"]);
    }

    #[test]
    fn a_test_that_says_so_is_ignored_with_its_first_reason() {
        let skips = || {
            skip("no KVM");
            skip("and no Chromium");
        };
        assert!(matches!(completion(skips), Completion::Ignored { reason: Some(reason) } if reason == "no KVM"));
        assert!(matches!(completion(|| ()), Completion::Completed), "the next test on this thread");
    }
}
