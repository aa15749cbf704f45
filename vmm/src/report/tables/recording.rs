//! What recording events costs.

use super::cells::{rows_of, table as of_rows};
use crate::report::table::{Column, Table, Value};
use crate::results::measurement::Measurement;
use crate::results::observer_effect::ObserverEffect;

const TITLE: &str = "What recording costs: the same rounds with each source and with none, block by block in turn";

/// A row for each cell and source.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let (rows, effects) = rows_of(measurement, |cell| &cell.observer_effect);
    let mut table = of_rows(TITLE, &rows)?;
    let values = |value: &dyn Fn(&ObserverEffect) -> Option<Value>| -> Vec<Value> {
        effects.iter().map(|effect| Value::or_missing(value(effect))).collect()
    };
    let ratio = "ratio";
    table.columns.extend([
        Column::key("source", values(&|effect| Some(Value::text(effect.source.name())))),
        Column::number("round trip p50", "off", 0, values(&|effect| effect.off_ns.map(Value::Time))),
        Column::number("round trip p50", "on", 0, values(&|effect| effect.on_ns.map(Value::Time))),
        Column::number(ratio, "on / off", 0, values(&|effect| effect.ratio.map(Value::Ratio))),
        Column::number(ratio, "95 %", 1, values(&|effect| effect.ci95.map(Value::RatioRange))),
        Column::number("events", "lost", 2, values(&|effect| Some(Value::Count(effect.lost)))),
    ]);
    if effects.iter().any(|effect| effect.never_quiet) {
        let disturbed = values(&|effect| effect.never_quiet.then(|| Value::text("NEVER QUIET")));
        table.columns.push(Column::words("disturbed", 0, disturbed));
    }
    Some(table)
}
