//! Runs of one and the same thing that were measured in a row.

use crate::pairs::{Count, print_head};
use crate::{SIZES, steps};
use anyhow::bail;
use guest_stub::abi::cell::CellId;
use kipi::commands::documents;
use kipi::comparison::rules::Rules;
use kipi::comparison::{Run, compare};
use kipi::results::metric::MetricName;
use std::path::PathBuf;

const ROUND_TRIP: MetricName = MetricName::RoundTrip;

/// Directories of documents.
pub(super) struct Series {
    pub(super) runs: PathBuf,
    /// Of runs in turns with these, of which some cells were lengthened.
    pub(super) planted: Option<PathBuf>,
}

/// Compares all windows of them.
pub(super) fn compare_windows(series: &Series) -> anyhow::Result<()> {
    let runs = read(&series.runs)?;
    let planted = series.planted.as_ref().map(read).transpose()?;
    if let Some(planted) = planted.as_ref().filter(|planted| planted.len() != runs.len()) {
        bail!("{} planted runs beside {} are not in turns", planted.len(), runs.len());
    }
    println!("{}: {} runs in a row", series.runs.display(), runs.len());
    if let Some((disjoint, pairs)) = raw(&runs) {
        let share = 100.0 * disjoint as f64 / pairs as f64;
        println!(
            "raw: the 95 % intervals of {disjoint} of {pairs} cells ({share:.0} %) of two successive runs have nothing in common"
        );
    }
    print_variation(&runs);
    print_head();
    for size in SIZES {
        for (name, step, with_interval) in [("sliding", 1, false), ("disjoint", 2 * size, true)] {
            let mut count = Count::default();
            for (first, window) in runs.windows(2 * size).enumerate().step_by(step) {
                let (base, new) = window.split_at(size);
                match &planted {
                    None => count.add(base, new),
                    Some(planted) => {
                        count.add_same(base, new);
                        count.add_planted(base, &planted[first + size..first + 2 * size], is_lengthened(planted));
                    }
                }
            }
            if count.comparisons > 0 {
                count.print(&format!("{size} a side, {name}"), with_interval);
            }
        }
    }
    steps::in_series(&runs, planted.as_deref());
    Ok(())
}

/// Prints how much runs differ: what the made-up hosts are fitted to.
fn print_variation(runs: &[Run]) {
    let (base, new) = runs.split_at(runs.len() / 2);
    for row in compare(base, new, &Rules::default()).cells {
        let of =
            |run: &Run| Some(run.measurement.cells.iter().find(|cell| cell.id == row.id)?.metrics[&ROUND_TRIP].p50);
        let logarithms: Vec<f64> = runs.iter().filter_map(of).map(f64::ln).collect();
        let n = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / n;
        let variance = logarithms.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let divided = row.spread.map_or_else(|| "unknown".to_owned(), |spread| format!("{:.1} %", 100.0 * spread));
        println!(
            "standard deviation of runs: {}: {:.1} % of the median, {divided} of the quotient",
            row.id,
            100.0 * variance.sqrt()
        );
    }
}

fn read(directory: &PathBuf) -> anyhow::Result<Vec<Run>> {
    let runs = documents::read(std::slice::from_ref(directory), false)?;
    if runs.len() < 2 * SIZES[0] {
        bail!("{}: {} runs are too few", directory.display(), runs.len());
    }
    Ok(runs)
}

/// Whether runs say of a cell that it was lengthened.
fn is_lengthened(runs: &[Run]) -> impl Fn(&CellId) -> bool {
    let config = runs.first().map(|run| run.measurement.config.clone());
    move |cell| {
        config
            .as_ref()
            .is_some_and(|it| it.injected_delay.is_some() && it.injected_route.is_none_or(|route| route == cell.route))
    }
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
