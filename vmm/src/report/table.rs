//! Tables without borders that fit: columns in groups under a ruled label, the least important left out first.

use comfy_table::{CellAlignment, Table, presets};

/// Spaces between two columns.
const GAP: usize = 2;

/// A column of text or numbers.
pub(super) struct Column {
    /// What stands above several columns, ruled; or above the one column that has it.
    group: &'static str,
    name: String,
    alignment: CellAlignment,
    /// 0: never left out; the larger, the earlier.
    rank: u8,
    cells: Vec<String>,
}

impl Column {
    /// A column that tells what a row is about: left-aligned, never left out.
    pub(super) fn text(name: &str, cells: Vec<String>) -> Self {
        Self { group: "", name: name.to_owned(), alignment: CellAlignment::Left, rank: 0, cells }
    }

    /// A column of numbers under a group's label. Of all columns, those with the highest rank are left out first,
    /// those with rank 0 never.
    pub(super) fn number(group: &'static str, name: &str, rank: u8, cells: Vec<String>) -> Self {
        Self { group, name: name.to_owned(), alignment: CellAlignment::Right, rank, cells }
    }

    /// A column of text that may be left out, as [`Column::number`] says.
    pub(super) fn lane(name: &str, rank: u8, cells: Vec<String>) -> Self {
        Self { rank, ..Self::text(name, cells) }
    }

    /// Group and name, as they are spoken of.
    fn title(&self) -> String {
        format!("{} {}", self.group, self.name.trim_start()).trim_start().to_owned()
    }

    fn width(&self) -> usize {
        let lines = self.cells.iter().flat_map(|cell| cell.lines()).chain([self.name.as_str()]);
        lines.map(width_of).max().unwrap_or(0)
    }
}

/// Widths are counted in characters: nothing that is printed is wider or narrower than one place.
pub(super) fn width_of(text: &str) -> usize {
    text.chars().count()
}

/// A table's text, and the columns that there was no room for.
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) left_out: Vec<String>,
}

/// Lays the columns out within `width` characters, or without bound. If even the columns of rank 0 are too wide,
/// they stay and the table is as wide as they are.
pub(super) fn render(mut columns: Vec<Column>, width: Option<usize>) -> Rendered {
    let mut left_out = Vec::new();
    loop {
        make_room_for_labels(&mut columns);
        if width.is_none_or(|width| total_width(&columns) <= width) {
            break;
        }
        let Some(last) = (0..columns.len()).filter(|&index| columns[index].rank > 0).max_by_key(|&i| columns[i].rank)
        else {
            break;
        };
        left_out.push(columns.remove(last).title());
    }
    Rendered { text: draw(&columns), left_out }
}

/// The width of a table of these columns.
pub(super) fn total_width(columns: &[Column]) -> usize {
    let gaps = GAP * columns.len().saturating_sub(1);
    columns.iter().map(Column::width).sum::<usize>() + gaps
}

/// A label that is longer than its columns together widens the first of them.
fn make_room_for_labels(columns: &mut [Column]) {
    let mut start = 0;
    while start < columns.len() {
        let end = end_of_group(columns, start);
        let (label, span) = (width_of(columns[start].group), total_width(&columns[start..end]));
        if span < label {
            let width = columns[start].width() + label - span;
            let name = columns[start].name.trim_start();
            columns[start].name = format!("{name:>width$}");
        }
        start = end;
    }
}

fn end_of_group(columns: &[Column], start: usize) -> usize {
    let group = columns[start].group;
    if group.is_empty() {
        return start + 1;
    }
    start + columns[start..].iter().take_while(|column| column.group == group).count()
}

fn draw(columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|column| &column.name));
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
    for row in 0..rows {
        table.add_row(columns.iter().map(|column| column.cells.get(row).map_or("", String::as_str)));
    }
    let last = columns.len().saturating_sub(1);
    for (index, (column, drawn)) in columns.iter().zip(table.column_iter_mut()).enumerate() {
        let gap = if index == last { 0 } else { u16::try_from(GAP).unwrap_or(u16::MAX) };
        drawn.set_padding((0, gap)).set_cell_alignment(column.alignment);
    }
    let labels = labels(columns);
    if labels.is_empty() { table.trim_fmt() } else { format!("{labels}\n{}", table.trim_fmt()) }
}

