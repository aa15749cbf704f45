//! How arrival depends on the vCPU's index.

use super::cells::{Shown, add_metrics, rows, shown, table as of_rows};
use crate::report::table::Statistic::{Interval, P50, P99};
use crate::report::table::Table;
use crate::results::measurement::Measurement;
use crate::results::metric::MetricName;

const COLUMNS: [Shown; 3] = [
    shown(MetricName::SkewSlope, P50, "per vCPU", 0),
    shown(MetricName::SkewSlope, Interval, "per vCPU", 1),
    shown(MetricName::SkewSlope, P99, "per vCPU", 2),
];

/// Every cell whose calls have enough targets for a slope.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let rows = rows(measurement, |cell| cell.metrics.contains_key(&MetricName::SkewSlope));
    let mut table = of_rows("Arrival over vCPU index (Theil–Sen slope of each round)", &rows)?;
    add_metrics(&mut table, &rows, &COLUMNS);
    Some(table)
}
