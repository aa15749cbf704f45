//! The sections about cells: calls, both vantages, skew over vCPU index, exits.

use super::super::table::{self, Column, list, wrap};
use super::super::units;
use super::{NO_VALUE, left_out};
use crate::results::integrity::Integrity;
use crate::results::measurement::{Breakdown, Cell, Exits, Metric, ObserverEffect};
use crate::statistics::stages::Stage;
use guest_stub::abi::cell::Observe;

/// Reasons for exits that are printed for each source, the most frequent ones.
const TOP_REASONS: usize = 6;

/// The least room for a cell's exits, however narrow the terminal.
const LEAST_EXITS_WIDTH: usize = 24;

/// Metrics for which a value below zero is as good as one above.
const SIGNED: [&str; 2] = ["skew_gap", "skew_slope"];

/// A column that shows one statistic of one metric.
struct Shown {
    metric: &'static str,
    group: &'static str,
    name: &'static str,
    /// 0: never left out; the larger, the earlier.
    rank: u8,
    /// From the metric and the cell's clock error in ns.
    text: fn(&Metric, f64) -> String,
}

const fn shown(
    metric: &'static str,
    group: &'static str,
    name: &'static str,
    rank: u8,
    text: fn(&Metric, f64) -> String,
) -> Shown {
    Shown { metric, group, name, rank, text }
}

/// The main table's columns. Rounds have rank [`ROUNDS_RANK`].
const CALLS: [Shown; 11] = [
    shown("round_trip", "round trip", "p50", 0, |metric, _| units::time(metric.p50)),
    shown("round_trip", "round trip", "95 %", 6, interval),
    shown("round_trip", "round trip", "p99", 2, |metric, _| units::time(metric.p99)),
    shown("round_trip", "round trip", "max", 5, |metric, _| units::time(metric.max)),
    shown("delivery", "delivery", "p50", 3, |metric, _| units::time(metric.p50)),
    shown("delivery", "delivery", "p99", 8, |metric, _| units::time(metric.p99)),
    shown("arrival_skew", "arrival", "skew p50", 10, |metric, error| units::bounded(metric.p50, error)),
    shown("start_skew", "start skew", "p50", 0, |metric, error| units::bounded(metric.p50, error)),
    shown("start_skew", "start skew", "p99", 1, |metric, error| units::bounded(metric.p99, error)),
    shown("start_skew", "start skew", "max", 4, |metric, error| units::bounded(metric.max, error)),
    shown("overlap", "overlap", "p50", 9, |metric, _| units::ratio(metric.p50)),
];

/// Rounds are rarely different.
const ROUNDS_RANK: u8 = 7;

const VANTAGES: [Shown; 9] = [
    shown("start_skew", "guest's stamps", "p50", 0, |metric, error| units::bounded(metric.p50, error)),
    shown("start_skew", "guest's stamps", "p99", 1, |metric, error| units::bounded(metric.p99, error)),
    shown("start_skew", "guest's stamps", "max", 4, |metric, error| units::bounded(metric.max, error)),
    shown("vmm_start_skew", "VMM's stamps", "p50", 0, |metric, error| units::bounded(metric.p50, error)),
    shown("vmm_start_skew", "VMM's stamps", "p99", 1, |metric, error| units::bounded(metric.p99, error)),
    shown("vmm_start_skew", "VMM's stamps", "max", 3, |metric, error| units::bounded(metric.max, error)),
    shown("skew_gap", "gap", "p50", 0, |metric, _| units::time(metric.p50)),
    shown("skew_gap", "gap", "p99", 2, |metric, _| units::time(metric.p99)),
    shown("observed_exit", "exit", "p50", 0, |metric, _| units::time(metric.p50)),
];

