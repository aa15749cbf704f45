//! The suite's results as JUnit XML, which CI servers show.

use super::{Sink, printable};
use crate::results::check::{Finished, Head, Outcome, Summary};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};
use std::io::{self, Write};
use std::mem;

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
        Self { writer, suite: TestSuite::new(SUITE) }
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
        Ok(())
    }

    fn finished(&mut self, test: &Finished) -> io::Result<()> {
        self.suite.add_test_case(case(test));
        Ok(())
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let mut suite = mem::replace(&mut self.suite, TestSuite::new(SUITE));
        suite.set_time(summary.duration);
        // Without these a run that was cut short would look like a complete one.
        let (interrupted, not_run) = (summary.interrupted.to_string(), summary.not_run.to_string());
        suite.add_properties([property("interrupted", &interrupted), property("not-run", &not_run)]);
        let mut report = Report::new("kipi");
        report.set_time(summary.duration).add_test_suite(suite);
        // By way of a string: the crate's own error hides the writer's.
        let text = report.to_string().map_err(io::Error::other)?;
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}

fn property(name: &str, value: &str) -> Property {
    Property::new(name, printable(value))
}

fn case(test: &Finished) -> TestCase {
    let status = match &test.outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Failed(reason) => explained(TestCaseStatus::non_success(NonSuccessKind::Failure), reason),
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

/// The reason twice: some servers show the attribute, some the text.
fn explained(mut status: TestCaseStatus, reason: &str) -> TestCaseStatus {
    let reason = printable(reason);
    status.set_message(&reason).set_description(&reason);
    status
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{HOSTILE, TAMED, head, summary, test, tests, written};
    use super::*;

    fn xml(head: &Head, tests: &[Finished], summary: &Summary) -> String {
        let mut bytes = Vec::new();
        written(Junit::new, &mut bytes, (head, tests, summary));
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn value_of<'a>(suite: &'a TestSuite, name: &str) -> Option<&'a str> {
        suite.properties.iter().find(|property| property.name.as_str() == name).map(|property| property.value.as_str())
    }

    /// What a case that did not pass says, as attribute and as text.
    fn reasons(case: &TestCase) -> [Option<&str>; 2] {
        match &case.status {
            TestCaseStatus::Success { .. } => [None; 2],
            TestCaseStatus::NonSuccess { message, description, .. }
            | TestCaseStatus::Skipped { message, description, .. } => [message.as_deref(), description.as_deref()],
        }
    }

    #[test]
    fn every_outcome_has_its_case() {
        assert_eq!(
            xml(&head(), &tests(), &summary()),
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="kipi" tests="3" skipped="1" failures="1" errors="0" time="1.250">
    <testsuite name="kipi check" tests="3" skipped="1" errors="0" failures="1" time="1.250">
        <properties>
            <property name="kipi" value="0.1.0"/>
            <property name="kernel" value="6.18.44"/>
            <property name="kvm" value="kvm_amd"/>
            <property name="cpu" value="AMD EPYC"/>
            <property name="cpus" value="2"/>
            <property name="seed" value="123"/>
            <property name="interrupted" value="false"/>
            <property name="not-run" value="0"/>
        </properties>
        <testcase name="halt" classname="contract/x2apic/all-but-self" time="1.235">
            <system-out>96 calls, 288 workers</system-out>
        </testcase>
        <testcase name="xapic" classname="trap/device-interrupt" time="0.012">
            <failure message="vector 0x31 came 2 times, not once">vector 0x31 came 2 times, not once</failure>
            <system-out>7 calls</system-out>
        </testcase>
        <testcase name="x2apic" classname="size/300" time="0.000">
            <skipped message="this host&apos;s KVM allows 288 vCPUs">this host&apos;s KVM allows 288 vCPUs</skipped>
        </testcase>
    </testsuite>
</testsuites>
"#
        );
    }

    #[test]
    fn an_interrupted_run_is_a_whole_document_that_says_so() {
        let [passed, ..] = tests();
        let text = xml(&head(), &[passed], &Summary { interrupted: true, not_run: 2, ..summary() });
        let report = Report::deserialize_from_str(&text).expect("JUnit");
        let [suite] = report.test_suites.as_slice() else { panic!("one suite") };
        assert_eq!((report.tests, suite.tests, suite.failures), (1, 1, 0));
        assert_eq!(value_of(suite, "seed"), Some("123"));
        assert_eq!((value_of(suite, "interrupted"), value_of(suite, "not-run")), (Some("true"), Some("2")));
    }

    #[test]
    fn nothing_breaks_the_document() {
        let hostile = |outcome| test(&format!("{HOSTILE}/{HOSTILE}"), outcome, 5, HOSTILE);
        let run = [
            hostile(Outcome::Passed),
            hostile(Outcome::Failed(HOSTILE.to_owned())),
            hostile(Outcome::Skipped(HOSTILE.to_owned())),
        ];
        let text = xml(&Head { kernel: HOSTILE.to_owned(), ..head() }, &run, &summary());
        let allowed = |character| matches!(character, '\n' | ' '..='\u{7e}' | '\u{a0}'..='\u{fffd}');
        assert!(text.chars().all(allowed), "{text:?}");

        let report = Report::deserialize_from_str(&text).expect("JUnit");
        let [suite] = report.test_suites.as_slice() else { panic!("one suite") };
        assert_eq!(value_of(suite, "kernel"), Some(TAMED));
        let [passed, failed, skipped] = suite.test_cases.as_slice() else { panic!("three cases") };
        for case in [passed, failed, skipped] {
            assert_eq!((case.classname.as_deref(), case.name.as_str()), (Some(TAMED), TAMED));
            assert_eq!(case.system_out.as_deref(), Some(TAMED));
        }
        assert_eq!(reasons(failed), [Some(TAMED); 2]);
        assert_eq!(reasons(skipped), [Some(TAMED); 2]);
    }

    #[test]
    fn a_name_of_one_part_has_no_class() {
        let case = case(&test("smoke", Outcome::Passed, 5, ""));
        assert_eq!((case.classname, case.name.as_str()), (None, "smoke"));
    }
}
