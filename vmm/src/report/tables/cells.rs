//! What the tables of cells share: what tells the rows apart, columns of metrics, and what limits their trust.

use crate::config::routes;
use crate::report::table::{Column, Statistic, Table, Value};
use crate::report::units;
use crate::results::count::count;
use crate::results::integrity::Integrity;
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::{Metric, MetricName, Unit};
use crate::results::standalone::OWN_VMM;
use guest_stub::abi::Wait;
use guest_stub::abi::cell::{Call, CellId, Under};

/// A cell and its index in the document.
pub(super) type Row<'a> = (usize, &'a Cell);

/// What calls of threads ran under, in a VMM's place.
const NO_VMM: &str = "no VM";

/// Rounds are rarely different.
const ROUNDS_RANK: u8 = 7;
/// Where it is less than was asked for, only a median is more important.
const PARTIAL_ROUNDS_RANK: u8 = 2;

/// How many blocks were disturbed is told for all cells together below the table.
const DISTURBED_RANK: u8 = 6;
/// Where it is much, a user needs to know of which cells, and would rather do without an interval.
const MUCH_DISTURBED_RANK: u8 = 3;
/// Which cells were never quiet is told there for one only, and their figures are to be marked wherever they are read.
const NEVER_QUIET_RANK: u8 = 0;

/// The clock's error is rarely different, and a value below it says so itself.
const CLOCK_RANK: u8 = 11;

/// A column that shows one statistic of one metric.
pub(super) struct Shown {
    pub(super) metric: MetricName,
    pub(super) statistic: Statistic,
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    /// 0: never left out; the larger, the earlier.
    pub(super) rank: u8,
}

/// A column that is named by its statistic.
pub(super) const fn shown(metric: MetricName, statistic: Statistic, group: &'static str, rank: u8) -> Shown {
    let name = match statistic {
        Statistic::P50 => "p50",
        Statistic::P99 => "p99",
        Statistic::Max => "max",
        Statistic::Interval => "95 %",
    };
    Shown { metric, statistic, group, name, rank }
}

impl Shown {
    /// The column, unless no cell has the metric.
    fn column(&self, rows: &[Row<'_>]) -> Option<Column> {
        let metric = |(_, cell): &Row<'_>| cell.metrics.get(&self.metric).map(|metric| self.value(metric));
        let column = Column::number_if_any(self.group, self.name, self.rank, rows.iter().map(metric))?;
        Some(Column { statistic: Some((self.metric, self.statistic)), ..column })
    }

    fn value(&self, metric: &Metric) -> Value {
        let one = |number| match metric.unit {
            Unit::Ratio => Value::Ratio(number),
            Unit::Ns | Unit::NsPerVcpu => Value::Time(number),
        };
        let value = match self.statistic {
            Statistic::P50 => one(metric.p50),
            Statistic::P99 => one(metric.p99),
            Statistic::Max => one(metric.max),
            Statistic::Interval => Value::or_missing(metric.ci95.p50.map(Value::TimeRange)),
        };
        value.unless_below(metric.clock_error, self.metric.clock_differences())
    }
}

/// The cells that `keep` is true of.
pub(super) fn rows(measurement: &Measurement, keep: impl Fn(&Cell) -> bool) -> Vec<Row<'_>> {
    measurement.cells.iter().enumerate().filter(|(_, cell)| keep(cell)).collect()
}

/// A row for each of what `of` finds in a cell, and what it is.
pub(super) fn rows_of<'m, T, I: IntoIterator<Item = T>>(
    measurement: &'m Measurement,
    of: impl Fn(&'m Cell) -> I,
) -> (Vec<Row<'m>>, Vec<T>) {
    let cells = measurement.cells.iter().enumerate();
    cells.flat_map(|row| of(row.1).into_iter().map(move |found| (row, found))).unzip()
}