const DELIVERIES: [Shown; 6] = [
    shown("delivery", "guest", "p50", 0, |metric, _| units::time(metric.p50)),
    shown("delivery", "guest", "p99", 2, |metric, _| units::time(metric.p99)),
    shown("kernel_delivery", "host", "p50", 0, |metric, _| units::time(metric.p50)),
    shown("kernel_delivery", "host", "p99", 2, |metric, _| units::time(metric.p99)),
    shown("delivery_gap", "gap", "p50", 0, |metric, _| units::time(metric.p50)),
    shown("delivery_gap", "gap", "p99", 1, |metric, _| units::time(metric.p99)),
];

const SLOPES: [Shown; 3] = [
    shown("skew_slope", "per vCPU", "p50", 0, |metric, _| units::time(metric.p50)),
    shown("skew_slope", "per vCPU", "95 %", 1, interval),
    shown("skew_slope", "per vCPU", "p99", 2, |metric, _| units::time(metric.p99)),
];

fn interval(metric: &Metric, _: f64) -> String {
    metric.ci95.p50.map_or_else(|| NO_VALUE.to_owned(), |[low, high]| units::range(low, high))
}

/// The main table: every cell of the guest's vantage.
pub(super) fn calls(cells: &[Cell], width: Option<usize>) -> Option<String> {
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.id.observe == Observe::Guest).collect();
    section("Broadcast calls, by the guest's time stamps", &cells, &CALLS, width)
}

/// Start skew as the guest and as the VMM see it, of the cells whose exits are observed.
pub(super) fn vantages(cells: &[Cell], width: Option<usize>) -> Option<String> {
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.id.observe == Observe::Exits).collect();
    section("Start skew from both vantages, each worker beginning with an exit", &cells, &VANTAGES, width)
}

/// How arrival depends on the vCPU's index.
pub(super) fn slopes(cells: &[Cell], width: Option<usize>) -> Option<String> {
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.metrics.contains_key("skew_slope")).collect();
    if cells.is_empty() {
        return None;
    }
    let (mut columns, constants) = keys(&cells);
    columns.extend(SLOPES.iter().filter_map(|shown| metric_column(&cells, shown)));
    let lines = lay_out("Arrival over vCPU index (Theil–Sen slope of each round)", &constants, columns, width);
    Some(lines.join("\n"))
}

/// A table of cells with all that tells how far its numbers are to be trusted.
fn section(title: &str, cells: &[&Cell], metrics: &[Shown], width: Option<usize>) -> Option<String> {
    if cells.is_empty() {
        return None;
    }
    let (mut columns, mut constants) = keys(cells);
    separate(
        &mut columns,
        &mut constants,
        cells.iter().map(|cell| rounds(cell)).collect(),
        |text| format!("{text} rounds"),
        |rounds| Column::number("", "rounds", ROUNDS_RANK, rounds),
    );
    columns.extend(metrics.iter().filter_map(|shown| metric_column(cells, shown)));
    if cells.iter().all(|cell| cell.integrity == Integrity::default()) {
        constants.push("integrity ok".to_owned());
    } else {
        columns.push(Column::text("integrity", cells.iter().map(|cell| integrity(cell.integrity)).collect()));
    }
    constants.push(clock_error(cells));
    let mut lines = lay_out(title, &constants, columns, width);
    lines.extend(not_in_state(cells, width));
    lines.extend(negative(cells, metrics, width));
    Some(lines.join("\n"))
}

fn lay_out(title: &str, constants: &[String], columns: Vec<Column>, width: Option<usize>) -> Vec<String> {
    let mut lines = vec![wrap(title, width, 2)];
    if !constants.is_empty() {
        lines.push(list("All rows:", constants, " ·", width, 2));
    }
    let table = table::render(columns, width);
    lines.push(table.text);
    lines.extend(left_out(&table.left_out, width));
    lines
}

