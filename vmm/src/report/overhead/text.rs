//! An overhead on the terminal: the sides, in what their machines differ, and a row for each cell.

use super::{about_figures, added, consequence};
use crate::report::comparison::{Unit, describe};
use crate::report::table::{Column, Table, Value};
use crate::report::tables::{add_keys, name_of};
use crate::report::text::{table, warnings};
use crate::report::wrap::{hang, list, wrap};
use crate::results::comparison::Difference;
use crate::results::count::count;
use crate::results::overhead::{Overhead, OverheadRow};
use guest_stub::abi::cell::CellId;

const TITLE: &str = "Round trip p50 in the base's";

/// The widest label of a line, and the space behind it.
const LABEL_COLUMNS: usize = 9;

/// The report in lines of at most `width` columns; it ends in a newline.
pub(super) fn render(overhead: &Overhead, width: usize) -> String {
    let mut sections = vec![sides(overhead, width)];
    sections.extend(differences(&overhead.differences, width));
    if !overhead.cells.is_empty() {
        sections.push(table::print(&rows(&overhead.cells), width));
    }
    sections.extend(missing(overhead, width));
    sections.extend(warnings(&overhead.warnings, width));
    if !overhead.not_comparable.is_empty() {
        sections.push(wrap(&format!("NOT COMPARABLE: {}", overhead.not_comparable.join("; ")), width, 2));
    }
    sections.join("\n\n") + "\n"
}

fn labelled(label: &str, text: &str, width: usize) -> String {
    hang(&format!("{label:<LABEL_COLUMNS$}"), text, width, LABEL_COLUMNS)
}

fn sides(overhead: &Overhead, width: usize) -> String {
    [("base", &overhead.base), ("new", &overhead.new)]
        .map(|(label, side)| labelled(label, &describe(side, Unit::Run), width))
        .join("\n")
}

fn differences(differences: &[Difference], width: usize) -> Option<String> {
    let line = |difference: &Difference| {
        let label = if difference.allowed { "differs" } else { "DIFFERS" };
        labelled(label, &format!("{difference}{}", consequence(difference)), width)
    };
    (!differences.is_empty()).then(|| differences.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn rows(rows: &[OverheadRow]) -> Table {
    let mut table = Table::new(TITLE, Vec::new());
    add_keys(&mut table, &rows.iter().map(|row| row.id).collect::<Vec<_>>());
    let column = |group, name, rank, of: fn(&OverheadRow) -> Value| {
        Column::number(group, name, rank, rows.iter().map(of).collect())
    };
    table.columns.extend([
        column("round trip", "base", 2, |row| Value::Time(row.base_ns)),
        column("round trip", "new", 2, |row| Value::Time(row.new_ns)),
        column("round trip", "added", 1, |row| Value::Text(added(row))),
        column("times the base", "p50", 0, |row| Value::Times(row.ratio)),
        column("times the base", "95 %", 1, |row| Value::or_missing(row.ci95.map(Value::TimesRange))),
    ]);
    table.notes = about_figures(rows);
    table
}

/// The cells that a side lacks.
fn missing(overhead: &Overhead, width: usize) -> Option<String> {
    let Overhead { cells, only_in_base, only_in_new, .. } = overhead;
    let divided: Vec<CellId> = cells.iter().map(|row| row.id).collect();
    // Which VMM a cell ran under tells it apart from the others of its side alone: the image has run without kipi's, too.
    let told = |side: &str, ids: &[CellId], [of_side, of_other]: [&[CellId]; 2]| {
        let under = ids.first().and_then(|id| id.under);
        let of_other = of_other.iter().map(|id| CellId { under, ..*id });
        let all: Vec<CellId> = of_side.iter().copied().chain(of_other).collect();
        let names: Vec<String> = ids.iter().map(|id| name_of(id, &all.iter())).collect();
        let lead = format!("Only the {side} has {}:", count(ids.len(), "cell"));
        (!ids.is_empty()).then(|| list(&lead, &names, ",", width, 2))
    };
    let lines: Vec<String> = [
        told("base", only_in_base, [only_in_base, &[divided.as_slice(), only_in_new].concat()]),
        told("new side", only_in_new, [&[divided.as_slice(), only_in_new].concat(), only_in_base]),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
