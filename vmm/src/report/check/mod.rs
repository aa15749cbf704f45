//! A run of the conformance suite, reported while it goes on: for people, for harnesses and for CI servers.
//!
//! All formats write the same words: whatever could break a line, a terminal or a document is written as in a Rust
//! literal, before a format escapes what it must.

pub mod json;
pub mod junit;
pub mod tap;
pub mod text;

use super::wrap::printable;
use crate::results::check::{Finished, Head, Summary};
use std::io;

/// One format, writing to one place: [`Sink::start`], [`Sink::finished`] for each test, [`Sink::end`].
///
/// Each call flushes what it has written, so that a test is seen when it ends. Errors are the writer's own, of the kind
/// that it gave them.
pub trait Sink {
    /// Begins the report.
    ///
    /// # Errors
    /// The writer's own.
    fn start(&mut self, head: &Head) -> io::Result<()>;

    /// Adds a test.
    ///
    /// # Errors
    /// The writer's own.
    fn finished(&mut self, test: &Finished) -> io::Result<()>;

    /// Completes the report, be the suite complete or not.
    ///
    /// # Errors
    /// The writer's own.
    fn end(&mut self, summary: &Summary) -> io::Result<()>;
}

/// The numbers of a summary: `57 passed, 1 failed, 3 skipped, 2 not run`; the last only if there are any.
fn counts(summary: &Summary) -> String {
    let Summary { passed, failed, skipped, not_run, .. } = summary;
    let rest = if *not_run > 0 { format!(", {not_run} not run") } else { String::new() };
    format!("{passed} passed, {failed} failed, {skipped} skipped{rest}")
}

