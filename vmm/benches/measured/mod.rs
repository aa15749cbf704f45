//! One run of the release binary, and what it says of a cell: for benchmarks that compare runs.

use anyhow::{Context, bail};
use kipi::commands::status::Status;
use kipi::results::measurement::{Cell, Measurement};
use kipi::results::metric::MetricName;
use std::process::{Command, Stdio};

/// Runs kipi once with these arguments, which let it write its document to standard output; `None` where the host cannot do it.
pub(crate) fn measure(arguments: &[&str]) -> anyhow::Result<Option<Measurement>> {
    let what = || format!("kipi {}", arguments.join(" "));
    let output =
        Command::new(env!("CARGO_BIN_EXE_kipi")).args(arguments).stdin(Stdio::null()).output().with_context(what)?;
    if output.status.code() == Some(Status::HostCannot as i32) {
        return Ok(None);
    }
    if !output.status.success() {
        bail!("{}: {}: {}", what(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(what).map(Some)
}

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
