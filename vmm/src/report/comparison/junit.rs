//! The comparison as JUnit XML, which CI servers show: what is undecided is skipped, and that the sides are not comparable is an
//! error, not a failure.

use super::cases::{Case, Outcome, cases};
use super::text::{Unit, describe, remarks};
use crate::report::check::junit::{self, explained, property, unsuccessful};
use crate::report::units;
use crate::report::wrap::printable;
use crate::results::comparison::Comparison;
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus};
use std::time::Duration;

/// The name of the one suite.
const SUITE: &str = "kipi compare";

/// The document.
pub(super) fn render(comparison: &Comparison) -> Result<String, SerializeError> {
    let mut suite = junit::suite(SUITE);
    let undecided = comparison.undecided.to_string();
    suite.add_properties([
        property("kipi", &comparison.kipi),
        property("base", &describe(&comparison.base, Unit::of(comparison))),
        property("new", &describe(&comparison.new, Unit::of(comparison))),
        property("threshold", &units::percent(comparison.settings.threshold)),
        property("error-rate", &units::percent(comparison.settings.error_rate)),
        property("verdict", comparison.verdict.name()),
        property("undecided", &undecided),
    ]);
    suite.add_test_cases(cases(comparison).iter().map(case));
    let lines: Vec<String> = remarks(comparison).iter().map(|line| printable(line)).collect();
    if !lines.is_empty() {
        suite.set_system_out(lines.join("\n"));
    }
    let mut report = Report::new("kipi");
    suite.set_time(Duration::ZERO);
    report.add_test_suite(suite);
    junit::render(&report)
}

fn case(case: &Case) -> TestCase {
    let status = match &case.outcome {
        Outcome::Passed(_) => TestCaseStatus::success(),
        Outcome::Worse(reason) => unsuccessful(NonSuccessKind::Failure, "worse", reason),
        Outcome::Undecided(reason) => explained(TestCaseStatus::skipped(), reason),
        Outcome::NotComparable(reason) => unsuccessful(NonSuccessKind::Error, "not-comparable", reason),
    };
    let mut test = TestCase::new(printable(&case.name), status);
    test.set_classname(case.group);
    // Ant's schema demands one; a comparison takes no time of its own.
    test.set_time(Duration::ZERO);
    if let Outcome::Passed(found) = &case.outcome
        && !found.is_empty()
    {
        test.set_system_out(printable(found));
    }
    test
}

#[cfg(test)]
mod tests;
