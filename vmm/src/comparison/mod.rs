//! Two sets of runs compared: what changed that is no time (`findings`), in what else their hosts and settings differ
//! (`differences`), and each cell's time in that of its reference (`references`, `values`, `rows`); tails apart (`gates`).
//! Hosts of several kinds are compared apart (`kinds`), and `fleet` names those that are not as others of their kind. Settings that were
//! measured in turns are compared pair by pair (`paired`). `history` follows one set over time, and `looks` says when runs are looked
//! at that are compared as they come.

pub mod differences;
mod exits;
mod findings;
mod fleet;
pub mod gates;
pub mod history;
mod kinds;
pub mod looks;
pub mod paired;
pub mod references;
mod rows;
pub mod rules;
mod values;

use crate::results::comparison::{
    COMPARISON_SCHEMA, Comparison, Difference, Finding, FindingKind, Gate, Overall, Row, Settings, Severity, Side,
    SideHost, Verdict,
};
use crate::results::measurement::Measurement;
use rules::Rules;
use std::collections::BTreeMap;

/// A document of a side.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The file, as it was named.
    pub file: String,
    /// What it holds.
    pub measurement: Measurement,
}

/// Compares two sets of runs, each by rising time.
pub fn compare(base: &[Run], new: &[Run], rules: &Rules) -> Comparison {
    let differences = differences::find(base, new, &rules.expected);
    let kinds = kinds::kinds(base, new);
    let findings = findings::find(&kinds, rules.error_rate);
    let pairs = references::pair(base, new, rules.reference);
    let (cells, references) = rows::all(&kinds, &pairs, rules);
    let mut asked = Vec::new();
    for id in cells.iter().chain(&references).map(|row| row.id).filter(|id| is_asked(base, *id)) {
        if !asked.contains(&id) {
            asked.push(id);
        }
    }
    let gates = gates::all(&kinds, &asked, &rules.gates, rules.error_rate);
    let is_open = |verdict: Verdict| verdict == Verdict::Undecided;
    let undecided = cells
        .iter()
        .map(|row| row.verdict)
        .chain(gates.iter().map(|gate| gate.verdict))
        .filter(|it| is_open(*it))
        .count();
    Comparison {
        schema: COMPARISON_SCHEMA.to_owned(),
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        base: Side { outliers: fleet::find(base, &pairs, rules.threshold), ..side(base) },
        new: Side { outliers: fleet::find(new, &pairs, rules.threshold), ..side(new) },
        pairs: None,
        interrupted: false,
        settings: Settings {
            threshold: rules.threshold,
            error_rate: rules.error_rate,
            expected: rules.expected.iter().map(|factor| factor.name().to_owned()).collect(),
        },
        verdict: if rules.judges_times {
            overall(&differences, &findings, &[&cells[..], &references], &gates, undecided > 0)
        } else {
            let is_open = findings::is_open(&kinds, rules.error_rate);
            let told: Vec<Row> = cells.iter().map(|row| Row { verdict: Verdict::Undecided, ..row.clone() }).collect();
            overall(&differences, &findings, &[&told], &[], is_open)
        },
        undecided: undecided as u64,
        warnings: warnings([base, new], &cells, &references),
        differences,
        findings,
        cells,
        references,
        gates,
    }
}

fn is_asked(runs: &[Run], id: guest_stub::abi::cell::CellId) -> bool {
    runs.iter().flat_map(|run| run.measurement.asked()).any(|cell| cell.id == id)
}

/// A call that went wrong is a fault wherever it happened. All else says nothing of sides that cannot be compared, or have nothing in
/// common.
fn overall(
    differences: &[Difference],
    findings: &[Finding],
    rows: &[&[Row]],
    gates: &[Gate],
    is_open: bool,
) -> Overall {
    let is_worse = |finding: &Finding| finding.severity == Severity::Worse;
    let is_slower = |verdict: Verdict| verdict == Verdict::Slower;
    let mut rows = rows.iter().copied().flatten().peekable();
    if findings.iter().any(|finding| is_worse(finding) && finding.kind == FindingKind::Integrity) {
        Overall::Worse
    } else if differences.iter().any(|difference| !difference.allowed) {
        Overall::NotComparable
    } else if findings.iter().any(is_worse) || gates.iter().any(|gate| is_slower(gate.verdict)) {
        Overall::Worse
    } else if rows.peek().is_none() {
        Overall::NotComparable
    } else if rows.any(|row| is_slower(row.verdict)) {
        Overall::Worse
    } else if is_open {
        Overall::Undecided
    } else {
        Overall::NothingWorse
    }
}

fn side(runs: &[Run]) -> Side {
    let mut hosts: BTreeMap<SideHost, u64> = BTreeMap::new();
    for Run { measurement: Measurement { host, .. }, .. } in runs {
        let (cpu, kernel, kvm, kipi) = (host.cpu.clone(), host.kernel.clone(), host.kvm.clone(), host.kipi.clone());
        *hosts.entry(SideHost { cpu, kernel, kvm, kipi, runs: 0 }).or_default() += 1;
    }
    Side {
        files: runs.iter().map(|run| run.file.clone()).collect(),
        runs: runs.len() as u64,
        hosts: hosts.into_iter().map(|(host, runs)| SideHost { runs, ..host }).collect(),
        outliers: Vec::new(),
    }
}

fn warnings([base, new]: [&[Run]; 2], cells: &[Row], references: &[Row]) -> Vec<String> {
    let mut warnings = Vec::new();
    let is_in_base = |run: &&Run| base.iter().any(|other| other.measurement == run.measurement);
    let on_both = new.iter().filter(is_in_base).count();
    if on_both > 0 {
        warnings.push(format!("{on_both} of {} new runs are the base's, too: they hide what changed", new.len()));
    }
    if cells.is_empty() && references.is_empty() {
        warnings.push("the sides have no cell in common: no time is compared".to_owned());
    }
    let alone = cells.iter().filter(|row| row.reference.is_none()).count();
    if alone > 0 {
        warnings.push(format!(
            "{alone} of {} cells have no reference, and the host's drift is in their changes: only what is beyond the threshold \
             with certainty counts (measure a second route, or the memory route, in the same run)",
            cells.len()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