/// What tells the rows apart, as columns, and what they have in common, as words.
fn keys(cells: &[&Cell]) -> (Vec<Column>, Vec<String>) {
    let (mut columns, mut constants) = (Vec::new(), Vec::new());
    let texts = |pick: fn(&Cell) -> &'static str| cells.iter().map(|cell| pick(cell).to_owned()).collect::<Vec<_>>();
    for (name, values) in [
        ("route", texts(|cell| cell.id.route.name())),
        ("destination", texts(|cell| cell.id.destination.name())),
        ("state", texts(|cell| cell.id.target_state.name())),
    ] {
        let constant = |text: &str| format!("{name} {text}");
        separate(&mut columns, &mut constants, values, constant, |values| Column::text(name, values));
    }
    separate(
        &mut columns,
        &mut constants,
        cells.iter().map(|cell| cell.id.vcpus.to_string()).collect(),
        |text| format!("{text} vCPUs"),
        |vcpus| Column::number("", "vCPUs", 0, vcpus),
    );
    if cells.iter().any(|cell| cell.id.observe != cells[0].id.observe) {
        columns.push(Column::text("observe", texts(|cell| cell.id.observe.name())));
    }
    (columns, constants)
}

/// Values that are all the same become a constant, others a column.
fn separate(
    columns: &mut Vec<Column>,
    constants: &mut Vec<String>,
    values: Vec<String>,
    constant: impl Fn(&str) -> String,
    column: impl Fn(Vec<String>) -> Column,
) {
    match values.split_first() {
        Some((first, rest)) if rest.iter().all(|value| value == first) => constants.push(constant(first)),
        _ => columns.push(column(values)),
    }
}

fn rounds(cell: &Cell) -> String {
    if cell.rounds == cell.rounds_asked {
        cell.rounds.to_string()
    } else {
        format!("{} of {}", cell.rounds, cell.rounds_asked)
    }
}

/// A metric's column, unless no cell has the metric.
fn metric_column(cells: &[&Cell], shown: &Shown) -> Option<Column> {
    let text = |cell: &&Cell| {
        let metric = cell.metrics.get(shown.metric)?;
        Some((shown.text)(metric, cell.clock.error_ns))
    };
    let texts: Vec<Option<String>> = cells.iter().map(text).collect();
    let any = texts.iter().any(Option::is_some);
    let texts = texts.into_iter().map(|text| text.unwrap_or_else(|| NO_VALUE.to_owned())).collect();
    any.then(|| Column::number(shown.group, shown.name, shown.rank, texts))
}

/// `ok`, or what went wrong: in one line if it is short.
fn integrity(integrity: Integrity) -> String {
    const ONE_LINE: usize = 16;
    let Integrity { lost, duplicate, late, timed_out } = integrity;
    let faults = [(lost, "lost"), (duplicate, "duplicate"), (late, "late"), (timed_out, "timed out")];
    let texts: Vec<String> =
        faults.iter().filter(|(count, _)| *count > 0).map(|(count, fault)| format!("{count} {fault}")).collect();
    let line = texts.join(", ");
    match line.len() {
        0 => "ok".to_owned(),
        1..=ONE_LINE => line,
        _ => texts.join(",\n"),
    }
}

fn clock_error(cells: &[&Cell]) -> String {
    let errors = || cells.iter().map(|cell| cell.clock.error_ns);
    let (least, most) = (errors().fold(f64::INFINITY, f64::min), errors().fold(f64::NEG_INFINITY, f64::max));
    let (one, other) = (units::time(least), units::time(most));
    let error = if one == other { one } else { units::range(least, most) };
    format!("clock error ε = {error}")
}

/// A cell's name among others: what tells it apart, and its route in any case.
fn name(cell: &Cell, cells: &[&Cell]) -> String {
    let varies = |differs: &dyn Fn(&Cell) -> bool| cells.iter().any(|other| differs(other));
    let mut parts = vec![cell.id.route.name().to_owned()];
    if varies(&|other| other.id.destination != cell.id.destination) {
        parts.push(cell.id.destination.name().to_owned());
    }
    if varies(&|other| other.id.target_state != cell.id.target_state) {
        parts.push(cell.id.target_state.name().to_owned());
    }
    if varies(&|other| other.id.vcpus != cell.id.vcpus) {
        parts.push(format!("{} vCPUs", cell.id.vcpus));
    }
    parts.join(" ")
}

