//! Two sets of runs compared: what changed that is no time (`findings`), in what else their hosts and settings differ
//! (`differences`), and each cell's time in that of its reference (`references`, `values`, `rows`); tails apart (`gates`).
//! Neither is judged where others used the machine while one side was measured, and not the other (`disturbed`).
//! Hosts of several kinds are compared apart (`kinds`), and `fleet` names those that are not as others of their kind. Settings that were
//! measured in turns are compared pair by pair (`paired`). `history` follows one set over time, and `looks` says when runs are looked
//! at that are compared as they come.

pub mod differences;
mod disturbed;
mod exits;
mod findings;
mod fleet;
pub mod gates;
pub mod history;
mod kinds;
pub mod looks;
mod mixture;
pub mod overhead;
pub mod paired;
pub mod references;
mod rows;
pub mod rules;
mod sandboxes;
mod topology;
mod values;

use crate::results::comparison::finding::{Finding, FindingKind, Severity};
use crate::results::comparison::row::Row;
use crate::results::comparison::side::{Side, SideHost};
use crate::results::comparison::{COMPARISON_SCHEMA, Comparison, Difference, Overall, Settings, Verdict};
use crate::results::measurement::Measurement;
use guest_stub::abi::cell::CellId;
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
    let asked = each_once(cells.iter().chain(&references).map(|row| row.id).filter(|id| is_asked(base, *id)));
    let gates = gates::all(&kinds, &asked, &rules.gates, rules.error_rate);
    let is_open = |verdict: Verdict| verdict == Verdict::Undecided;
    let undecided = cells
        .iter()
        .map(|row| row.verdict)
        .chain(gates.iter().map(|gate| gate.verdict))
        .filter(|it| is_open(*it))
        .count();
    let times = if rules.judges_times {
        let rows = cells.iter().chain(&references).map(|row| row.verdict);
        let mut all = rows.chain(gates.iter().map(|gate| gate.verdict));
        let are_compared = !(cells.is_empty() && references.is_empty());
        Times { are_compared, is_slower: all.any(|it| it == Verdict::Slower), is_open: undecided > 0 }
    } else {
        let is_open = findings::is_open(&kinds, rules.error_rate);
        Times { are_compared: !cells.is_empty(), is_slower: false, is_open }
    };
    Comparison {
        schema: COMPARISON_SCHEMA.to_owned(),
        started: None,
        date: None,
        command: Vec::new(),
        host: None,
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
        verdict: overall(&differences, &findings, times),
        undecided: undecided as u64,
        warnings: warnings([base, new], &cells, &references),
        differences,
        findings,
        cells,
        references,
        gates,
    }
}

fn is_asked(runs: &[Run], id: CellId) -> bool {
    runs.iter().flat_map(|run| run.measurement.asked()).any(|cell| cell.id == id)
}

/// The cells, each once, in the order of their first appearance.
fn each_once(cells: impl Iterator<Item = CellId>) -> Vec<CellId> {
    let mut found = Vec::new();
    for cell in cells {
        if !found.contains(&cell) {
            found.push(cell);
        }
    }
    found
}

/// What the times of a comparison come to.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// Whether the sides have any in common.
    are_compared: bool,
    is_slower: bool,
    /// Whether more runs may tell more.
    is_open: bool,
}

/// A call that went wrong is a fault wherever it happened. All else says nothing of sides that cannot be compared, or have nothing in
/// common.
fn overall(differences: &[Difference], findings: &[Finding], times: Times) -> Overall {
    let Times { are_compared, is_slower, is_open } = times;
    let is_worse = |finding: &Finding| finding.severity == Severity::Worse;
    if findings.iter().any(|finding| is_worse(finding) && finding.kind == FindingKind::Integrity) {
        Overall::Worse
    } else if differences.iter().any(|difference| !difference.allowed) {
        Overall::NotComparable
    } else if findings.iter().any(is_worse) {
        Overall::Worse
    } else if !are_compared {
        Overall::NotComparable
    } else if is_slower {
        Overall::Worse
    } else if is_open {
        Overall::Undecided
    } else {
        Overall::NothingWorse
    }
}

/// Whose runs they are, with no look at what they have measured.
pub fn side(runs: &[Run]) -> Side {
    let mut hosts: BTreeMap<SideHost, u64> = BTreeMap::new();
    for Run { measurement: Measurement { host, .. }, .. } in runs {
        let (cpu, kernel, kvm, kipi) = (host.cpu.clone(), host.kernel.clone(), host.kvm.clone(), host.kipi.clone());
        let standalone = host.standalone_platform();
        *hosts.entry(SideHost { cpu, kernel, kvm, standalone, kipi, runs: 0 }).or_default() += 1;
    }
    Side {
        files: runs.iter().map(|run| run.file.clone()).collect(),
        runs: runs.len() as u64,
        hosts: hosts.into_iter().map(|(host, runs)| SideHost { runs, ..host }).collect(),
        sandboxes: sandboxes::of(runs),
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
