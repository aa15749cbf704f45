//! Whether others used the machine while a cell was measured.

use super::Run;
use super::kinds::Kind;
use guest_stub::abi::cell::CellId;

/// Whether most runs of one side were disturbed, and not of the other: what a cell's times differ by is then the load as well.
pub(super) fn on_one_side(kind: &Kind<'_>, id: CellId, reference: Option<CellId>) -> bool {
    in_most_runs(&kind.base, id, reference) != in_most_runs(&kind.new, id, reference)
}

/// Whether a cell, or what it is divided by, was never quiet in most runs that have it. What was measured beside the cells is made of
/// quiet blocks only.
pub(super) fn in_most_runs(runs: &[Run], id: CellId, reference: Option<CellId>) -> bool {
    let never_quiet =
        |run: &Run, id: CellId| run.measurement.cells.iter().find(|cell| cell.id == id).map(|cell| cell.never_quiet);
    let is_disturbed = |run: &Run| {
        let of_reference = reference.and_then(|reference| never_quiet(run, reference)).unwrap_or_default();
        never_quiet(run, id).map(|own| own || of_reference)
    };
    let having_it: Vec<bool> = runs.iter().filter_map(is_disturbed).collect();
    2 * having_it.iter().filter(|is_disturbed| **is_disturbed).count() > having_it.len()
}
