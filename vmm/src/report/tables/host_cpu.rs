//! What calls take of the host's CPUs: latency that is bought by polling is paid for there.

use super::cells::{Row, rows, table as of_rows};
use crate::report::table::{Column, Table, Value};
use crate::results::host_cpu::{CpuModes, HostCpu};
use crate::results::measurement::Measurement;

const TITLE: &str =
    "Host CPU time a call: the vCPUs' threads, by their CPU clocks, what lies between the calls included";

/// Fractions of less time are too rough to be read: so many ns are some 25 ticks.
const LEAST_DIVIDED: f64 = 250e6;

/// A row for each cell whose clocks were read.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let rows = rows(measurement, |cell| cell.host_cpu.is_some());
    let mut table = of_rows(TITLE, &rows)?;
    let column = |group, name, rank, value: fn(&HostCpu) -> Option<Value>| {
        let of = |(_, cell): &Row<'_>| Value::or_missing(cell.host_cpu.as_ref().and_then(value));
        Column::number(group, name, rank, rows.iter().map(of).collect())
    };
    table.columns.extend([
        column("all threads", "p50", 0, |cpu| Some(Value::Time(cpu.total_ns))),
        column("all threads", "× native", 0, |cpu| cpu.times_native.first().map(|times| Value::Times(times.ratio))),
        column("all threads", "95 %", 2, |cpu| cpu.total_ci95.map(Value::TimeRange)),
        column("", "initiator", 0, |cpu| Some(Value::Time(cpu.initiator_ns))),
        column("", "each target", 0, |cpu| Some(Value::Time(cpu.per_target_ns))),
        column("", "time passed", 1, |cpu| Some(Value::Time(cpu.wall_ns))),
        column("spent in", "guest", 3, |cpu| divided(cpu).map(|modes| Value::Share(modes.guest))),
        column("spent in", "VMM", 4, |cpu| divided(cpu).map(|modes| Value::Share(modes.user))),
        column("spent in", "kernel", 3, |cpu| divided(cpu).map(|modes| Value::Share(modes.kernel))),
    ]);
    // Nobody misses a column without a value.
    table.columns.retain(|column| column.values.iter().any(|value| *value != Value::Missing));
    Some(table)
}

/// The time of all threads, for the main table.
pub(super) fn column(rows: &[Row<'_>], rank: u8) -> Option<Column> {
    let total = |(_, cell): &Row<'_>| cell.host_cpu.as_ref().map(|cpu| Value::Time(cpu.total_ns));
    Column::number_if_any("", "CPU/call", rank, rows.iter().map(total))
}

fn divided(cpu: &HostCpu) -> Option<&CpuModes> {
    cpu.modes.as_ref().filter(|modes| modes.of_ns >= LEAST_DIVIDED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    fn host_cpu(of_ns: f64) -> HostCpu {
        let modes = CpuModes { guest: 0.25, user: 0.0, kernel: 0.75, of_ns };
        HostCpu {
            total_ns: 150_000.0,
            total_ci95: Some([140_000.0, 160_000.0]),
            initiator_ns: 90_000.0,
            per_target_ns: 60_000.0,
            wall_ns: 91_000.0,
            modes: Some(modes),
            times_native: Vec::new(),
            method: String::new(),
        }
    }

    fn values(table: &Table, title: &str) -> Vec<String> {
        let column = table.columns.iter().find(|column| column.title() == title).expect("a column");
        column.values.iter().map(Value::to_string).collect()
    }

    #[test]
    fn fractions_of_a_few_ticks_are_not_shown() {
        let mut measurement = fixture::measurement();
        assert_eq!(table(&measurement), None, "nobody has read the clocks");
        measurement.cells[0].host_cpu = Some(host_cpu(1e9));
        measurement.cells[1].host_cpu = Some(host_cpu(240e6));
        let table = table(&measurement).expect("a table");
        assert_eq!(values(&table, "all threads p50"), ["150 µs", "150 µs"]);
        assert_eq!(values(&table, "all threads 95 %"), ["140–160 µs", "140–160 µs"]);
        assert_eq!(values(&table, "each target"), ["60.0 µs", "60.0 µs"]);
        assert_eq!(values(&table, "spent in kernel"), ["75 %", "–"]);
    }

    #[test]
    fn the_main_table_has_a_column_where_a_cell_has_the_time() {
        let mut measurement = fixture::measurement();
        let of = |measurement: &Measurement| column(&rows(measurement, |_| true), 5);
        assert_eq!(of(&measurement), None);
        measurement.cells[1].host_cpu = Some(host_cpu(0.0));
        let column = of(&measurement).expect("a column");
        assert_eq!(column.values, [Value::Missing, Value::Time(150_000.0)]);
    }
}
