//! Delivery as the guest and as the recorded events have it.

use super::cells::{Shown, add_metrics, rows, shown, table as of_rows};
use crate::report::table::Statistic::{P50, P99};
use crate::report::table::Table;
use crate::results::measurement::Measurement;
use crate::results::metric::MetricName;

const TITLE: &str = "Delivery from both vantages: send to interrupt entry in the guest, exit to entry in the host; the gap \
                     is the exit's and the entry's cost";

const COLUMNS: [Shown; 6] = [
    shown(MetricName::Delivery, P50, "guest", 0),
    shown(MetricName::Delivery, P99, "guest", 2),
    shown(MetricName::KernelDelivery, P50, "host", 0),
    shown(MetricName::KernelDelivery, P99, "host", 2),
    shown(MetricName::DeliveryGap, P50, "gap", 0),
    shown(MetricName::DeliveryGap, P99, "gap", 1),
];

/// Every cell whose events show a delivery.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let rows = rows(measurement, |cell| cell.metrics.contains_key(&MetricName::KernelDelivery));
    let mut table = of_rows(TITLE, &rows)?;
    add_metrics(&mut table, &rows, &COLUMNS);
    Some(table)
}
