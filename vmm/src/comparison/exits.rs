//! Exits a call that changed. They are counts, which no drift of the host's speed touches, and tell why a time changed.

use super::{Run, disturbed};
use crate::report::units;
use crate::results::comparison::finding::{Finding, FindingKind, Severity};
use crate::results::exits::Exits;
use crate::results::measurement::Cell;
use crate::results::source::Source;
use crate::statistics::change::{Difference, Set};
use guest_stub::abi::cell::CellId;
use std::collections::BTreeSet;

/// A change of fewer exits a call is none.
const LEAST: f64 = 0.1;

/// A change of a smaller fraction of the base's is none.
const LEAST_FRACTION: f64 = 0.05;

/// Exits that the host's own interrupts and signals cause: the longer a call takes, the more of them there are. The last three are
/// what kvm_amd's and kvm_intel's tracepoints call them (arch/x86/include/uapi/asm/{svm,vmx}.h).
const OF_THE_HOST: [&str; 7] =
    ["irq_exits", "signal_exits", "request_irq_exits", "interrupted", "interrupt", "nmi", "EXTERNAL_INTERRUPT"];

/// KVM's count of all exits, of those among them that are the host's interrupts, and what is compared: the others.
const ALL: &str = "exits";
const INTERRUPTS: &str = "irq_exits";
const ALL_BUT_INTERRUPTS: &str = "exits less irq_exits";

/// Whose exits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Initiator,
    Target,
}

/// A count of a cell: who counted, the reason, and whose exits.
type Count = (Source, String, Who);

/// A count whose mean differs by enough to matter.
struct Change {
    cell: CellId,
    count: Count,
    base: f64,
    new: f64,
    /// Whether the interval of the difference excludes none; not known where there is no interval.
    is_sure: Option<bool>,
    /// Whether the new side never was quiet in the cell.
    is_disturbed: bool,
}

impl Change {
    /// Whether it would be worse, if it were sure. The count of all exits has what no other count names, such as the host's interrupts of
    /// code that KVM emulates: a neighbour makes more of them, and calls that wait for it.
    fn is_rise(&self) -> bool {
        let reason = self.count.1.as_str();
        let is_of_a_neighbour = self.is_disturbed && [ALL, ALL_BUT_INTERRUPTS].contains(&reason);
        self.new > self.base && !is_of_a_neighbour && !OF_THE_HOST.contains(&reason)
    }
}

/// Those that changed, of each cell in turn.
pub(super) fn find(base: &[Run], new: &[Run], cells: &[CellId], error_rate: f64) -> Vec<Finding> {
    let changes = changes(base, new, cells, error_rate).into_iter();
    let found = changes.filter(|change| change.is_sure != Some(false)).map(|change| {
        let (source, reason, who) = &change.count;
        let of = match who {
            Who::Initiator => "initiator",
            Who::Target => "each target",
        };
        let is_worse = change.is_sure == Some(true) && change.is_rise();
        Finding {
            kind: FindingKind::Exits,
            hosts: None,
            cell: Some(change.cell),
            subject: format!("{} {reason}, {of}", source.name()),
            base: units::per_call(change.base),
            new: units::per_call(change.new),
            severity: if is_worse { Severity::Worse } else { Severity::Noted },
        }
    });
    found.collect()
}

/// Whether there may be more exits, and too few runs to be sure.
pub(super) fn is_open(base: &[Run], new: &[Run], cells: &[CellId], error_rate: f64) -> bool {
    changes(base, new, cells, error_rate).iter().any(|change| change.is_rise() && change.is_sure != Some(true))
}

fn changes(base: &[Run], new: &[Run], cells: &[CellId], error_rate: f64) -> Vec<Change> {
    let mut compared = Vec::new();
    for &id in cells {
        let [of_base, of_new] = [base, new].map(|runs| of_cell(runs, id));
        if of_base.is_empty() || of_new.is_empty() {
            continue;
        }
        for count in counts(&[&of_base[..], &of_new].concat()) {
            let [base, new] = [&of_base, &of_new].map(|cells| set(cells, &count));
            if base.values.is_empty() || new.values.is_empty() {
                continue;
            }
            compared.extend(Difference::between(&base, &new).map(|difference| (id, count, base, new, difference)));
        }
    }
    let is_disturbed = |id: CellId| disturbed::in_most_runs(new, id, None);
    // Of these, hardly any change: to test each at the level for all of them loses next to nothing against Holm's steps.
    let miss = error_rate / compared.len().max(1) as f64;
    let changed = compared.into_iter().filter_map(|(cell, count, base, new, difference)| {
        let (base, new) = (mean(&base), mean(&new));
        let is_large = (new - base).abs() > LEAST && (new - base).abs() > LEAST_FRACTION * base;
        let is_certain = difference.interval(miss).is_some_and(|[low, high]| low > 0.0 || high < 0.0);
        let is_sure = difference.error.is_some().then_some(is_certain);
        is_large.then_some(Change { cell, count, base, new, is_sure, is_disturbed: is_disturbed(cell) })
    });
    changed.collect()
}

fn of_cell(runs: &[Run], id: CellId) -> Vec<&Cell> {
    runs.iter().flat_map(|run| &run.measurement.cells).filter(|cell| cell.id == id).collect()
}

/// All that was counted in any of the cells. The host's interrupts are taken out of KVM's count of all exits, which would follow
/// the time with them.
fn counts(cells: &[&Cell]) -> BTreeSet<Count> {
    let exits = cells.iter().flat_map(|cell| &cell.exits).filter(|exits| counts_exits(exits));
    let counts =
        exits.flat_map(|exits| [Who::Initiator, Who::Target].map(|who| (exits.source, exits.reason.clone(), who)));
    let mut counts: BTreeSet<Count> = counts.collect();
    for who in [Who::Initiator, Who::Target] {
        let of = |reason: &str| (Source::Stats, reason.to_owned(), who);
        if counts.contains(&of(INTERRUPTS)) && counts.remove(&of(ALL)) {
            counts.insert(of(ALL_BUT_INTERRUPTS));
        }
    }
    counts
}

/// KVM's statistics count much else, such as emulated instructions, of which a call that takes longer has more.
fn counts_exits(exits: &Exits) -> bool {
    match exits.source {
        Source::Stats => exits.reason.ends_with("exits"),
        Source::Vmm | Source::Kernel | Source::Guest => true,
    }
}

/// Whether a source's events were counted. What never occurred is left out of documents, and so are sources that nobody asked for.
fn has_source(cell: &Cell, source: Source) -> bool {
    let is_recorded = cell.observer_effect.iter().any(|it| it.source == source && it.unavailable.is_none());
    is_recorded || cell.exits.iter().any(|exits| exits.source == source)
}

/// A count in each run that has its source.
fn set(cells: &[&Cell], (source, reason, who): &Count) -> Set {
    let of = |cell: &Cell, reason: &str| {
        let found = cell.exits.iter().find(|exits| exits.source == *source && exits.reason == reason);
        found.map_or(0.0, |exits| match who {
            Who::Initiator => exits.initiator,
            Who::Target => exits.per_target,
        })
    };
    let cells = cells.iter().filter(|cell| has_source(cell, *source));
    let values = cells.map(|cell| match reason.as_str() {
        ALL_BUT_INTERRUPTS => of(cell, ALL) - of(cell, INTERRUPTS),
        reason => of(cell, reason),
    });
    Set { values: values.collect(), is_trimmed: true, ..Set::default() }
}

fn mean(set: &Set) -> f64 {
    set.values.iter().sum::<f64>() / set.values.len().max(1) as f64
}
