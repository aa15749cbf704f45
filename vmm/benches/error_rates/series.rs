//! Runs of one and the same thing that were measured in a row.

use crate::SIZES;
use crate::pairs::{Count, print_head};
use anyhow::bail;
use guest_stub::abi::cell::CellId;
use kipi::commands::documents;
use kipi::comparison::Run;
use kipi::results::metric::MetricName;
use std::path::PathBuf;

/// Compares all windows of them.
pub(super) fn compare_windows(directory: &PathBuf) -> anyhow::Result<()> {
    let runs = documents::read(std::slice::from_ref(directory), false)?;
    if runs.len() < 2 * SIZES[0] {
        bail!("{}: {} runs are too few", directory.display(), runs.len());
    }
    println!("{}: {} runs in a row", directory.display(), runs.len());
    if let Some((disjoint, pairs)) = raw(&runs) {
        let share = 100.0 * disjoint as f64 / pairs as f64;
        println!(
            "raw: the 95 % intervals of {disjoint} of {pairs} cells ({share:.0} %) of two successive runs have nothing in common"
        );
    }
    print_head();
    for size in SIZES {
        for (name, step, with_interval) in [("sliding", 1, false), ("disjoint", 2 * size, true)] {
            let mut count = Count::default();
            for window in runs.windows(2 * size).step_by(step) {
                let (base, new) = window.split_at(size);
                count.add(base, new);
            }
            if count.comparisons > 0 {
                count.print(&format!("{size} a side, {name}"), with_interval);
            }
        }
    }
    Ok(())
}

/// How many cells of successive runs have medians whose intervals are disjoint, and of how many.
fn raw(runs: &[Run]) -> Option<(usize, usize)> {
    let interval = |run: &Run, id: &CellId| {
        run.measurement.cells.iter().find(|cell| cell.id == *id)?.metrics.get(&MetricName::RoundTrip)?.ci95.p50
    };
    let pairs = runs.windows(2).flat_map(|pair| {
        let ids = pair[0].measurement.asked().map(|cell| cell.id);
        ids.filter_map(|id| Some((interval(&pair[0], &id)?, interval(&pair[1], &id)?)))
    });
    let pairs: Vec<_> = pairs.collect();
    let disjoint = pairs.iter().filter(|([low, high], [other_low, other_high])| high < other_low || other_high < low);
    (!pairs.is_empty()).then(|| (disjoint.count(), pairs.len()))
}
