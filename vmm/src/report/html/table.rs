//! A table as markup: groups of columns as a second line of headings, numbers with what they are in the document.

use super::anchor;
use crate::report::table::{Column, Kind, Table, Value};
use maud::{Markup, html};

/// The table in an area that scrolls, with its notes.
pub(super) fn print(table: &Table) -> Markup {
    let grouped = table.columns.iter().any(|column| !column.group.is_empty());
    html! {
        div.scroll tabindex="0" role="region" aria-label=(table.title) {
            table {
                caption {
                    (table.title)
                    @if !table.common.is_empty() { " · all rows: " (table.common.join(", ")) }
                }
                thead {
                    @if grouped { tr { @for group in groups(&table.columns) { (label(group)) } } }
                    tr { @for column in &table.columns { (heading(column)) } }
                }
                tbody {
                    @for row in 0..table.rows() {
                        tr data-cell=[table.cells.get(row)] {
                            @for (index, column) in table.columns.iter().enumerate() {
                                (cell(column, row, table.cells.get(row).filter(|_| index == 0)))
                            }
                        }
                    }
                }
            }
        }
        @for note in &table.notes { p.soft { (note) } }
    }
}

/// Neighbouring columns that share a label; a column without one is alone.
fn groups(columns: &[Column]) -> impl Iterator<Item = &[Column]> {
    columns.chunk_by(|one, next| !one.group.is_empty() && one.group == next.group)
}

fn label(group: &[Column]) -> Markup {
    match group[0].group {
        "" => html! { td {} },
        label => html! { th.group scope="colgroup" colspan=(group.len()) { (label) } },
    }
}

fn heading(column: &Column) -> Markup {
    match column.kind {
        Kind::Number => html! { th.n scope="col" { (column.name) } },
        Kind::Key | Kind::Words => html! { th scope="col" { (column.name) } },
    }
}

/// A value; `link` is the cell whose pictures it leads to.
fn cell(column: &Column, row: usize, link: Option<&usize>) -> Markup {
    let value = &column.values[row];
    let text = html! {
        @match link {
            Some(&cell) => a href={ "#" (anchor(cell)) } { (value) },
            None => (value),
        }
    };
    match (column.kind, column.statistic, value.number()) {
        (Kind::Key, ..) => html! { th scope="row" { (text) } },
        (Kind::Words, ..) => html! { td.words[matches!(value, Value::Items(_))] { (text) } },
        (Kind::Number, Some((metric, statistic)), Some(number)) => html! {
            td.n data-metric=(metric.name()) data-stat=(statistic.field()) data-value=(number) { (text) }
        },
        (Kind::Number, ..) => html! { td.n { (text) } },
    }
}
