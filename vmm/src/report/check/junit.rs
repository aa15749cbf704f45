//! The suite's results as JUnit XML, which CI servers show: with what the schemas of Ant and Maven's Surefire demand, and nothing
//! that Jenkins' does not know.

use super::{Sink, printable};
use crate::results::check::{Finished, Head, Outcome, Summary};
use crate::results::count::count;
use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};
use std::io::{self, Write};
use std::mem;
use std::time::Duration;

/// The name of the one suite.
const SUITE: &str = "kipi check";

/// Collects the tests, and writes the document at the end: its first line has the counts.
#[derive(Debug)]
pub struct Junit<W: Write> {
    writer: W,
    suite: TestSuite,
}

impl<W: Write> Junit<W> {
    /// A document without tests.
    pub fn new(writer: W) -> Self {
        Self { writer, suite: suite(SUITE) }
    }
}

impl<W: Write> Sink for Junit<W> {
    fn start(&mut self, head: &Head) -> io::Result<()> {
        let (cpus, seed) = (head.cpus.to_string(), head.seed.to_string());
        self.suite.add_properties([
            property("kipi", &head.kipi),
            property("kernel", &head.kernel),
            property("kvm", &head.kvm),
            property("cpu", &head.cpu),
            property("cpus", &cpus),
            property("seed", &seed),
        ]);
        self.suite.add_properties(head.sandbox.iter().map(|sandbox| property("sandbox", &sandbox.extent())));
        Ok(())
    }

    fn finished(&mut self, test: &Finished) -> io::Result<()> {
        self.suite.add_test_case(case(test));
        Ok(())
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let mut suite = mem::replace(&mut self.suite, TestSuite::new(SUITE));
        suite.set_time(summary.duration);
        let (interrupted, not_run) = (summary.interrupted.to_string(), summary.not_run.to_string());
        suite.add_properties([property("interrupted", &interrupted), property("not-run", &not_run)]);
        // Without it a run that was cut short would be green: CI servers pass over properties.
        if summary.interrupted {
            let status = unsuccessful(
                NonSuccessKind::Error,
                "interrupted",
                &format!("interrupted: {} not run", count(summary.not_run, "test")),
            );
            let mut case = TestCase::new("interrupted", status);
            case.set_time(Duration::ZERO);
            suite.add_test_case(case);
        }
        let mut report = Report::new("kipi");
        report.set_time(summary.duration).add_test_suite(suite);
        // By way of a string: the crate's own error hides the writer's.
        let text = render(&report).map_err(io::Error::other)?;
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}

/// A suite without tests, of this moment on this machine.
pub(in crate::report) fn suite(name: &str) -> TestSuite {
    let mut suite = TestSuite::new(name);
    // In UTC. Ant's schema has no place for a zone, which the crate would write.
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let host = printable(&rustix::system::uname().nodename().to_string_lossy());
    suite.extra.extend([("timestamp", now), ("hostname", host)].map(|(key, value)| (key.into(), value.into())));
    suite
}

/// The document. Jenkins' schema counts skipped tests in suites, and not, as the crate does, in the root, too.
pub(in crate::report) fn render(report: &Report) -> Result<String, SerializeError> {
    Ok(report.to_string()?.replacen(&format!(" skipped=\"{}\"", report.skipped), "", 1))
}

/// A property of a suite.
pub(in crate::report) fn property(name: &str, value: &str) -> Property {
    Property::new(name, printable(value))
}

fn case(test: &Finished) -> TestCase {
    let status = match &test.outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Failed(reason) => unsuccessful(NonSuccessKind::Failure, "failed", reason),
        Outcome::Skipped(reason) => explained(TestCaseStatus::skipped(), reason),
    };
    let path = printable(&test.name);
    let mut case = match path.rsplit_once('/') {
        Some((class, name)) => {
            let mut case = TestCase::new(name, status);
            case.set_classname(class);
            case
        }
        None => TestCase::new(path, status),
    };
    case.set_time(test.duration);
    if !test.detail.is_empty() {
        case.set_system_out(printable(&test.detail));
    }
    case
}

/// A case that went wrong, in a way that has a name.
pub(in crate::report) fn unsuccessful(kind: NonSuccessKind, name: &str, reason: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(name);
    explained(status, reason)
}

/// The reason twice: some servers show the attribute, some the text.
pub(in crate::report) fn explained(mut status: TestCaseStatus, reason: &str) -> TestCaseStatus {
    let reason = printable(reason);
    status.set_message(&reason).set_description(&reason);
    status
}

#[cfg(test)]
pub(in crate::report) mod tests;
