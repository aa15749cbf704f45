//! An overhead as GitHub's and GitLab's Markdown.

use super::{about_figures, added, consequence};
use crate::report::comparison::{Unit, describe, literal};
use crate::report::units;
use crate::results::overhead::{Overhead, OverheadRow};
use guest_stub::abi::cell::CellId;

/// The page.
pub(super) fn render(overhead: &Overhead) -> String {
    let Overhead { base, new, differences, not_comparable, cells, only_in_base, only_in_new, warnings, .. } = overhead;
    let mut lines = vec!["**kipi: round trip p50 in the base's**".to_owned(), String::new()];
    lines.extend(not_comparable.iter().map(|why| format!("- 🚫 not comparable: {}", literal(why))));
    lines.push(format!("- base: {}", literal(&describe(base, Unit::Run))));
    lines.push(format!("- new: {}", literal(&describe(new, Unit::Run))));
    lines.extend(differences.iter().map(|it| format!("- differs: {}", literal(&format!("{it}{}", consequence(it))))));
    lines.extend(about_figures(cells).into_iter().map(|text| format!("- {text}")));
    lines.extend(missing("base", only_in_base).into_iter().chain(missing("new side", only_in_new)));
    lines.extend(warnings.iter().map(|warning| format!("- warning: {}", literal(warning))));
    if !cells.is_empty() {
        lines.push(String::new());
        lines.push("| cell | base | new | added | × base | 95 % |".to_owned());
        lines.push("| --- | --: | --: | --: | --: | --: |".to_owned());
        lines.extend(cells.iter().map(row));
    }
    lines.join("\n") + "\n"
}

fn row(row: &OverheadRow) -> String {
    let interval = row.ci95.map_or_else(|| "–".to_owned(), units::times_range);
    let [base, new] = [row.base_ns, row.new_ns].map(units::time);
    format!("| {} | {base} | {new} | {} | {} | {interval} |", named(&row.id), added(row), units::times(row.ratio))
}

fn missing(side: &str, ids: &[CellId]) -> Option<String> {
    let names: Vec<String> = ids.iter().map(named).collect();
    (!ids.is_empty()).then(|| format!("- only the {side} has: {}", names.join("; ")))
}

/// A cell's name, in which that of a VMM may be anything.
fn named(id: &CellId) -> String {
    if id.under.is_some() { literal(&id.to_string()) } else { id.to_string() }
}
