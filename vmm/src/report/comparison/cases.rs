//! A comparison as cases that pass or do not, for harnesses that count tests.

use super::text::{Unit, limit, why};
use crate::report::units;
use crate::results::comparison::finding::{Finding, Severity};
use crate::results::comparison::gate::Gate;
use crate::results::comparison::row::{Change, Row};
use crate::results::comparison::{Comparison, Open, Overall, Verdict};

/// What a harness counts as one test.
#[derive(Debug)]
pub(super) struct Case {
    /// What kind of thing is compared: no two cases of a group have the same name.
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

/// What a case came to, each with one line that says what was found.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// The new side is not worse.
    Passed(String),
    /// It is.
    Worse(String),
    /// It cannot be said, and why not.
    Undecided(String),
    /// The sides differ in something else than what was to be compared.
    NotComparable(String),
}

/// Whether the sides are comparable, then findings, cells, references and tails.
pub(super) fn cases(comparison: &Comparison) -> Vec<Case> {
    let mut cases = vec![comparable(comparison)];
    cases.extend(comparison.findings.iter().map(finding));
    cases.extend(comparison.cells.iter().map(|it| row("cells", it)));
    cases.extend(comparison.references.iter().map(reference));
    cases.extend(comparison.gates.iter().map(gate));
    cases
}

fn comparable(comparison: &Comparison) -> Case {
    let allowed = || -> String {
        let differences = comparison.differences.iter().filter(|it| it.allowed);
        differences.map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let outcome = match comparison.verdict {
        Overall::NotComparable => {
            Outcome::NotComparable(format!("not expected: {}", comparison.why_not_comparable().join("; ")))
        }
        Overall::Worse | Overall::NothingWorse | Overall::Undecided => Outcome::Passed(allowed()),
    };
    Case { group: "sides", name: "comparable".to_owned(), outcome }
}

fn finding(finding: &Finding) -> Case {
    let Finding { kind, base, new, severity, .. } = finding;
    let outcome = match severity {
        Severity::Worse => Outcome::Worse,
        Severity::Noted => Outcome::Passed,
    };
    let name = format!("{}: {}", kind.name(), finding.name());
    Case { group: "findings", name, outcome: outcome(format!("{base} → {new}")) }
}

fn row(group: &'static str, row: &Row) -> Case {
    let outcome = outcome(row.verdict, row.open.as_ref(), &figures(row));
    Case { group, name: format!("{}: {} p50", row.name(), row.metric.name()), outcome }
}

/// A reference that is undecided leaves nothing undecided: its cells are judged without it.
fn reference(it: &Row) -> Case {
    let case = row("references", it);
    match case.outcome {
        Outcome::Undecided(reason) => Case { outcome: Outcome::Passed(reason), ..case },
        Outcome::Passed(_) | Outcome::Worse(_) | Outcome::NotComparable(_) => case,
    }
}

/// `+6.0 % (+5.0 to +7.0 %) divided by xapic, all-but-self, halt, 2 vCPUs, guest; 60.0 µs → 64.8 µs, +8.0 %`.
fn figures(row: &Row) -> String {
    let times = format!("{} → {}", units::time(row.base_ns), units::time(row.new_ns));
    match (row.divided, row.reference) {
        (Some(divided), Some(reference)) => {
            format!("{} divided by {reference}; {times}, {}", change(divided), units::change(row.raw.estimate))
        }
        _ => format!("{}; {times}", change(row.raw)),
    }
}

/// `+6.0 % (+5.0 to +7.0 %)`.
pub(super) fn change(change: Change) -> String {
    let interval = change.interval.map(|ends| format!(" ({})", units::change_range(ends))).unwrap_or_default();
    units::change(change.estimate) + &interval
}

fn gate(gate: &Gate) -> Case {
    let limit = limit(gate);
    let bound = gate.bound_ns.map(|bound| format!(" {}", units::time(bound))).unwrap_or_default();
    let figures = format!(
        "{} of {} rounds beyond{bound}, where {} may be",
        gate.beyond,
        gate.rounds,
        units::percent(gate.allowed)
    );
    let outcome = outcome(gate.verdict, gate.open.as_ref(), &figures);
    Case { group: "tails", name: format!("{}: {limit}", gate.name()), outcome }
}

fn outcome(verdict: Verdict, open: Option<&Open>, figures: &str) -> Outcome {
    let named = || format!("{}: {figures}", verdict.name());
    match (verdict, open) {
        (Verdict::Slower, _) => Outcome::Worse(named()),
        (Verdict::Faster | Verdict::Same, _) => Outcome::Passed(named()),
        (Verdict::Undecided, Some(open)) => Outcome::Undecided(format!("{}: {figures}", why(open, Unit::Run))),
        (Verdict::Undecided, None) => Outcome::Undecided(named()),
    }
}
