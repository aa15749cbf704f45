//! The main table: calls by the guest's time stamps, and native ones by the threads'.

use super::cells::{Row, Shown, is_idle_asked, measured, rows, shown};
use super::{exits, halts, host_cpu, times};
use crate::config::routes;
use crate::report::table::Statistic::{Interval, Max, P50, P99};
use crate::report::table::{Column, Kind, Table};
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
    // Of equal ranks, the last one goes first. A difference is to be told from chance before it is told from its tail.
    shown(MetricName::StartSkew, P99, "start skew", 5),
    shown(MetricName::StartSkew, Max, "start skew", 5),
    shown(MetricName::Overlap, P50, "overlap", 6),
];

/// A latency is what people come for first.
const HOST_CPU_RANK: u8 = 5;

/// The columns of numbers that are never left out where rows are of several VMMs, whose names need room: how they compare. That calls
/// went wrong must be read in any case.
const SPARED_BESIDE_VMMS: [&str; 3] = ["round trip p50", "× kipi's VMM p50", "integrity"];
/// The other ones that are never left out elsewhere go last, and of those the last one first: that the machine was never quiet is in
/// the head, too.
const BESIDE_VMMS_RANK: u8 = 1;

/// Every cell of the guest's vantage that was asked for.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let rows = rows(measurement, |cell| cell.id.observe == Observe::Guest && !cell.beside);
    let is_idle_asked = is_idle_asked(&rows);
    let columns: Vec<Shown> = is_idle_asked.then_some(halts::MEASURED).into_iter().chain(COLUMNS).collect();
    let mut table = measured(&title(&rows), &rows, &columns)?;
    let columns: Vec<Column> = times::native(&rows).into_iter().chain(times::own_vmm(&rows)).collect();
    insert_behind(&mut table, "round trip", columns);
    if measurement.has_other_vmms() {
        table.columns.extend(exits::column(&rows));
        let spared =
            |column: &&mut Column| column.kind != Kind::Key && !SPARED_BESIDE_VMMS.contains(&column.title().as_str());
        table.columns.iter_mut().filter(spared).for_each(|column| column.rank = column.rank.max(BESIDE_VMMS_RANK));
    }
    table.columns.extend(host_cpu::column(&rows, HOST_CPU_RANK));
    if is_idle_asked {
        table.columns.push(halts::polled(&rows, 2));
        table.notes.extend(halts::not_as_asked(&rows));
    }
    table.notes.extend(halts::summary(&rows, is_idle_asked));
    Some(table)
}

/// What was called, and by whose time stamps.
fn title(rows: &[Row<'_>]) -> String {
    let has = |call| rows.iter().any(|(_, cell)| cell.id.call == call);
    let calls = match (has(Call::Broadcast), has(Call::Ping)) {
        (true, true) => "Broadcast calls and pings",
        (false, true) => "Pings",
        (true | false, false) => "Broadcast calls",
    };
    let native = rows.iter().filter(|(_, cell)| routes::of(cell.id.route).is_native()).count();
    let whose = match native {
        0 => "the guest's time stamps",
        all if all == rows.len() => "the threads' time stamps",
        _ => "the guest's time stamps, native ones by the threads'",
    };
    format!("{calls}, by {whose}")
}

/// Puts columns behind the last one of a group; behind all others where there is none.
fn insert_behind(table: &mut Table, group: &str, columns: Vec<Column>) {
    let last = table.columns.iter().rposition(|other| other.group == group);
    let place = last.map_or(table.columns.len(), |last| last + 1);
    table.columns.splice(place..place, columns);
}
