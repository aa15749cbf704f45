//! Which cell each cell is divided by, so that what the host does to all of them does not count.
//!
//! Cells that differ in their route only share most of a host's drift. One of them is the reference of the others, and is not judged itself:
//! were each the other's reference, a cell that got faster would make its neighbour slower.

use super::{Run, each_once};
use guest_stub::abi::cell::{CellId, Route};
use std::collections::BTreeSet;

/// The routes, the ones first that are references rather than judged. Those over KVM's local APICs do what most others do, and drift as they do; a
/// route that interrupts nobody, and calls without a virtual machine, drift less alike.
const BY_PREFERENCE: [Route; 14] = [
    Route::XApic,
    Route::X2Apic,
    Route::KvmPv,
    Route::HyperV,
    Route::Nmi,
    Route::Msi,
    Route::Host,
    Route::VmmXApic,
    Route::VmmX2Apic,
    Route::VmmHost,
    Route::NativeRseq,
    Route::Native,
    Route::NativeFutex,
    Route::Memory,
];

/// A reference as it is asked for: a route and a state.
pub type Choice = (Route, guest_stub::abi::TargetState);

/// What rows are about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pairs {
    /// The cells that are judged, each with its reference, if it has one.
    pub(super) judged: Vec<(CellId, Option<CellId>)>,
    /// The cells that those are divided by, each with its own reference.
    pub(super) references: Vec<(CellId, Option<CellId>)>,
}

/// The pairs of the cells that both sides have.
pub(super) fn pair(base: &[Run], new: &[Run], choice: Option<Choice>) -> Pairs {
    let asked = in_both(base, new, |run| run.measurement.asked().map(|cell| cell.id).collect());
    let beside = |run: &Run| -> Vec<CellId> {
        let cells = run.measurement.cells.iter().filter(|cell| cell.beside).map(|cell| cell.id);
        cells.chain(run.measurement.references.iter().filter_map(|reference| reference.cell)).collect()
    };
    let beside = in_both(base, new, beside);
    // Calls without a virtual machine drift by themselves: their quotients vary by 5 % where calls do by 4 %.
    let is_native = |it: &CellId| matches!(it.route, Route::Native | Route::NativeRseq | Route::NativeFutex);
    let virtual_beside: Vec<CellId> = beside.iter().copied().filter(|it| !is_native(it)).collect();
    let candidates = || asked.iter().chain(&beside);
    let memory = |cell: &CellId| nearest(cell, candidates().filter(|it| matches!(it.route, Route::Memory)));
    let of = |cell: &CellId| match choice {
        Some((route, state)) => nearest(cell, candidates().filter(|it| (it.route, it.target_state) == (route, state))),
        None => of_same_state(cell, &asked, &virtual_beside)
            .or_else(|| memory(cell))
            .or_else(|| of_same_state(cell, &asked, &beside)),
    };
    let chosen: Vec<(CellId, Option<CellId>)> = asked.iter().map(|cell| (*cell, of(cell))).collect();
    // What a reference is divided by in its turn: it interrupts nobody, and so tells whether it was the reference that changed.
    let own = |cell: &CellId| if choice.is_none() { memory(cell) } else { None };
    let mut used: Vec<CellId> = chosen.iter().filter_map(|(_, reference)| *reference).collect();
    used.extend(used.clone().iter().filter_map(own));
    let references = candidates().filter(|it| used.contains(it)).map(|cell| (*cell, own(cell)));
    Pairs {
        references: references.collect(),
        judged: chosen.into_iter().filter(|(cell, _)| !used.contains(cell)).collect(),
    }
}

/// What all sides have in some run, in the order of the base's first run that has it.
fn in_both(base: &[Run], new: &[Run], of: impl Fn(&Run) -> Vec<CellId>) -> Vec<CellId> {
    let in_new: BTreeSet<CellId> = new.iter().flat_map(&of).collect();
    each_once(base.iter().flat_map(&of).filter(|cell| in_new.contains(cell)))
}

/// The reference of the group that a cell is in, of cells that differ in nothing but the route: one of those that were asked for where there
/// are several. The one that it is has none there.
fn of_same_state(cell: &CellId, asked: &[CellId], beside: &[CellId]) -> Option<CellId> {
    let rank = |it: &&CellId| BY_PREFERENCE.iter().position(|route| *route == it.route);
    let best = |cells: &[CellId]| {
        cells.iter().filter(|it| CellId { route: cell.route, ..**it } == *cell).min_by_key(rank).copied()
    };
    let of_asked = best(asked).filter(|it| it.route != cell.route);
    let is_alone = asked.iter().filter(|it| CellId { route: cell.route, ..**it } == *cell).count() == 1;
    let of_beside = || best(beside).filter(|it| is_alone && it.route != cell.route);
    of_asked.or_else(of_beside)
}

/// Of these, the one that differs least from a cell, which is of another route or state.
fn nearest<'a>(cell: &CellId, candidates: impl Iterator<Item = &'a CellId>) -> Option<CellId> {
    let differs = |it: &&CellId| (it.route, it.target_state) != (cell.route, cell.target_state);
    let distance = |it: &&CellId| {
        let CellId { call, route: _, destination, target_state, vcpus, observe, idle_before_us, wait, under } = **it;
        (
            (under != cell.under, vcpus != cell.vcpus),
            observe != cell.observe,
            wait != cell.wait,
            call != cell.call,
            destination != cell.destination,
            (target_state != cell.target_state, idle_before_us != cell.idle_before_us),
        )
    };
    candidates.filter(differs).min_by_key(distance).copied()
}
