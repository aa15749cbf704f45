//! The table of changes: a row for each, and one for each cell that has none.

use crate::report::table::{Column, Table, Value};
use crate::report::tables::{add_keys, name_of};
use crate::report::units;
use crate::results::history::{ChangeAt, Course, History, Series};
use guest_stub::abi::cell::CellId;
use std::iter;

/// A cell, and one of its changes, if it has any.
type Row<'a> = (&'a Course, Option<&'a ChangeAt>);

/// `None`: no run has a cell.
pub(in crate::report) fn changes(history: &History) -> Option<Table> {
    let rows: Vec<Row<'_>> = history.courses.iter().flat_map(rows).collect();
    rows.first()?;
    let mut table = Table::new("Round trip p50: where it changed", Vec::new());
    add_keys(&mut table, &rows.iter().map(|(course, _)| course.id).collect::<Vec<CellId>>());
    let number = |group, name, rank, of: &dyn Fn(&Row<'_>) -> Value| {
        Column::number(group, name, rank, rows.iter().map(of).collect())
    };
    let of_change = |of: &dyn Fn(&ChangeAt) -> Value| {
        let of = |(_, change): &Row<'_>| change.map_or(Value::Missing, of);
        rows.iter().map(of).collect::<Vec<_>>()
    };
    let level = |change: &ChangeAt, value: f64| match change.series {
        Series::Raw => Value::Time(value),
        Series::Divided => Value::Times(value),
    };
    table.columns.push(number("", "runs", 4, &|(course, _)| Value::Count(course.points.len() as u64)));
    table.columns.push(Column::key("of", rows.iter().map(of).collect()));
    table.columns.push(Column::number("median of runs", "before", 2, of_change(&|it| level(it, it.before))));
    table.columns.push(Column::number("median of runs", "after", 1, of_change(&|it| level(it, it.after))));
    let change = |(_, change): &Row<'_>| {
        Value::Text(change.map_or_else(|| "none".to_owned(), |change| units::change(change.change)))
    };
    table.columns.push(number("", "change", 0, &change));
    let between = |change: &ChangeAt| Value::Text(format!("{}, {}", change.last_before, change.first_after));
    table.columns.push(Column::number("", "between runs", 0, of_change(&between)));
    if rows.iter().any(|(_, change)| change.is_some()) {
        table.columns.push(Column::number("", "p", 3, of_change(&|it| Value::Text(format!("{:.3}", it.p)))));
        table.columns.push(Column::words("on the host", 0, of_change(&|change| on_the_host(history, change))));
        if rows.iter().any(|(course, change)| is_the_hosts(course, *change)) {
            table.notes.push(
                "What changed in the time, and not in what it is of the reference's, changed for all cells: it is the host's"
                    .to_owned(),
            );
        }
    }
    Some(table)
}

fn rows(course: &Course) -> Vec<Row<'_>> {
    if course.changes.is_empty() {
        return vec![(course, None)];
    }
    course.changes.iter().map(|change| (course, Some(change))).collect()
}

/// What changed: the time, or what it is of the reference's.
fn of((course, change): &Row<'_>) -> Value {
    let Some(change) = change else { return Value::Missing };
    match (change.series, course.reference) {
        (Series::Raw, _) | (_, None) => Value::text("time"),
        (Series::Divided, Some(reference)) => Value::Text(divided_by(&course.id, &reference)),
    }
}

/// `÷ xapic`.
pub(in crate::report) fn divided_by(cell: &CellId, reference: &CellId) -> String {
    format!("÷ {}", name_of(reference, &iter::once(cell)))
}

/// Whether a cell with a reference changed there in its time alone.
fn is_the_hosts(course: &Course, change: Option<&ChangeAt>) -> bool {
    let near = |one: &ChangeAt, other: &ChangeAt| one.first_after.abs_diff(other.first_after) <= 1;
    let has_divided =
        |change: &ChangeAt| course.changes.iter().any(|other| other.series == Series::Divided && near(change, other));
    course.reference.is_some() && change.is_some_and(|change| change.series == Series::Raw && !has_divided(change))
}

/// What changed there on the host; a change point is found at most about a run off.
fn on_the_host(history: &History, change: &ChangeAt) -> Value {
    let ChangeAt { last_before, first_after, .. } = *change;
    let told = |run: usize| {
        if run > last_before && run <= first_after {
            Some("")
        } else if run == last_before {
            Some(" (a run earlier)")
        } else if run == first_after + 1 {
            Some(" (a run later)")
        } else {
            None
        }
    };
    let found = history.host_changes.iter().filter_map(|it| Some(format!("{it}{}", told(it.run)?)));
    let found: Vec<String> = found.collect();
    if found.is_empty() { Value::text("nothing that the documents tell") } else { Value::Items(found) }
}
