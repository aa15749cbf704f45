//! Where calls' time went, stage by stage.

use super::cells::{Row, rows, table as of_rows};
use crate::report::table::{Column, Table, Value};
use crate::results::count::count;
use crate::results::measurement::Measurement;
use crate::results::stage::{Breakdown, Stage};
use crate::results::trace::Call;
use guest_stub::abi::cell::Observe;

const TITLE: &str =
    "Where the time goes: means, over the target that arrives last (each stage named by what it ends with)";

/// A row for each cell, a column for each stage of the mean round trip.
pub(super) fn of_cells(measurement: &Measurement) -> Option<Table> {
    let rows = rows(measurement, |cell| cell.id.observe == Observe::Guest && cell.breakdown.is_some());
    let cells = rows.iter().map(|(_, cell): &Row<'_>| *cell);
    let breakdowns: Vec<(&Breakdown, Option<f64>)> =
        cells.filter_map(|cell| Some((cell.breakdown.as_ref()?, cell.clock.error_ns))).collect();
    let mut table = of_rows(TITLE, &rows)?;
    let values = |value: &dyn Fn(&Breakdown) -> Option<Value>| -> Vec<Value> {
        let value = |(breakdown, epsilon)| Value::or_missing(value(breakdown)).unless_below(epsilon, 1);
        breakdowns.iter().copied().map(value).collect()
    };
    let mut add = |name: &str, rank, values| table.columns.push(Column::number("", name, rank, values));
    let mean = |breakdown: &Breakdown, stage: Stage| {
        let found = breakdown.stages.iter().find(|it| it.stage == stage)?;
        Some(Value::Time(found.mean_ns))
    };
    for stage in Stage::OF_ROUND_TRIP {
        if breakdowns.iter().any(|(breakdown, _)| mean(breakdown, stage).is_some()) {
            add(stage.name(), 0, values(&|breakdown| mean(breakdown, stage)));
        }
    }
    if breakdowns.iter().any(|(breakdown, _)| breakdown.remainder_ns != 0.0) {
        let left = breakdowns.iter().map(|(breakdown, epsilon)| remainder(breakdown.remainder_ns, *epsilon));
        add("remainder", 0, left.collect());
    }
    let round_trips = breakdowns.iter().map(|(breakdown, _)| Value::Time(breakdown.round_trip_ns));
    add("= round trip", 0, round_trips.collect());
    if breakdowns.iter().any(|(breakdown, _)| breakdown.accelerated.is_some()) {
        let of = |breakdown: &Breakdown| {
            breakdown.accelerated.map(|sends| Value::Text(format!("{} of {}", sends.sends, sends.of)))
        };
        add("no exit", 1, values(&of));
    }
    Some(table)
}

/// One call, whose clocks' error is ε: a row for each stage, and what the target did afterwards.
pub(in crate::report) fn of_call(call: &Call, epsilon_ns: Option<f64>) -> Table {
    let time = |ns: f64| Value::Time(ns).unless_below(epsilon_ns, 1);
    let share = |cost: f64| share(cost, call.round_trip_ns, epsilon_ns);
    let total = Value::Time(call.round_trip_ns);
    let mut rows: Vec<[Value; 4]> = Vec::new();
    for stage in &call.stages {
        let name = Value::text(stage.stage.name());
        rows.push([name, time(stage.end_ns), time(stage.cost_ns), share(stage.cost_ns)]);
    }
    let left = remainder(call.remainder_ns, epsilon_ns);
    rows.push([Value::text("remainder"), Value::Nothing, left, share(call.remainder_ns)]);
    rows.push([Value::text("round trip"), total.clone(), total, Value::Share(1.0)]);
    for stage in &call.afterwards {
        let name = Value::Text(format!("aside: {}", stage.stage.name()));
        rows.push([name, time(stage.end_ns), time(stage.cost_ns), Value::Nothing]);
    }
    let [names, ends, costs, shares] = columns(rows);
    let columns = vec![
        Column::key("stage", names),
        Column::number("", "ended at", 0, ends),
        Column::number("", "cost", 0, costs),
        Column::number("", "share", 1, shares),
    ];
    Table::new("Its stages, over the target that arrived last", columns)
}

/// What no stage accounts for. Where that is nothing, no clock can have moved it.
fn remainder(ns: f64, epsilon_ns: Option<f64>) -> Value {
    if ns == 0.0 { Value::Time(ns) } else { Value::Time(ns).unless_below(epsilon_ns, 1) }
}

/// A stage's part of the round trip.
fn share(cost: f64, round_trip: f64, epsilon_ns: Option<f64>) -> Value {
    if cost == 0.0 {
        return Value::Share(0.0);
    }
    Value::Share(cost / round_trip).unless_below(epsilon_ns.map(|epsilon| epsilon / round_trip.abs()), 1)
}

/// Many rounds, whose clocks' error is ε: a row for each stage.
pub(in crate::report) fn of_rounds(breakdown: &Breakdown, epsilon_ns: Option<f64>) -> Table {
    let time = |ns: f64| Value::Time(ns).unless_below(epsilon_ns, 1);
    let share = |mean: f64| share(mean, breakdown.round_trip_ns, epsilon_ns);
    let mut rows: Vec<[Value; 7]> = Vec::new();
    for stage in &breakdown.stages {
        let [mean, min, p50, max] = [stage.mean_ns, stage.min_ns, stage.p50_ns, stage.max_ns].map(time);
        let name = Value::text(stage.stage.name());
        rows.push([name, mean, share(stage.mean_ns), min, p50, max, Value::Count(stage.n)]);
    }
    let left = breakdown.remainder_ns;
    let total = Value::Time(breakdown.round_trip_ns);
    for (name, mean, share) in
        [("remainder", remainder(left, epsilon_ns), share(left)), ("round trip", total, Value::Share(1.0))]
    {
        let [min, p50, max, n] = [const { Value::Nothing }; 4];
        rows.push([Value::text(name), mean, share, min, p50, max, n]);
    }
    let [names, means, shares, mins, medians, maxima, counts] = columns(rows);
    let columns = vec![
        Column::key("stage", names),
        Column::number("", "mean", 0, means),
        Column::number("", "share", 0, shares),
        Column::number("", "min", 3, mins),
        Column::number("", "p50", 1, medians),
        Column::number("", "max", 2, maxima),
        Column::number("", "calls", 4, counts),
    ];
    let rounds = count(usize::try_from(breakdown.rounds).unwrap_or(usize::MAX), "round");
    let title = format!("Stages of {rounds}, each over the target that arrived last");
    let mut table = Table::new(title, columns);
    let sends = |sends: crate::results::stage::Accelerated| {
        format!("Sends that caused no exit: {} of {}", sends.sends, sends.of)
    };
    table.notes.extend(breakdown.accelerated.map(sends));
    table
}

/// Rows turned into columns.
fn columns<const N: usize>(rows: Vec<[Value; N]>) -> [Vec<Value>; N] {
    let mut columns = [const { Vec::new() }; N];
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    columns
}
