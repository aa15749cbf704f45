//! The suite's results as a TAP stream: of version 13 (<https://testanything.org/tap-version-13-specification.html>), which
//! kselftest writes and every `prove` reads (Perl 5.36's fails on a later one), or of version 14
//! (<https://testanything.org/tap-version-14-specification.html>), whose first line alone is another, as far as kipi uses it.

use super::{Sink, counts, printable};
use crate::results::check::{Finished, Head, Outcome, Summary};
use crate::results::count::count;
use std::io::{self, Write};
use std::time::Duration;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// What harnesses read.
    V13,
    /// For those that want it.
    V14,
}

impl Version {
    /// As the stream says it.
    pub(in crate::report) const fn number(self) -> u32 {
        match self {
            Self::V13 => 13,
            Self::V14 => 14,
        }
    }
}

/// Writes the stream, the plan first.
#[derive(Debug)]
pub struct Tap<W: Write> {
    writer: W,
    version: Version,
    /// Tests so far.
    count: usize,
}

impl<W: Write> Tap<W> {
    /// A stream that nothing has been written of.
    pub fn new(writer: W, version: Version) -> Self {
        Self { writer, version, count: 0 }
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
        writeln!(self.writer, "TAP version {}", self.version.number())?;
        writeln!(self.writer, "1..{}", head.planned)?;
        writeln!(self.writer, "# kipi {kipi}, Linux {kernel}, KVM: {kvm}, {cpu}, {}", count(head.cpus, "CPU"))?;
        writeln!(self.writer, "# seed {}", head.seed)?;
        if let Some(sandbox) = &head.sandbox {
            writeln!(self.writer, "# {}", printable(&sandbox.to_string()))?;
        }
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
                writeln!(self.writer, "ok {number} - {name}{}", skip(reason))?;
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

/// A test's name in its line: what is behind a `#` would be a directive.
pub(in crate::report) fn escaped(text: &str) -> String {
    printable(text).replace('\\', r"\\").replace('#', r"\#")
}

/// The directive of a test that was not run. It ends the line, so that nothing in the reason needs an escape, which harnesses
/// would show.
pub(in crate::report) fn skip(reason: &str) -> String {
    format!(" # SKIP {}", printable(reason)).trim_end().to_owned()
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
