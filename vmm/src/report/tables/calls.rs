//! The main table: broadcast calls by the guest's time stamps.

use super::cells::{Shown, is_idle_asked, measured, rows, shown};
use super::{halts, host_cpu};
use crate::report::table::Statistic::{Interval, Max, P50, P99};
use crate::report::table::Table;
use crate::results::measurement::Measurement;
use crate::results::metric::MetricName;
use guest_stub::abi::cell::{Call, Observe};

const COLUMNS: [Shown; 11] = [
    shown(MetricName::RoundTrip, P50, "round trip", 0),
    shown(MetricName::RoundTrip, Interval, "round trip", 4),
    shown(MetricName::RoundTrip, P99, "round trip", 2),
    shown(MetricName::RoundTrip, Max, "round trip", 8),
    shown(MetricName::Delivery, P50, "delivery", 3),
    shown(MetricName::Delivery, P99, "delivery", 9),
    Shown { name: "skew p50", ..shown(MetricName::ArrivalSkew, P50, "arrival", 10) },
    shown(MetricName::StartSkew, P50, "start skew", 0),
    shown(MetricName::StartSkew, P99, "start skew", 1),
    shown(MetricName::StartSkew, Max, "start skew", 5),
    shown(MetricName::Overlap, P50, "overlap", 6),
];

/// A latency is what people come for first.
const HOST_CPU_RANK: u8 = 5;

/// Every cell of the guest's vantage.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let rows = rows(measurement, |cell| cell.id.observe == Observe::Guest);
    let has = |call| rows.iter().any(|(_, cell)| cell.id.call == call);
    let title = match (has(Call::Broadcast), has(Call::Ping)) {
        (true, true) => "Broadcast calls and pings, by the guest's time stamps",
        (false, true) => "Pings, by the guest's time stamps",
        (true | false, false) => "Broadcast calls, by the guest's time stamps",
    };
    let is_idle_asked = is_idle_asked(&rows);
    let columns: Vec<Shown> = is_idle_asked.then_some(halts::MEASURED).into_iter().chain(COLUMNS).collect();
    let mut table = measured(title, &rows, &columns)?;
    table.columns.extend(host_cpu::column(&rows, HOST_CPU_RANK));
    if is_idle_asked {
        table.columns.push(halts::polled(&rows, 2));
        table.notes.extend(halts::not_as_asked(&rows));
    }
    table.notes.extend(halts::summary(&rows, is_idle_asked));
    Some(table)
}
