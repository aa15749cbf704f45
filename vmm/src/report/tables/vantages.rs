//! Start skew as the guest and as the VMM see it.

use super::cells::{Shown, measured, rows, shown};
use crate::report::table::Statistic::{Max, P50, P99};
use crate::report::table::Table;
use crate::results::measurement::Measurement;
use crate::results::metric::MetricName;
use guest_stub::abi::cell::Observe;

const COLUMNS: [Shown; 9] = [
    shown(MetricName::StartSkew, P50, "guest's stamps", 0),
    shown(MetricName::StartSkew, P99, "guest's stamps", 1),
    shown(MetricName::StartSkew, Max, "guest's stamps", 4),
    shown(MetricName::VmmStartSkew, P50, "VMM's stamps", 0),
    shown(MetricName::VmmStartSkew, P99, "VMM's stamps", 1),
    shown(MetricName::VmmStartSkew, Max, "VMM's stamps", 3),
    shown(MetricName::SkewGap, P50, "gap", 0),
    shown(MetricName::SkewGap, P99, "gap", 2),
    shown(MetricName::ObservedExit, P50, "exit", 0),
];

/// Every cell of the VMM's vantage.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let rows = rows(measurement, |cell| cell.id.observe == Observe::Exits);
    measured("Start skew from both vantages, each worker beginning with an exit", &rows, &COLUMNS)
}
