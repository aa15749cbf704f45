//! A table on the terminal: columns in groups under a ruled label, without borders, and never too wide.
//!
//! Where there is little room, the least important columns are left out first, those that refine a number before those
//! that are one; then words share the room that is left; and where even that is too wide, each row becomes a list.

use crate::report::table::{Column, Kind, Table, Value};
use crate::report::wrap::{list, printable, width_of, wrap};
use comfy_table::{CellAlignment, presets};

/// Spaces between two columns.
const GAP: usize = 2;

/// The least width of a column of words, if they are not shorter.
const LEAST_WORDS: usize = 20;

/// Items that are printed of a value, its first ones.
const MOST_ITEMS: usize = 6;

/// The table with its title, what all rows have in common, and its notes, in lines of at most `width` columns.
pub(in crate::report) fn print(table: &Table, width: usize) -> String {
    let mut parts = vec![wrap(&table.title, width, 2)];
    if !table.common.is_empty() {
        parts.push(list("All rows:", &table.common, " ·", width, 2));
    }
    let mut columns: Vec<Drawn<'_>> = table.columns.iter().map(Drawn::of).collect();
    match leave_out(&mut columns, width) {
        Some(left_out) => {
            share_room(&mut columns, width);
            if !left_out.is_empty() {
                drop_rows_without_words(&mut columns, table);
            }
            parts.push(draw(&columns));
            if !left_out.is_empty() {
                parts.push(list("Not shown (--json):", &left_out, ",", width, 2));
            }
        }
        None => parts.extend((0..table.rows()).map(|row| record(table, row, width))),
    }
    parts.extend(table.notes.iter().map(|note| wrap(note, width, 2)));
    parts.join("\n")
}

/// A column that is being laid out.
struct Drawn<'a> {
    column: &'a Column,
    /// The header, widened where the group's label needs it.
    name: String,
    cells: Vec<String>,
    /// The least width, and then the width that it gets.
    width: usize,
}

impl<'a> Drawn<'a> {
    fn of(column: &'a Column) -> Self {
        let cells: Vec<String> = column.values.iter().map(|value| printable(&shown(value).to_string())).collect();
        let widest = cells.iter().map(|cell| width_of(cell)).max().unwrap_or(0);
        let width = match column.kind {
            Kind::Key | Kind::Number => widest,
            Kind::Words => widest.min(LEAST_WORDS),
        };
        Self { column, name: column.name.clone(), width: width.max(width_of(&column.name)), cells }
    }

    fn wanted(&self) -> usize {
        self.cells.iter().map(|cell| width_of(cell)).fold(self.width, usize::max)
    }
}

/// The value as far as it is printed.
fn shown(value: &Value) -> Value {
    match value {
        Value::Items(items) if items.len() > MOST_ITEMS => {
            let mut first = items[..MOST_ITEMS].to_vec();
            first.push(format!("and {} more", items.len() - MOST_ITEMS));
            Value::Items(first)
        }
        other => other.clone(),
    }
}

/// Leaves columns out until the others have room, and names them; `None` if even those that must stay have none.
fn leave_out(columns: &mut Vec<Drawn<'_>>, width: usize) -> Option<Vec<String>> {
    let mut left_out = Vec::new();
    loop {
        make_room_for_labels(columns);
        if total_width(columns) <= width {
            return Some(left_out);
        }
        let last = (0..columns.len()).max_by_key(|&index| columns[index].column.rank)?;
        if columns[last].column.rank == 0 {
            return None;
        }
        left_out.push(columns.remove(last).column.title());
    }
}

