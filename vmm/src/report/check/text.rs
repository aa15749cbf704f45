//! The suite's results for people: one line a test, what failed once more at the end.

use super::{Sink, counts};
use crate::report::units;
use crate::report::wrap::{hang, printable};
use crate::results::check::{Finished, Head, Outcome, Summary};
use crate::results::count::count;
use crate::results::sandbox::Sandbox;
use std::io::{self, Write};
use std::time::Duration;

/// Width of the verdict and the space behind it.
const VERDICT_COLUMNS: usize = 6;
/// Widest name that durations are lined up behind.
const NAME_COLUMNS: usize = 40;
/// Indent of a test's further lines.
const CONTINUED: usize = VERDICT_COLUMNS + 2;
/// Width of a duration.
const TIME_COLUMNS: usize = 8;

/// A test that failed.
#[derive(Debug)]
struct Failure {
    name: String,
    reason: String,
}

/// Writes the text.
#[derive(Debug)]
pub struct Text<W: Write> {
    writer: W,
    width: usize,
    seed: u64,
    failures: Vec<Failure>,
}

impl<W: Write> Text<W> {
    /// A report that nothing has been written of, in lines of at most `width` columns.
    pub fn new(writer: W, width: usize) -> Self {
        Self { writer, width, seed: 0, failures: Vec::new() }
    }
}

impl<W: Write> Text<W> {
    fn line(&mut self, head: &str, words: &str, indent: usize) -> io::Result<()> {
        writeln!(self.writer, "{}", hang(head, words, self.width, indent))
    }
}

impl<W: Write> Sink for Text<W> {
    fn start(&mut self, head: &Head) -> io::Result<()> {
        let Head { cpus, seed, planned, .. } = head;
        let [kipi, kernel, kvm, cpu] = [&head.kipi, &head.kernel, &head.kvm, &head.cpu].map(|text| printable(text));
        self.seed = *seed;
        self.line("", &format!("kipi {kipi} · Linux {kernel} · KVM: {kvm}"), 2)?;
        self.line("", &format!("{cpu} · {} · {} · seed {seed}", count(*cpus, "CPU"), count(*planned, "test")), 2)?;
        if let Some(warning) = head.sandbox.as_ref().and_then(Sandbox::warning) {
            self.line("", &printable(&warning), 2)?;
        }
        self.writer.flush()
    }

    fn finished(&mut self, test: &Finished) -> io::Result<()> {
        let (name, detail, took) = (printable(&test.name), printable(&test.detail), time(test.duration));
        let (verdict, took, words) = match &test.outcome {
            Outcome::Passed => ("ok", took.as_str(), detail),
            Outcome::Failed(_) => ("FAIL", took.as_str(), detail),
            Outcome::Skipped(reason) => ("skip", "-", printable(reason)),
        };
        let head = format!("{verdict:<VERDICT_COLUMNS$}{name:<NAME_COLUMNS$} {took:>TIME_COLUMNS$}  ");
        self.line(&head, &words, CONTINUED)?;
        if let Outcome::Failed(reason) = &test.outcome {
            let reason = printable(reason);
            self.line(&" ".repeat(VERDICT_COLUMNS), &reason, CONTINUED)?;
            self.failures.push(Failure { name, reason });
        }
        self.writer.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        writeln!(self.writer)?;
        if !self.failures.is_empty() {
            writeln!(self.writer, "Failed")?;
            for Failure { name, reason } in std::mem::take(&mut self.failures) {
                self.line("  ", &name, CONTINUED)?;
                self.line(&" ".repeat(VERDICT_COLUMNS), &reason, CONTINUED)?;
            }
            writeln!(self.writer)?;
        }
        let (seed, took, counts) = (self.seed, time(summary.duration), counts(summary));
        let how = if summary.interrupted { "interrupted: " } else { "" };
        self.line("", &format!("{how}{counts} in {took}; seed {seed} (repeat with --seed {seed})"), 2)?;
        self.writer.flush()
    }
}

fn time(duration: Duration) -> String {
    units::time(duration.as_nanos() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{HOSTILE, TAMED, head, summary, test, tests, written};
    use super::*;
    use crate::report::wrap::width_of;

    fn text(head: &Head, tests: &[Finished], summary: &Summary) -> String {
        let mut bytes = Vec::new();
        written(|writer| Text::new(writer, 10_000), &mut bytes, (head, tests, summary));
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn every_outcome_has_its_line() {
        assert_eq!(
            text(&head(), &tests(), &summary()),
            "\
kipi 0.1.0 · Linux 6.18.44 · KVM: kvm_amd
AMD EPYC · 2 CPUs · 3 tests · seed 123
ok    contract/x2apic/all-but-self/halt          1.23 s  96 calls, 288 workers
FAIL  trap/device-interrupt/xapic               12.3 ms  7 calls
      vector 0x31 came 2 times, not once
skip  size/300/x2apic                                 -  this host's KVM allows 288 vCPUs

Failed
  trap/device-interrupt/xapic
      vector 0x31 came 2 times, not once

1 passed, 1 failed, 1 skipped in 1.25 s; seed 123 (repeat with --seed 123)
"
        );
    }

    #[test]
    fn without_failures_there_is_nothing_to_repeat() {
        let [passed, ..] = tests();
        let text = text(&head(), &[passed], &Summary { failed: 0, interrupted: true, not_run: 2, ..summary() });
        let (_, end) = text.split_once("\n\n").expect("an empty line before the end");
        assert_eq!(
            end,
            "interrupted: 1 passed, 0 failed, 1 skipped, 2 not run in 1.25 s; seed 123 \
             (repeat with --seed 123)\n"
        );
    }

    #[test]
    fn nothing_breaks_a_line() {
        let hostile = test(HOSTILE, Outcome::Failed(HOSTILE.to_owned()), 5, HOSTILE);
        let head = Head { kipi: HOSTILE.to_owned(), cpu: HOSTILE.to_owned(), ..head() };
        let text = text(&head, &[hostile], &summary());
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
        assert_eq!(text.lines().count(), 10, "{text}");
        assert_eq!(text.matches(TAMED).count(), 7, "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let hostile = test(HOSTILE, Outcome::Failed(HOSTILE.to_owned()), 5, HOSTILE);
        let [passed, failed, skipped] = tests();
        for width in 20..120 {
            let mut bytes = Vec::new();
            let tests = [passed.clone(), failed.clone(), skipped.clone(), hostile.clone()];
            written(|writer| Text::new(writer, width), &mut bytes, (&head(), &tests, &summary()));
            let text = String::from_utf8(bytes).expect("UTF-8");
            assert!(text.lines().all(|line| width_of(line) <= width), "{width}:\n{text}");
        }
    }
}