/// The line above the header: each group's label over its columns, with a rule to both sides if there are several.
fn labels(columns: &[Column]) -> String {
    let mut line = String::new();
    let mut start = 0;
    while start < columns.len() {
        let end = end_of_group(columns, start);
        let (label, span) = (columns[start].group, total_width(&columns[start..end]));
        let label = match (label, end - start) {
            ("", _) => " ".repeat(span),
            (label, 1) => format!("{label:>span$}"),
            (label, _) if width_of(label) + 2 > span => format!("{label:^span$}"),
            (label, _) => format!("{:─^span$}", format!(" {label} ")),
        };
        line.push_str(&label);
        line.push_str(&" ".repeat(GAP));
        start = end;
    }
    line.trim_end().to_owned()
}

/// Breaks text at white space into lines of at most `width` characters; its own leading spaces stay, further lines
/// begin with `indent` spaces.
pub(super) fn wrap(text: &str, width: Option<usize>, indent: usize) -> String {
    let words = text.trim_start_matches(' ');
    let lead = &text[..text.len() - words.len()];
    fill(lead, words.split_whitespace(), width, indent)
}

/// A list of items after its lead, each item in one piece with the mark that follows all but the last.
pub(super) fn list(lead: &str, items: &[String], mark: &str, width: Option<usize>, indent: usize) -> String {
    let last = items.len().saturating_sub(1);
    let pieces: Vec<String> = items
        .iter()
        .enumerate()
        .map(|(index, item)| if index == last { item.clone() } else { format!("{item}{mark}") })
        .collect();
    fill(lead, pieces.iter().map(String::as_str), width, indent)
}

/// Joins pieces by spaces into lines of at most `width` characters; a longer piece stays whole, since a path or an
/// option that is cut cannot be copied.
fn fill<'a>(lead: &str, pieces: impl Iterator<Item = &'a str>, width: Option<usize>, indent: usize) -> String {
    let (mut text, mut line) = (String::new(), lead.to_owned());
    let mut empty = lead.trim_start().is_empty();
    for piece in pieces {
        if !empty && width.is_some_and(|width| width_of(&line) + 1 + width_of(piece) > width) {
            text.push_str(&line);
            text.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(piece);
        empty = false;
    }
    text + &line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::text("route", cells(&["xapic", "msi"])),
            Column::number("round trip", "p50", 0, cells(&["12.3 µs", "1.00 µs"])),
            Column::number("round trip", "p99", 1, cells(&["20.0 µs", "5.00 µs"])),
            Column::number("overlap", "p50", 2, cells(&["1", "2"])),
        ]
    }

    #[test]
    fn groups_are_ruled_and_numbers_right_aligned() {
        let table = render(columns(), None);
        assert_eq!(
            table.text,
            "       ── round trip ──  overlap\n\
             route      p50      p99      p50\n\
             xapic  12.3 µs  20.0 µs        1\n\
             msi    1.00 µs  5.00 µs        2"
        );
        assert_eq!(table.left_out, cells(&[]));
    }

    #[test]
    fn the_least_important_columns_go_first() {
        assert_eq!(total_width(&columns()), 28, "before labels make room");
        assert_eq!(render(columns(), Some(32)).left_out, cells(&[]));
        let table = render(columns(), Some(31));
        assert_eq!(table.left_out, ["overlap p50"]);
        assert_eq!(table.text.lines().map(width_of).max(), Some(23));
        assert_eq!(render(columns(), Some(1)).left_out, ["overlap p50", "round trip p99"]);
    }

    #[test]
    fn a_group_of_one_makes_room_for_its_label() {
        let mut columns = columns();
        columns.truncate(2);
        assert_eq!(render(columns, None).text.lines().next(), Some("       round trip"));
    }

    #[test]
    fn wrap_keeps_the_width_the_words_and_the_indent() {
        assert_eq!(wrap("- one two three", Some(9), 2), "- one two\n  three");
        assert_eq!(wrap("  - one two", Some(9), 4), "  - one\n    two");
        assert_eq!(wrap("one /a/long/path two", Some(6), 0), "one\n/a/long/path\ntwo");
        assert_eq!(wrap("one two", None, 0), "one two");
    }

    #[test]
    fn list_breaks_between_items_only() {
        let items = cells(&["a b", "c d", "e"]);
        assert_eq!(list("x:", &items, ",", None, 2), "x: a b, c d, e");
        assert_eq!(list("x:", &items, ",", Some(8), 2), "x: a b,\n  c d, e");
        assert_eq!(list("long lead:", &items, ",", Some(13), 2), "long lead:\n  a b, c d, e");
    }
}
