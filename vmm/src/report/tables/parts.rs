//! How much of a call's parts its exits explain.

use super::cells::{rows_of, table as of_rows};
use crate::report::table::{Column, Table, Value};
use crate::report::units;
use crate::results::measurement::Measurement;
use crate::results::stage::{Part, PartExits};
use guest_stub::abi::act::Act;

const TITLE: &str = "What exits explain: those in each part of a call (named by what it ends with), at what one costs";

/// A row for each part of each cell whose events and whose exits' costs were measured.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let (rows, parts) = rows_of(measurement, |cell| cell.breakdown.iter().flat_map(|breakdown| &breakdown.parts));
    let mut table = of_rows(TITLE, &rows)?;
    let values = |value: &dyn Fn(&Part) -> Value| parts.iter().map(|part| value(part)).collect::<Vec<_>>();
    table.columns.extend([
        Column::key("part", values(&|part| Value::text(part.stage.name()))),
        Column::number("", "mean", 0, values(&|part| Value::Time(part.mean_ns))),
        Column::number("", "explained", 0, values(&|part| Value::Time(part.explained_ns))),
        Column::number("", "left", 0, values(&|part| Value::Time(part.mean_ns - part.explained_ns))),
        Column::words("exits a call: initiator / last target", 0, values(&|part| exits(&part.exits))),
    ]);
    table.notes.push(
        "explained: exits × (mean cost − that of nothing), as if one came after the other: an estimate".to_owned(),
    );
    Some(table)
}

fn exits(exits: &[PartExits]) -> Value {
    if exits.is_empty() {
        return Value::text("none");
    }
    let text = |it: &PartExits| {
        let (initiator, target) = (units::per_call(it.initiator), units::per_call(it.target));
        format!("{} {initiator} / {target}", it.act.map_or("others", Act::name))
    };
    Value::Items(exits.iter().map(text).collect())
}