/// Runs made up for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use super::Sink;
    use super::json::{About, Json};
    use crate::results::check::{CheckConfig, Finished, Head, Outcome, Summary};
    use crate::results::fixture;
    use crate::results::sandbox::Sandbox;
    use std::time::Duration;

    /// What could break a report: line ends, TAP's and XML's own signs, a terminal's escapes, what XML forbids.
    pub(in crate::report) const HOSTILE: &str = "a\r\nnot ok 9 - b # SKIP \\# c\\ ]]> <&\"'> \u{1b}[31mred\u{1b}]0;t \0 \u{7f} \
                                      \u{9b} \u{2028} \u{202e} \u{ffff} µ: - \"x\"\n  ...\nBail out!";

    /// [`HOSTILE`] as a report shows it.
    pub(in crate::report) const TAMED: &str = concat!(
        r#"a\r\nnot ok 9 - b # SKIP \# c\ ]]> <&"'> \u{1b}[31mred\u{1b}]0;t \0 \u{7f} "#,
        r#"\u{9b} \u{2028} \u{202e} \u{ffff} µ: - "x"\n  ...\nBail out!"#
    );

    pub(super) fn head() -> Head {
        Head {
            kipi: "0.1.0".to_owned(),
            kernel: "6.18.44".to_owned(),
            kvm: "kvm_amd".to_owned(),
            cpu: "AMD EPYC".to_owned(),
            cpus: 2,
            seed: 123,
            planned: 3,
            sandbox: None,
        }
    }

    pub(super) fn about() -> About {
        About {
            started: Some(1_764_230_400.0),
            date: Some("2025-11-27T08:00:00.000Z".to_owned()),
            command: ["kipi", "check", "--filter", "trap/"].map(str::to_owned).to_vec(),
            host: fixture::measurement().host,
            config: CheckConfig {
                filter: vec!["trap/".to_owned()],
                skip: Vec::new(),
                soak_minutes: None,
                injected_fault: None,
                pin: vec![0, 1],
                device: "/dev/kvm".to_owned(),
                guest: None,
            },
        }
    }

    pub(super) fn test(name: &str, outcome: Outcome, micros: u64, detail: &str) -> Finished {
        Finished { name: name.to_owned(), outcome, duration: Duration::from_micros(micros), detail: detail.to_owned() }
    }

    /// One test of each outcome.
    pub(super) fn tests() -> [Finished; 3] {
        [
            test("contract/x2apic/all-but-self/halt", Outcome::Passed, 1_234_567, "96 calls, 288 workers"),
            test(
                "trap/device-interrupt/xapic",
                Outcome::Failed("vector 0x31 came 2 times, not once".to_owned()),
                12_345,
                "7 calls",
            ),
            test("size/300/x2apic", Outcome::Skipped("this host's KVM allows 288 vCPUs".to_owned()), 0, ""),
        ]
    }

    /// The summary of [`tests`].
    pub(super) fn summary() -> Summary {
        Summary {
            passed: 1,
            failed: 1,
            skipped: 1,
            duration: Duration::from_millis(1_250),
            interrupted: false,
            not_run: 0,
        }
    }

    /// The document of a run outside of any sandbox.
    pub(crate) fn document() -> serde_json::Value {
        let mut bytes = Vec::new();
        let head = Head { sandbox: Some(Sandbox::off()), ..head() };
        written(|writer| Json::new(writer, about()), &mut bytes, (&head, &tests(), &summary()));
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// What a sink, made by `new`, writes about a run.
    pub(super) fn written<'a, S: Sink + 'a>(
        new: impl FnOnce(&'a mut Vec<u8>) -> S,
        bytes: &'a mut Vec<u8>,
        run: (&Head, &[Finished], &Summary),
    ) {
        let (head, tests, summary) = run;
        let mut sink = new(bytes);
        sink.start(head).expect("memory takes everything");
        for test in tests {
            sink.finished(test).expect("memory takes everything");
        }
        sink.end(summary).expect("memory takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{HOSTILE, TAMED, head, summary, tests};
    use super::*;
    use std::cell::RefCell;
    use std::io::{BufWriter, Write};
    use std::rc::Rc;

    /// A writer whose bytes can be looked at while somebody writes.
    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A pipe that nobody reads.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_printed_is_made_visible() {
        assert_eq!(printable(HOSTILE), TAMED);
        assert_eq!(printable(" as 'it' is: \"µ\" · \\ \t\n"), "as 'it' is: \"µ\" · \\");
    }

    #[test]
    fn every_test_is_seen_when_it_ends() {
        for new in [
            |writer| Box::new(text::Text::new(writer, 80)) as Box<dyn Sink>,
            |writer| Box::new(tap::Tap::new(writer, tap::Version::V13)) as Box<dyn Sink>,
        ] {
            let shared = Shared::default();
            let seen = || String::from_utf8(shared.0.borrow().clone()).expect("UTF-8");
            let mut sink = new(BufWriter::with_capacity(1 << 20, shared.clone()));
            sink.start(&head()).expect("memory takes everything");
            assert!(seen().ends_with("seed 123\n"), "{}", seen());
            for test in &tests() {
                assert!(!seen().contains(&test.name));
                sink.finished(test).expect("memory takes everything");
                assert!(seen().contains(&test.name) && seen().ends_with('\n'));
            }
            sink.end(&summary()).expect("memory takes everything");
            assert!(seen().contains("1 passed, 1 failed, 1 skipped"));
        }
    }

    #[test]
    fn a_broken_pipe_is_the_callers_to_judge() {
        let kind = |result: io::Result<()>| result.expect_err("nobody reads").kind();
        assert_eq!(kind(text::Text::new(Broken, 80).start(&head())), io::ErrorKind::BrokenPipe);
        assert_eq!(kind(tap::Tap::new(Broken, tap::Version::V13).start(&head())), io::ErrorKind::BrokenPipe);
        let mut junit = junit::Junit::new(Broken);
        junit.start(&head()).expect("nothing is written before the end");
        assert_eq!(kind(junit.end(&summary())), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_was_not_run_is_counted_if_there_is_any() {
        assert_eq!(counts(&summary()), "1 passed, 1 failed, 1 skipped");
        assert_eq!(counts(&Summary { not_run: 4, ..summary() }), "1 passed, 1 failed, 1 skipped, 4 not run");
    }
}