/// Widens the columns of words into the room that is left, those that want least first, and breaks their cells.
fn share_room(columns: &mut [Drawn<'_>], width: usize) {
    let mut room = width - total_width(columns);
    let mut words: Vec<&mut Drawn<'_>> = columns.iter_mut().filter(|it| it.column.kind == Kind::Words).collect();
    words.sort_by_key(|it| it.wanted() - it.width);
    let count = words.len();
    for (index, drawn) in words.into_iter().enumerate() {
        let more = (drawn.wanted() - drawn.width).min(room / (count - index));
        drawn.width += more;
        room -= more;
        for (cell, value) in drawn.cells.iter_mut().zip(&drawn.column.values) {
            *cell = match shown(value) {
                Value::Items(items) => list("", &items, ",", drawn.width, 0),
                value => wrap(&value.to_string(), drawn.width, 0),
            };
        }
    }
}

/// Drops the rows whose words were all in columns that are left out: nobody can tell what their numbers are about.
fn drop_rows_without_words(columns: &mut [Drawn<'_>], table: &Table) {
    let has_words = |column: &Column, row: usize| column.kind != Kind::Number && column.values[row] != Value::Nothing;
    let keep: Vec<bool> = (0..table.rows())
        .map(|row| {
            columns.iter().any(|it| has_words(it.column, row)) || !table.columns.iter().any(|it| has_words(it, row))
        })
        .collect();
    for drawn in columns {
        let mut kept = keep.iter();
        drawn.cells.retain(|_| kept.next() == Some(&true));
    }
}

fn total_width(columns: &[Drawn<'_>]) -> usize {
    columns.iter().map(|it| it.width).sum::<usize>() + GAP * columns.len().saturating_sub(1)
}

/// The columns of each group, neighbours that share a label; a column without a label is alone.
fn groups<'a, 'b>(columns: &'a [Drawn<'b>]) -> impl Iterator<Item = &'a [Drawn<'b>]> {
    columns.chunk_by(|one, next| !one.column.group.is_empty() && one.column.group == next.column.group)
}

/// A label that is wider than its columns together widens the first of them.
fn make_room_for_labels(columns: &mut [Drawn<'_>]) {
    let mut start = 0;
    let spans: Vec<(usize, usize)> = groups(columns).map(|group| (group.len(), total_width(group))).collect();
    for (count, span) in spans {
        let first = &mut columns[start];
        let missing = width_of(first.column.group).saturating_sub(span);
        if missing > 0 {
            first.width += missing;
            first.name = format!("{:>1$}", first.column.name, first.width);
        }
        start += count;
    }
}

fn draw(columns: &[Drawn<'_>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|it| &it.name));
    for row in 0..columns.first().map_or(0, |it| it.cells.len()) {
        table.add_row(columns.iter().map(|it| &it.cells[row]));
    }
    let last = columns.len().saturating_sub(1);
    for (index, (drawn, printed)) in columns.iter().zip(table.column_iter_mut()).enumerate() {
        let gap = if index == last { 0 } else { GAP };
        let alignment = match drawn.column.kind {
            Kind::Key | Kind::Words => CellAlignment::Left,
            Kind::Number => CellAlignment::Right,
        };
        printed.set_padding((0, u16::try_from(gap).unwrap_or(u16::MAX))).set_cell_alignment(alignment);
    }
    let body = table.trim_fmt();
    let labels = labels(columns);
    if labels.is_empty() { body } else { format!("{labels}\n{body}") }
}

/// The line above the header: each group's label over its columns, with a rule to both sides if there are several.
fn labels(columns: &[Drawn<'_>]) -> String {
    let label = |group: &[Drawn<'_>]| {
        let (label, span) = (group[0].column.group, total_width(group));
        match (label, group.len()) {
            ("", _) => " ".repeat(span),
            (label, 1) => format!("{label:>span$}"),
            (label, _) if width_of(label) + 2 > span => format!("{label:^span$}"),
            (label, _) => format!("{:─^span$}", format!(" {label} ")),
        }
    };
    groups(columns).map(label).collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// A row as a list: what it is about, then each other value behind its column's title.
fn record(table: &Table, row: usize, width: usize) -> String {
    let (keys, others): (Vec<&Column>, Vec<&Column>) =
        table.columns.iter().partition(|column| column.kind == Kind::Key);
    let keys: Vec<String> = keys.iter().map(|column| column.values[row].to_string()).collect();
    let named = |column: &&Column| match &column.values[row] {
        Value::Nothing => None,
        value => Some(format!("{} {}", column.title(), shown(value))),
    };
    let values: Vec<String> = others.iter().filter_map(named).collect();
    let lead = if keys.is_empty() { String::new() } else { printable(&keys.join(" ")) + ":" };
    list(&lead, &values, ",", width, 2)
}

#[cfg(test)]
mod tests;
