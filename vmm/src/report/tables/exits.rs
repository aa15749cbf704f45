//! Exits a call, by who counted them and by reason.

use super::cells::{Row, rows_of, table as of_rows};
use crate::config;
use crate::report::table::{Column, Table, Value};
use crate::report::units;
use crate::results::exits::Exits;
use crate::results::measurement::Measurement;
use crate::results::source::Source;
use std::collections::BTreeSet;

const TITLE: &str =
    "Exits a call (stats: KVM_GET_STATS_FD, vmm: KVM_RUN returns, both of whole blocks; kernel: tracepoints)";

/// Why some VMMs have no row.
const NOBODY_COUNTS: &str =
    "Not there: other VMMs' exits, which nobody counts; KVM's counts are of kipi's own machines";

/// Where there are several VMMs: a count explains what a median alone does not.
const EXITS_RANK: u8 = 4;

/// All exits a call, of all vCPUs, as KVM counts them of kipi's own machines, for the main table of several VMMs.
pub(super) fn column(rows: &[Row<'_>]) -> Option<Column> {
    let all = |(_, cell): &Row<'_>| {
        let exits = cell.exits.iter().find(|exits| exits.source == Source::Stats && exits.reason == "exits")?;
        Some(Value::PerCall(exits.initiator + exits.per_target * config::targets(&cell.id) as f64))
    };
    Column::number_if_any("", "exits/call", EXITS_RANK, rows.iter().map(all))
}

/// A row for each cell and source, the most frequent reasons first.
pub(super) fn of_cells(measurement: &Measurement) -> Option<Table> {
    // Documents have them by source.
    let (rows, by_source) = rows_of(measurement, |cell| cell.exits.chunk_by(|one, next| one.source == next.source));
    let mut table = of_rows(TITLE, &rows)?;
    let reasons = rows.iter().zip(&by_source).map(|((_, cell), exits)| {
        let targets = cell.id.vcpus.saturating_sub(1).max(1) as f64;
        reasons(exits, targets)
    });
    let sources = by_source.iter().map(|exits| Value::text(exits[0].source.name()));
    let columns = [
        Column::key("source", sources.collect()),
        Column::words("reason initiator / each target", 0, reasons.collect()),
    ];
    table.columns.extend(columns);
    table.notes.extend(measurement.has_other_vmms().then(|| NOBODY_COUNTS.to_owned()));
    Some(table)
}

fn reasons(exits: &[Exits], targets: f64) -> Value {
    let of_all = |exits: &Exits| exits.initiator + exits.per_target * targets;
    let mut counted: Vec<&Exits> =
        exits.iter().filter(|exits| exits.initiator != 0.0 || exits.per_target != 0.0).collect();
    counted.sort_by(|one, other| of_all(other).total_cmp(&of_all(one)));
    if counted.is_empty() {
        return Value::text("none");
    }
    let text = |exits: &&Exits| {
        format!("{} {} / {}", exits.reason, units::per_call(exits.initiator), units::per_call(exits.per_target))
    };
    Value::Items(counted.iter().map(text).collect())
}

/// A row for each source and reason.
pub(in crate::report) fn of_trace(exits: &[Exits]) -> Option<Table> {
    let sources: BTreeSet<Source> = exits.iter().map(|exits| exits.source).collect();
    let rows: Vec<&Exits> =
        sources.iter().flat_map(|source| exits.iter().filter(move |exits| exits.source == *source)).collect();
    let values = |value: &dyn Fn(&Exits) -> Value| rows.iter().map(|exits| value(exits)).collect::<Vec<_>>();
    let columns = vec![
        Column::key("source", values(&|exits| Value::text(exits.source.name()))),
        Column::words("reason", 0, values(&|exits| Value::text(&exits.reason))),
        Column::number("", "initiator", 0, values(&|exits| Value::PerCall(exits.initiator))),
        Column::number("", "each target", 0, values(&|exits| Value::PerCall(exits.per_target))),
    ];
    let title = "Exits a call (kernel: from the send to the last return; stats, vmm: of whole blocks)";
    (!rows.is_empty()).then(|| Table::new(title, columns))
}
