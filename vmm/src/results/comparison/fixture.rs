//! A comparison made up for tests: every verdict, every kind of finding.

use super::finding::{Finding, FindingKind, Severity};
use super::gate::Gate;
use super::row::{Change, Role, Row};
use super::side::{Outlier, Side, SideHost, SideSandbox};
use super::{COMPARISON_SCHEMA, Comparison, Difference, Open, OpenReason, Overall, Settings, Verdict};
use crate::results::fixture::id;
use crate::results::metric::MetricName;
use crate::results::sandbox::State;

/// Two kernels, ten runs each: one cell slower, one faster, one the same, two undecided; a reference that is the same and one that moved;
/// a tail that grew and one that is undecided; findings of all kinds; a run that is not as the others.
pub(crate) fn comparison() -> Comparison {
    Comparison {
        schema: COMPARISON_SCHEMA.to_owned(),
        started: None,
        date: None,
        command: Vec::new(),
        host: None,
        kipi: "0.1.0".to_owned(),
        base: side("base", "6.17.0"),
        new: Side { outliers: vec![outlier()], ..side("new", "6.18.0") },
        pairs: None,
        interrupted: false,
        settings: Settings { threshold: 0.05, error_rate: 0.01, expected: vec!["kernel".to_owned()] },
        differences: vec![
            difference("kernel", None, "6.17.0", "6.18.0", true),
            difference("settings", Some("kvm.halt_poll_ns"), "200000", "0", false),
        ],
        findings: findings(),
        cells: vec![
            row("x2apic", "halt", "xapic", [0.060, 0.010], Verdict::Slower, None),
            row("x2apic", "user", "xapic", [-0.110, 0.020], Verdict::Faster, None),
            row("x2apic", "spin", "xapic", [0.010, 0.030], Verdict::Same, None),
            row(
                "kvm-pv",
                "halt",
                "xapic",
                [0.040, 0.050],
                Verdict::Undecided,
                Some(open(OpenReason::TooWide, Some(4))),
            ),
            row(
                "kvm-pv",
                "spin",
                "xapic",
                [0.060, 0.020],
                Verdict::Undecided,
                Some(open(OpenReason::ReferenceMoved, None)),
            ),
        ],
        references: vec![
            reference("xapic", "halt", [0.004, 0.020], Verdict::Same),
            reference("xapic", "spin", [-0.150, 0.050], Verdict::Faster),
        ],
        gates: vec![
            gate("x2apic", "halt", 210, [0.016, 0.028], Verdict::Slower, None),
            gate("x2apic", "user", 70, [0.004, 0.013], Verdict::Undecided, Some(open(OpenReason::TooWide, Some(6)))),
        ],
        verdict: Overall::Worse,
        undecided: 3,
        warnings: vec!["base/run-03.json: no cell of it was quiet".to_owned()],
    }
}

fn side(directory: &str, kernel: &str) -> Side {
    let host = SideHost {
        cpu: "AMD EPYC 9B14".to_owned(),
        kernel: kernel.to_owned(),
        kvm: vec!["kvm_amd".to_owned()],
        standalone: None,
        kipi: "0.1.0".to_owned(),
        runs: 10,
    };
    Side {
        files: (1..=10).map(|run| format!("{directory}/run-{run:02}.json")).collect(),
        runs: 10,
        hosts: vec![host],
        sandboxes: vec![SideSandbox { state: State::On, missing: Vec::new(), runs: 10 }],
        outliers: Vec::new(),
    }
}

fn outlier() -> Outlier {
    Outlier {
        file: "new/run-07.json".to_owned(),
        cpu: "AMD EPYC 9B14".to_owned(),
        kernel: "6.18.0".to_owned(),
        group: 10,
        id: id("x2apic", "halt"),
        change: 0.15,
    }
}

fn difference(factor: &str, item: Option<&str>, base: &str, new: &str, allowed: bool) -> Difference {
    let (factor, item) = (factor.to_owned(), item.map(str::to_owned));
    Difference { factor, item, base: vec![base.to_owned()], new: vec![new.to_owned()], allowed }
}

fn findings() -> Vec<Finding> {
    let finding = |kind, cell: Option<(&str, &str)>, subject: &str, base: &str, new: &str, severity| Finding {
        kind,
        hosts: None,
        cell: cell.map(|(route, state)| id(route, state)),
        subject: subject.to_owned(),
        base: base.to_owned(),
        new: new.to_owned(),
        severity,
    };
    vec![
        finding(FindingKind::Integrity, Some(("x2apic", "halt")), "calls", "none", "1 lost", Severity::Worse),
        finding(FindingKind::Cell, Some(("msi", "halt")), "cell", "10 of 10 runs", "none of 10 runs", Severity::Worse),
        finding(FindingKind::Acceleration, None, "AVIC", "on", "inhibited", Severity::Worse),
        finding(FindingKind::Exits, Some(("x2apic", "halt")), "stats exits", "1.07", "2.10", Severity::Worse),
        finding(FindingKind::Exits, Some(("x2apic", "user")), "stats exits", "2.00", "1.00", Severity::Noted),
        finding(FindingKind::PartialRun, None, "runs", "none", "1 of 10 runs", Severity::Noted),
        finding(
            FindingKind::Disturbed,
            Some(("x2apic", "spin")),
            "runs",
            "none",
            "2 of 10 runs never quiet",
            Severity::Noted,
        ),
    ]
}

fn open(reason: OpenReason, more_runs: Option<u64>) -> Open {
    Open { reason, more_runs }
}

/// A row of 60 µs in the base; `change`: the estimate and half of its interval.
fn row(
    route: &str,
    state: &str,
    reference: &str,
    [estimate, half]: [f64; 2],
    verdict: Verdict,
    open: Option<Open>,
) -> Row {
    let change = |estimate: f64, half: f64| Change {
        estimate,
        interval: Some([estimate - half, estimate + half]),
        level: 0.998,
    };
    Row {
        id: id(route, state),
        hosts: None,
        metric: MetricName::RoundTrip,
        role: Role::Primary,
        reference: Some(id(reference, state)),
        base_ns: 60_000.0,
        new_ns: 60_000.0 * (1.02 + estimate),
        raw: change(estimate + 0.02, 3.0 * half),
        divided: Some(change(estimate, half)),
        spread: Some(0.6 * half),
        p: Some(if matches!(verdict, Verdict::Slower | Verdict::Faster) { 0.000_1 } else { 0.3 }),
        verdict,
        open,
    }
}

fn reference(route: &str, state: &str, change: [f64; 2], verdict: Verdict) -> Row {
    let row = row(route, state, "memory", change, verdict, None);
    Row { role: Role::Reference, reference: None, divided: None, ..row }
}

fn gate(route: &str, state: &str, beyond: u64, interval: [f64; 2], verdict: Verdict, open: Option<Open>) -> Gate {
    Gate {
        id: id(route, state),
        hosts: None,
        quantile: 0.99,
        margin: 0.2,
        bound_ns: Some(120_000.0),
        allowed: 0.01,
        rounds: 10_000,
        beyond,
        interval: Some(interval),
        verdict,
        open,
    }
}