fn not_in_state(cells: &[&Cell], width: Option<usize>) -> Option<String> {
    let counts: Vec<String> = cells
        .iter()
        .filter(|cell| cell.not_in_state > 0)
        .map(|cell| format!("{} ({})", cell.not_in_state, name(cell, cells)))
        .collect();
    let lead = "Rounds that do not count, a target not being in its state:";
    (!counts.is_empty()).then(|| list(lead, &counts, ",", width, 2))
}

/// Negative deltas betray a clock that is off: they stay in the quantiles, and are said.
fn negative(cells: &[&Cell], metrics: &[Shown], width: Option<usize>) -> Option<String> {
    let mut counts = Vec::new();
    for cell in cells {
        for (metric, values) in &cell.metrics {
            let printed = metrics.iter().any(|shown| shown.metric == metric) && !SIGNED.contains(&metric.as_str());
            if printed && values.negative > 0 {
                counts.push(format!("{} of {} {metric} ({})", values.negative, values.n, name(cell, cells)));
            }
        }
    }
    let lead = "Values below zero, which count like any other:";
    (!counts.is_empty()).then(|| list(lead, &counts, ",", width, 2))
}

/// Delivery as the guest and as the recorded events have it.
pub(super) fn deliveries(cells: &[Cell], width: Option<usize>) -> Option<String> {
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.metrics.contains_key("kernel_delivery")).collect();
    if cells.is_empty() {
        return None;
    }
    let (mut columns, constants) = keys(&cells);
    columns.extend(DELIVERIES.iter().filter_map(|shown| metric_column(&cells, shown)));
    let title = "Delivery from both vantages: send to interrupt entry in the guest, exit to entry in the host; the gap is \
                 the exit's and the entry's cost";
    Some(lay_out(title, &constants, columns, width).join("\n"))
}

/// Where the calls' time went: a row for each cell, a column for each stage, of the mean round trip.
pub(super) fn stages(cells: &[Cell], width: Option<usize>) -> Option<String> {
    let cells: Vec<&Cell> =
        cells.iter().filter(|cell| cell.id.observe == Observe::Guest && cell.breakdown.is_some()).collect();
    let breakdowns: Vec<&Breakdown> = cells.iter().filter_map(|cell| cell.breakdown.as_ref()).collect();
    if breakdowns.is_empty() {
        return None;
    }
    let (mut columns, constants) = keys(&cells);
    let texts = |text: &dyn Fn(&Breakdown) -> Option<String>| -> Vec<String> {
        breakdowns.iter().map(|breakdown| text(breakdown).unwrap_or_else(|| NO_VALUE.to_owned())).collect()
    };
    let mut total = |name: &str, rank, values: &dyn Fn(&Breakdown) -> Option<String>| {
        columns.push(Column::number("", name, rank, texts(values)));
    };
    let of = |breakdown: &Breakdown, name: &str| {
        let stage = breakdown.stages.iter().find(|stage| stage.stage == name)?;
        Some(units::time(stage.mean_ns))
    };
    for stage in Stage::ALL.map(Stage::name) {
        if breakdowns.iter().any(|breakdown| of(breakdown, stage).is_some()) {
            total(stage, 0, &|breakdown| of(breakdown, stage));
        }
    }
    if breakdowns.iter().any(|breakdown| breakdown.remainder_ns != 0.0) {
        total("remainder", 0, &|breakdown| Some(units::time(breakdown.remainder_ns)));
    }
    total("= round trip", 0, &|breakdown| Some(units::time(breakdown.round_trip_ns)));
    if breakdowns.iter().any(|breakdown| breakdown.accelerated.is_some()) {
        total("no exit", 1, &|breakdown| {
            breakdown.accelerated.map(|accelerated| format!("{} of {}", accelerated.sends, accelerated.of))
        });
    }
    let title = "Where the time goes: means, over the target that arrives last (each stage named by what it ends with)";
    Some(lay_out(title, &constants, columns, width).join("\n"))
}

