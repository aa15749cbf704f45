//! What changed that is no time, and is told before any.

use super::kinds::Kind;
use super::mixture::Mixture;
use super::{Run, each_once, exits};
use crate::results::acceleration::{AccelerationState, Feature};
use crate::results::comparison::finding::{Finding, FindingKind, Severity};
use crate::results::integrity::Integrity;
use crate::results::measurement::Cell;
use guest_stub::abi::cell::CellId;
use std::collections::{BTreeMap, BTreeSet};

/// All of it, in the order of what kind of thing it is; on each kind of hosts apart.
pub(super) fn find(kinds: &[Kind<'_>], error_rate: f64) -> Vec<Finding> {
    let of = |kind: &Kind<'_>| -> Vec<Finding> {
        let found = of_kind(&kind.base, &kind.new, error_rate / kinds.len() as f64);
        found.into_iter().map(|finding| Finding { hosts: kind.hosts.clone(), ..finding }).collect()
    };
    let mut findings: Vec<Finding> = kinds.iter().flat_map(of).collect();
    findings.sort_by_key(|finding| finding.kind);
    findings
}

fn of_kind(base: &[Run], new: &[Run], error_rate: f64) -> Vec<Finding> {
    let cells = cells(base, new);
    let mut findings: Vec<Finding> = cells.iter().filter_map(|cell| integrity(base, new, *cell)).collect();
    findings.extend(cells.iter().filter_map(|cell| presence(base, new, *cell)));
    findings.extend(accelerations(base, new));
    findings.extend(exits::find(base, new, &cells, error_rate));
    findings.extend(partial(base, new));
    findings.extend(cells.iter().filter_map(|cell| disturbed(base, new, *cell)));
    findings
}

/// Whether more runs may find something worse that these do not show with certainty.
pub(super) fn is_open(kinds: &[Kind<'_>], error_rate: f64) -> bool {
    let error_rate = error_rate / kinds.len() as f64;
    kinds.iter().any(|Kind { base, new, .. }| exits::is_open(base, new, &cells(base, new), error_rate))
}

/// All cells that somebody asked for, in the order of the documents.
fn cells(base: &[Run], new: &[Run]) -> Vec<CellId> {
    each_once(base.iter().chain(new).flat_map(|run| run.measurement.asked()).map(|cell| cell.id))
}

fn of_cell(runs: &[Run], id: CellId) -> impl Iterator<Item = &Cell> {
    runs.iter().filter_map(move |run| run.measurement.cells.iter().find(|cell| cell.id == id))
}

fn integrity(base: &[Run], new: &[Run], id: CellId) -> Option<Finding> {
    let faults = |runs| {
        let mut faults = Integrity::default();
        of_cell(runs, id).for_each(|cell| faults.add(cell.integrity));
        faults
    };
    let [of_base, of_new] = [faults(base), faults(new)];
    let said = |faults: Integrity| if faults.is_clean() { "none".to_owned() } else { faults.faults().join(", ") };
    (!of_base.is_clean() || !of_new.is_clean()).then(|| Finding {
        kind: FindingKind::Integrity,
        hosts: None,
        cell: Some(id),
        subject: "calls that went wrong".to_owned(),
        base: said(of_base),
        new: said(of_new),
        severity: if of_new.is_clean() { Severity::Noted } else { Severity::Worse },
    })
}

/// A cell that some run lacks.
fn presence(base: &[Run], new: &[Run], id: CellId) -> Option<Finding> {
    let [of_base, of_new] = [base, new].map(|runs| of_cell(runs, id).count());
    let said = |runs: &[Run], count| {
        let skipped = runs.iter().flat_map(|run| &run.measurement.skipped).find(|skipped| skipped.id == id);
        let why = skipped.map_or_else(String::new, |skipped| format!(": {}", skipped.reason));
        format!("{}{why}", of_runs(count, runs.len()))
    };
    let is_asked = |runs: &[Run]| runs.iter().any(|run| run.measurement.skipped.iter().any(|skipped| skipped.id == id));
    // That nobody asked for it is a difference of the options.
    let is_worse = of_new * base.len() < of_base * new.len() && (of_new > 0 || is_asked(new));
    (of_base < base.len() || of_new < new.len()).then(|| Finding {
        kind: FindingKind::Cell,
        hosts: None,
        cell: Some(id),
        subject: "measured".to_owned(),
        base: said(base, of_base),
        new: said(new, of_new),
        severity: if is_worse { Severity::Worse } else { Severity::Noted },
    })
}

/// `in 2 of 10 runs`.
fn of_runs(count: usize, runs: usize) -> String {
    if count == 0 { "in no run".to_owned() } else { format!("in {count} of {runs} runs") }
}

fn accelerations(base: &[Run], new: &[Run]) -> Vec<Finding> {
    let states = |runs: &[Run]| {
        let mut states: BTreeMap<Feature, Mixture<&'static str>> = BTreeMap::new();
        for acceleration in runs.iter().flat_map(|run| &run.measurement.host.apic_acceleration) {
            states.entry(acceleration.feature).or_default().extend([acceleration.state.name()]);
        }
        states
    };
    let [of_base, of_new] = [states(base), states(new)];
    let features: BTreeSet<Feature> = of_base.keys().chain(of_new.keys()).copied().collect();
    let [on, not_known] = [AccelerationState::On, AccelerationState::Unknown].map(AccelerationState::name);
    let unknown = Mixture::from_iter([not_known]);
    let changed = features.into_iter().filter_map(|feature| {
        let [base, new] = [&of_base, &of_new].map(|states| states.get(&feature).unwrap_or(&unknown));
        // That nobody could see it is no sign that it ceased, and neither is that fewer of a fleet's hosts have it.
        let is_seen = !new.is_only(not_known) && !base.has_same_values(new);
        let ceased = base.has(on) && !new.is_only(on) && is_seen;
        (!base.is_same(new)).then(|| Finding {
            kind: FindingKind::Acceleration,
            hosts: None,
            cell: None,
            subject: feature.name().to_owned(),
            base: base.told_beside(new).join(", "),
            new: new.told_beside(base).join(", "),
            severity: if ceased { Severity::Worse } else { Severity::Noted },
        })
    });
    changed.collect()
}

fn partial(base: &[Run], new: &[Run]) -> Option<Finding> {
    let [of_base, of_new] = [base, new].map(|runs| runs.iter().filter(|run| run.measurement.partial).count());
    (of_base + of_new > 0).then(|| Finding {
        kind: FindingKind::PartialRun,
        hosts: None,
        cell: None,
        subject: "ended early".to_owned(),
        base: of_runs(of_base, base.len()),
        new: of_runs(of_new, new.len()),
        severity: Severity::Noted,
    })
}

fn disturbed(base: &[Run], new: &[Run], id: CellId) -> Option<Finding> {
    let [of_base, of_new] = [base, new].map(|runs| of_cell(runs, id).filter(|cell| cell.never_quiet).count());
    (of_base + of_new > 0).then(|| Finding {
        kind: FindingKind::Disturbed,
        hosts: None,
        cell: Some(id),
        subject: "never quiet".to_owned(),
        base: of_runs(of_base, base.len()),
        new: of_runs(of_new, new.len()),
        severity: Severity::Noted,
    })
}
