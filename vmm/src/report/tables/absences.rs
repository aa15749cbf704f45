//! Targets in states `preempted` and `out`: when their threads could enter the guest again, and how much later they arrived.

use super::cells::{Row, Shown, add_metrics, rows, shown, table as of_rows};
use crate::report::table::Statistic::{P50, P99};
use crate::report::table::{Column, Table, Value};
use crate::results::measurement::Measurement;
use crate::results::metric::MetricName;

const TITLE: &str = "Targets preempted or out: from the send until they are back, and from then to their arrival";

const COLUMNS: [Shown; 6] = [
    shown(MetricName::Away, P50, "away", 0),
    shown(MetricName::Away, P99, "away", 2),
    shown(MetricName::Reentry, P50, "reentry", 0),
    shown(MetricName::Reentry, P99, "reentry", 1),
    shown(MetricName::Delivery, P50, "delivery", 0),
    shown(MetricName::Delivery, P99, "delivery", 3),
];

/// A row for each cell of such targets.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let rows = rows(measurement, |cell| cell.id.target_state.is_away());
    let mut table = of_rows(TITLE, &rows)?;
    let rounds = |of: fn(&Row<'_>) -> u64| rows.iter().map(|row| Value::Count(of(row))).collect();
    table.columns.push(Column::number("rounds", "count", 0, rounds(|(_, cell)| cell.rounds)));
    table.columns.push(Column::number("rounds", "do not", 0, rounds(|(_, cell)| cell.not_in_state)));
    add_metrics(&mut table, &rows, &COLUMNS);
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use guest_stub::abi::TargetState;

    #[test]
    fn only_targets_that_were_away_have_a_row() {
        let mut measurement = fixture::measurement();
        assert!(table(&measurement).is_none());
        let cell = &mut measurement.cells[0];
        (cell.id.target_state, cell.rounds, cell.not_in_state) = (TargetState::Out, 17, 3);
        cell.metrics.insert(MetricName::Away, fixture::metric(50_000.0));
        let table = table(&measurement).expect("a row");
        let column =
            |name: &str| table.columns.iter().find(|column| column.name == name).map(|column| column.values.clone());
        assert_eq!(column("count"), Some(vec![Value::Count(17)]));
        assert_eq!(column("do not"), Some(vec![Value::Count(3)]));
        assert!(table.columns.iter().any(|column| column.group == "away" && column.values.len() == 1));
    }
}
