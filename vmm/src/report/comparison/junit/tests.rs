use super::*;
use crate::report::check::fixture::{HOSTILE, TAMED};
use crate::report::check::junit::tests::{assert_schemas_hold, read};
use crate::report::comparison::hostile;
use crate::results::comparison::Overall;
use crate::results::comparison::fixture::comparison;
use quick_junit::TestSuite;

fn suite(comparison: &Comparison) -> TestSuite {
    let text = render(comparison).unwrap();
    assert_schemas_hold(&text);
    let report = read(&text);
    let [suite] = report.test_suites.try_into().expect("one suite");
    suite
}

fn find<'a>(suite: &'a TestSuite, class: &str, name: &str) -> &'a TestCase {
    let is_it = |case: &&TestCase| case.classname.as_deref() == Some(class) && case.name.as_str() == name;
    suite.test_cases.iter().find(is_it).unwrap_or_else(|| panic!("no {class} {name}"))
}

/// Whether the case is of this kind, and begins its message so.
fn is(case: &TestCase, kind: Option<NonSuccessKind>, begin: &str) -> bool {
    match &case.status {
        TestCaseStatus::Success { .. } => false,
        TestCaseStatus::NonSuccess { kind: of, message, .. } => {
            kind == Some(*of) && message.as_deref().is_some_and(|message| message.starts_with(begin))
        }
        TestCaseStatus::Skipped { message, .. } => {
            kind.is_none() && message.as_deref().is_some_and(|message| message.starts_with(begin))
        }
    }
}

#[test]
fn every_verdict_has_its_status() {
    let suite = suite(&comparison());
    // The sides' case, seven findings, five cells, two references and two tails.
    let skipped = suite.test_cases.iter().filter(|case| matches!(case.status, TestCaseStatus::Skipped { .. }));
    assert_eq!((suite.tests, suite.failures, suite.errors, skipped.count()), (17, 6, 0, 3));
    let cell = |route, state| format!("{route}, all-but-self, {state}, 2 vCPUs, guest: round_trip p50");
    assert!(is(
        find(&suite, "cells", &cell("x2apic", "halt")),
        Some(NonSuccessKind::Failure),
        "slower: +6.0 % (+5.0 to"
    ));
    assert!(is(find(&suite, "cells", &cell("kvm-pv", "halt")), None, "undecided, about 4 more runs a side"));
    let faster = find(&suite, "references", &cell("xapic", "spin"));
    assert!(matches!(faster.status, TestCaseStatus::Success { .. }));
    assert!(
        faster.system_out.as_deref().unwrap().starts_with("faster: -13 % (-28 to +2.0 %)"),
        "{:?}",
        faster.system_out
    );
}

#[test]
fn a_run_that_is_not_as_its_kind_is_named_and_is_no_case() {
    let said = suite(&comparison()).system_out.expect("lines").to_string();
    let outlier =
        "outlier: new: new/run-07.json: x2apic, all-but-self, halt, 2 vCPUs, guest +15 % against the 10 of its kind";
    assert!(said.starts_with(outlier), "{said}");
}

#[test]
fn sides_that_are_not_comparable_are_an_error() {
    let suite = suite(&Comparison { verdict: Overall::NotComparable, ..comparison() });
    assert_eq!(suite.errors, 1);
    let case = find(&suite, "sides", "comparable");
    assert!(is(case, Some(NonSuccessKind::Error), "not expected: settings kvm.halt_poll_ns: 200000 → 0"));
}

#[test]
fn nothing_breaks_the_document() {
    let comparison = hostile(HOSTILE);
    let text = render(&comparison).unwrap();
    let allowed = |character| matches!(character, '\n' | ' '..='\u{7e}' | '\u{a0}'..='\u{fffd}');
    assert!(text.chars().all(allowed), "{text:?}");
    let suite = suite(&comparison);
    assert!(is(find(&suite, "findings", &format!("acceleration: {TAMED}")), Some(NonSuccessKind::Failure), TAMED));
    assert!(suite.system_out.as_deref().is_some_and(|said| said.ends_with(TAMED)));
}