/// What recording costs, by cell and source.
pub(super) fn observer_effect(cells: &[Cell], width: Option<usize>) -> Option<String> {
    let rows: Vec<(&Cell, &ObserverEffect)> =
        cells.iter().flat_map(|cell| cell.observer_effect.iter().map(move |effect| (cell, effect))).collect();
    if rows.is_empty() {
        return None;
    }
    let (mut columns, constants) = keys(&rows.iter().map(|(cell, _)| *cell).collect::<Vec<_>>());
    let texts = |text: &dyn Fn(&ObserverEffect) -> Option<String>| -> Vec<String> {
        rows.iter().map(|(_, effect)| text(effect).unwrap_or_else(|| NO_VALUE.to_owned())).collect()
    };
    let time = |ns: Option<f64>| ns.map(units::time);
    columns.extend([
        Column::text("source", texts(&|effect| Some(effect.source.clone()))),
        Column::number("round trip p50", "off", 0, texts(&|effect| time(effect.off_ns))),
        Column::number("round trip p50", "on", 0, texts(&|effect| time(effect.on_ns))),
        Column::number("ratio", "on / off", 0, texts(&|effect| effect.ratio.map(units::ratio))),
        Column::number(
            "ratio",
            "95 %",
            1,
            texts(&|effect| effect.ci95.map(|[low, high]| format!("{}–{}", units::ratio(low), units::ratio(high)))),
        ),
        Column::number("events", "lost", 2, texts(&|effect| Some(effect.lost.to_string()))),
    ]);
    let title = "What recording costs: the same rounds with each source and with none, block by block in turn";
    Some(lay_out(title, &constants, columns, width).join("\n"))
}

/// Exits a call: one row for each cell and source, the most frequent reasons first.
pub(super) fn exits(cells: &[Cell], width: Option<usize>) -> Option<String> {
    let mut rows: Vec<(&Cell, &str)> = Vec::new();
    for cell in cells {
        for exits in &cell.exits {
            if !rows.contains(&(cell, exits.source.as_str())) {
                rows.push((cell, &exits.source));
            }
        }
    }
    if rows.is_empty() {
        return None;
    }
    let of_rows: Vec<&Cell> = rows.iter().map(|(cell, _)| *cell).collect();
    let (mut columns, constants) = keys(&of_rows);
    columns.push(Column::text("source", rows.iter().map(|(_, source)| (*source).to_owned()).collect()));
    columns.push(Column::text("", Vec::new()));
    let taken = table::total_width(&columns);
    let room = width.map(|width| width.saturating_sub(taken).max(LEAST_EXITS_WIDTH));
    columns.pop();
    let reasons = rows.iter().map(|(cell, source)| reasons(cell, source, room)).collect();
    columns.push(Column::text("reason initiator / each target", reasons));
    let title = "Exits a call (stats: KVM_GET_STATS_FD, vmm: KVM_RUN returns, both with the time between rounds; \
                 kernel: tracepoints)";
    Some(lay_out(title, &constants, columns, width).join("\n"))
}

fn reasons(cell: &Cell, source: &str, room: Option<usize>) -> String {
    let of_all = |exits: &Exits| exits.initiator + exits.per_target * cell.id.vcpus.saturating_sub(1).max(1) as f64;
    let mut counted: Vec<&Exits> = cell
        .exits
        .iter()
        .filter(|exits| exits.source == source && (exits.initiator != 0.0 || exits.per_target != 0.0))
        .collect();
    counted.sort_by(|one, other| of_all(other).total_cmp(&of_all(one)));
    let mut texts: Vec<String> = counted
        .iter()
        .take(TOP_REASONS)
        .map(|exits| {
            let Exits { reason, initiator, per_target, .. } = exits;
            format!("{reason} {} / {}", units::per_call(*initiator), units::per_call(*per_target))
        })
        .collect();
    if counted.is_empty() {
        texts.push("none".to_owned());
    } else if counted.len() > TOP_REASONS {
        texts.push(format!("and {} more", counted.len() - TOP_REASONS));
    }
    list("", &texts, ",", room, 0)
}
