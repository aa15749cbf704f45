//! Delivery by how far apart initiator and target are.

use super::cells::{counted, rows_of, separate, table as of_rows};
use crate::report::table::{Column, Table, Value};
use crate::results::distance::ByDistance;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use guest_stub::abi::cell::Observe;

const TITLE: &str = "Delivery by what initiator's and target's CPUs share";

/// A row for each cell of the guest's vantage and each distance, nearest first.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let is_guests = |cell: &Cell| cell.id.observe == Observe::Guest;
    let (rows, found) = rows_of(measurement, |cell| cell.by_distance.iter().filter(move |_| is_guests(cell)));
    let mut table = of_rows(TITLE, &rows)?;
    let labels = found.iter().map(|found| Value::Text(found.label().to_string())).collect();
    separate(&mut table, Column::key("distance", labels), ToString::to_string);
    let pairs = found.iter().map(|found| Value::Count(found.pairs)).collect();
    separate(&mut table, Column::number("", "pairs", 1, pairs), |value| counted(value, "pair"));
    let errors: Vec<Option<f64>> = rows
        .iter()
        .map(|(_, cell)| cell.metrics.get(&MetricName::Delivery).and_then(|delivery| delivery.clock_error))
        .collect();
    let values = |value: fn(&ByDistance) -> Option<Value>| {
        let bounded = |(found, error): (&&ByDistance, &Option<f64>)| Some(value(found)?.unless_below(*error, 1));
        found.iter().zip(&errors).map(|pair| Value::or_missing(bounded(pair))).collect::<Vec<_>>()
    };
    table.columns.push(Column::number("delivery", "p50", 0, values(|found| Some(Value::Time(found.p50_ns)))));
    table.columns.push(Column::number("delivery", "95 %", 0, values(|found| found.ci95_ns.map(Value::TimeRange))));
    Some(table)
}