/// A table of these cells with what tells them apart; `None` if there are none.
pub(super) fn table(title: &str, rows: &[Row<'_>]) -> Option<Table> {
    rows.first()?;
    let mut table = Table::new(title, Vec::new());
    table.cells = rows.iter().map(|(index, _)| *index).collect();
    add_keys(&mut table, &rows.iter().map(|(_, cell)| cell.id).collect::<Vec<_>>());
    Some(table)
}

/// Adds what tells the cells of the rows apart.
pub(in crate::report) fn add_keys(table: &mut Table, ids: &[CellId]) {
    let mut key = |name: &str, of: fn(&CellId) -> &'static str| {
        let values = ids.iter().map(|id| Value::text(of(id))).collect();
        separate(table, Column::key(name, values), |value| format!("{name} {value}"));
    };
    // Defaults go without saying.
    if ids.iter().any(|id| id.under.is_some()) {
        key("under", vmm);
    }
    if ids.iter().any(|id| id.call != Call::Broadcast) {
        key("call", |id| id.call.name());
    }
    key("route", |id| id.route.name());
    key("destination", |id| id.destination.name());
    key("state", |id| id.target_state.name());
    let vcpus = ids.iter().map(|id| Value::Count(id.vcpus as u64)).collect();
    let are_threads = ids.iter().all(|id| routes::of(id.route).is_native());
    let (one, several) = if are_threads { ("thread", "threads") } else { ("vCPU", "vCPUs") };
    separate(table, Column::number("", several, 0, vcpus), |value| counted(value, one));
    if ids.iter().any(|id| id.wait != Wait::Spin) {
        let values = ids.iter().map(|id| Value::text(id.wait.name())).collect();
        separate(table, Column::key("wait", values), |value| format!("wait {value}"));
    }
    if ids.windows(2).any(|pair| pair[0].observe != pair[1].observe) {
        let values = ids.iter().map(|id| Value::text(id.observe.name())).collect();
        table.columns.push(Column::key("observe", values));
    }
    if ids.iter().any(|id| id.idle_before_us.is_some()) {
        let asked = |id: &CellId| id.idle_before_us.map_or(Value::Nothing, |time| Value::Text(format!("{time} µs")));
        table.columns.push(Column::number("in HLT", "asked", 0, ids.iter().map(asked).collect()));
    }
}

/// Whether some cell asks for a time in HLT.
pub(super) fn is_idle_asked(rows: &[Row<'_>]) -> bool {
    rows.iter().any(|(_, cell)| cell.id.idle_before_us.is_some())
}

/// Adds the columns that some of the cells have values for.
pub(super) fn add_metrics(table: &mut Table, rows: &[Row<'_>], metrics: &[Shown]) {
    table.columns.extend(metrics.iter().filter_map(|shown| shown.column(rows)));
}

/// A table of cells with all that tells how far its numbers are to be trusted.
pub(super) fn measured(title: &str, rows: &[Row<'_>], metrics: &[Shown]) -> Option<Table> {
    let mut table = table(title, rows)?;
    // A row that is made of less than was asked for says so, wherever it is read.
    let rank =
        if rows.iter().all(|(_, cell)| cell.rounds >= cell.rounds_asked) { ROUNDS_RANK } else { PARTIAL_ROUNDS_RANK };
    let rounds = rows.iter().map(|(_, cell)| rounds(cell)).collect();
    separate(&mut table, Column::number("", "rounds", rank, rounds), |value| counted(value, "round"));
    add_metrics(&mut table, rows, metrics);
    if rows.iter().any(|(_, cell)| !cell.integrity.is_clean()) {
        let values = rows.iter().map(|(_, cell)| integrity(cell.integrity)).collect();
        table.columns.push(Column::words("integrity", 0, values));
    }
    if rows.iter().any(|(_, cell)| cell.blocks.iter().any(|block| !block.disturbances.is_empty())) {
        let values = rows.iter().map(|(_, cell)| disturbed(cell)).collect();
        let rank = if rows.iter().any(|(_, cell)| cell.never_quiet) {
            NEVER_QUIET_RANK
        } else if rows.iter().any(|(_, cell)| is_much_disturbed(cell)) {
            MUCH_DISTURBED_RANK
        } else {
            DISTURBED_RANK
        };
        table.columns.push(Column::words("disturbed", rank, values));
    }
    let errors: Vec<String> = rows.iter().map(|(_, cell)| units::epsilon(cell.clock.error_ns)).collect();
    if errors.iter().any(|error| *error != errors[0]) {
        let errors = errors.into_iter().map(Value::Text).collect();
        table.columns.push(Column::number("", "ε", CLOCK_RANK, errors));
    }
    table.notes.extend(not_in_state(rows));
    table.notes.extend(negative(rows, metrics));
    Some(table)
}

/// Adds a column, or where its values are all the same, the one value to what the rows have in common.
pub(in crate::report) fn separate(table: &mut Table, column: Column, common: impl Fn(&Value) -> String) {
    match column.values.split_first() {
        Some((first, rest)) if rest.iter().all(|value| value == first) => table.common.push(common(first)),
        _ => table.columns.push(column),
    }
}

/// A value with the noun that it counts.
pub(super) fn counted(value: &Value, noun: &str) -> String {
    let plural = if *value == Value::Count(1) { "" } else { "s" };
    format!("{value} {noun}{plural}")
}

fn rounds(cell: &Cell) -> Value {
    // A cell that was never quiet has those, too, that were measured again.
    if cell.rounds >= cell.rounds_asked {
        Value::Count(cell.rounds)
    } else {
        Value::Text(format!("{} of {}", cell.rounds, cell.rounds_asked))
    }
}

fn count_disturbed(cell: &Cell) -> usize {
    cell.blocks.iter().filter(|block| !block.disturbances.is_empty()).count()
}

/// A quarter of its blocks.
fn is_much_disturbed(cell: &Cell) -> bool {
    count_disturbed(cell) * 4 >= cell.blocks.len().max(1)
}

/// How many blocks were disturbed, and whether they count.
fn disturbed(cell: &Cell) -> Value {
    // Nobody looks for disturbances under another VMM.
    if cell.id.under.is_some() {
        return Value::Missing;
    }
    let disturbed = count_disturbed(cell);
    let counts = if cell.never_quiet { ", NEVER QUIET" } else { "" };
    Value::Text(format!("{disturbed} of {}{counts}", cell.blocks.len()))
}

/// `ok`, or what went wrong.
fn integrity(integrity: Integrity) -> Value {
    let faults = integrity.faults();
    if faults.is_empty() { Value::text("ok") } else { Value::Items(faults) }
}

/// What a cell's calls ran under.
fn vmm(id: &CellId) -> &'static str {
    let own = if routes::of(id.route).is_native() { NO_VMM } else { OWN_VMM };
    id.under.map_or(own, Under::name)
}

/// A cell's name among others: what tells it apart, and its route in any case.
pub(in crate::report) fn name<'a>(cell: &Cell, others: &(impl Iterator<Item = &'a Cell> + Clone)) -> String {
    name_of(&cell.id, &others.clone().map(|other| &other.id))
}

