//! What one run says of a cell, for benchmarks that compare runs.

use kipi::results::measurement::Cell;
use kipi::results::metric::MetricName;

/// The median of a cell's round trips in one run, ns, with its 95 % interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Median {
    pub(crate) p50: f64,
    pub(crate) interval: [f64; 2],
}

impl Median {
    /// `None`: the cell has no round trips, or no interval.
    pub(crate) fn of(cell: &Cell) -> Option<Self> {
        let metric = cell.metrics.get(&MetricName::RoundTrip)?;
        Some(Self { p50: metric.p50, interval: metric.ci95.p50? })
    }

    /// Whether the intervals of two runs have something in common.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.interval[0] <= other.interval[1] && other.interval[0] <= self.interval[1]
    }
}
