//! The suite's results as a TAP stream, version 14 (<https://testanything.org/tap-version-14-specification.html>).

use super::{Sink, counts, printable};
use crate::results::check::{Finished, Head, Outcome, Summary};
use std::io::{self, Write};
use std::time::Duration;

/// Writes the stream, the plan first.
#[derive(Debug)]
pub struct Tap<W: Write> {
    writer: W,
    /// Tests so far.
    count: usize,
}

impl<W: Write> Tap<W> {
    /// A stream that nothing has been written of.
    pub fn new(writer: W) -> Self {
        Self { writer, count: 0 }
    }

    /// What is known of a test that has been run, as a YAML block.
    fn diagnostics(&mut self, reason: Option<&str>, test: &Finished) -> io::Result<()> {
        writeln!(self.writer, "  ---")?;
        if let Some(reason) = reason {
            writeln!(self.writer, "  message: {}", quoted(reason))?;
        }
        writeln!(self.writer, "  duration_ms: {:.3}", milliseconds(test.duration))?;
        if !test.detail.is_empty() {
            writeln!(self.writer, "  detail: {}", quoted(&test.detail))?;
        }
        writeln!(self.writer, "  ...")
    }
}

impl<W: Write> Sink for Tap<W> {
    fn start(&mut self, head: &Head) -> io::Result<()> {
        let [kipi, kernel, kvm, cpu] = [&head.kipi, &head.kernel, &head.kvm, &head.cpu].map(|text| printable(text));
        writeln!(self.writer, "TAP version 14")?;
        writeln!(self.writer, "1..{}", head.planned)?;
        writeln!(self.writer, "# kipi {kipi}, Linux {kernel}, KVM: {kvm}, {cpu}, {} CPUs", head.cpus)?;
        writeln!(self.writer, "# seed {}", head.seed)?;
        self.writer.flush()
    }

    fn finished(&mut self, test: &Finished) -> io::Result<()> {
        self.count += 1;
        let (number, name) = (self.count, escaped(&test.name));
        match &test.outcome {
            Outcome::Passed => {
                writeln!(self.writer, "ok {number} - {name}")?;
                self.diagnostics(None, test)?;
            }
            Outcome::Failed(reason) => {
                writeln!(self.writer, "not ok {number} - {name}")?;
                self.diagnostics(Some(reason), test)?;
            }
            Outcome::Skipped(reason) => {
                let line = format!("ok {number} - {name} # SKIP {}", escaped(reason));
                writeln!(self.writer, "{}", line.trim_end())?;
            }
        }
        self.writer.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let counts = counts(summary);
        writeln!(self.writer, "# {counts} in {:.3} s", summary.duration.as_secs_f64())?;
        // Harnesses stop reading here.
        if summary.interrupted {
            writeln!(self.writer, "Bail out! interrupted: {counts}")?;
        }
        self.writer.flush()
    }
}

/// A description or a reason in a test's line.
pub(in crate::report) fn escaped(text: &str) -> String {
    printable(text).replace('\\', r"\\").replace('#', r"\#")
}

/// A string of JSON, which YAML has the same way as long as every character is printable.
pub(in crate::report) fn quoted(text: &str) -> String {
    serde_json::Value::from(printable(text)).to_string()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
pub(in crate::report) mod reader;
#[cfg(test)]
mod tests;