/// As [`name`], of a cell's identity among others.
pub(in crate::report) fn name_of<'a>(id: &CellId, others: &(impl Iterator<Item = &'a CellId> + Clone)) -> String {
    let varies = |differs: &dyn Fn(&CellId) -> bool| others.clone().any(differs);
    let mut parts = Vec::new();
    if varies(&|other| other.under != id.under) {
        parts.push(vmm(id).to_owned());
    }
    if varies(&|other| other.call != id.call) {
        parts.push(id.call.name().to_owned());
    }
    parts.push(id.route.name().to_owned());
    if varies(&|other| other.destination != id.destination) {
        parts.push(id.destination.name().to_owned());
    }
    if varies(&|other| other.target_state != id.target_state) {
        parts.push(id.target_state.name().to_owned());
    }
    if let Some(time) = id.idle_before_us
        && varies(&|other| other.idle_before_us != id.idle_before_us)
    {
        parts.push(format!("{time} µs"));
    }
    if varies(&|other| other.vcpus != id.vcpus) {
        parts.push(count(id.vcpus, routes::of(id.route).participant()));
    }
    if varies(&|other| other.wait != id.wait) {
        parts.push(id.wait.name().to_owned());
    }
    if varies(&|other| other.observe != id.observe) {
        parts.push(id.observe.name().to_owned());
    }
    parts.join(" ")
}

pub(super) fn name_in(rows: &[Row<'_>], cell: &Cell) -> String {
    name(cell, &rows.iter().map(|(_, cell)| *cell))
}

fn not_in_state(rows: &[Row<'_>]) -> Option<String> {
    let counts: Vec<String> = rows
        .iter()
        .filter(|(_, cell)| cell.not_in_state > 0)
        .map(|(_, cell)| format!("{} ({})", cell.not_in_state, name_in(rows, cell)))
        .collect();
    (!counts.is_empty())
        .then(|| format!("Rounds that do not count, a target not being in its state: {}", counts.join(", ")))
}

/// Values below zero are evidence of a clock that is off: they stay in the quantiles, and are counted here.
fn negative(rows: &[Row<'_>], metrics: &[Shown]) -> Option<String> {
    let mut counts = Vec::new();
    for (_, cell) in rows {
        for (&metric, values) in &cell.metrics {
            let printed = metrics.iter().any(|shown| shown.metric == metric) && !metric.is_signed();
            if printed && values.negative > 0 {
                let (metric, cell) = (metric.name(), name_in(rows, cell));
                counts.push(format!("{} of {} {metric} ({cell})", values.negative, values.n));
            }
        }
    }
    (!counts.is_empty()).then(|| format!("Values below zero, which count like any other: {}", counts.join(", ")))
}
