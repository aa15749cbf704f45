//! The comparison as GitHub's and GitLab's Markdown, for a comment on a pull request: the verdict, what is not the same, and
//! everything else folded.

use super::cases::change;
use super::text::{Unit, describe, limit, why};
use crate::report::units;
use crate::report::wrap::printable;
use crate::results::comparison::{Comparison, Finding, Gate, Overall, Row, Severity, Verdict};
use std::fmt::Write as _;

/// The comment.
pub(super) fn render(comparison: &Comparison) -> String {
    let (same, others): (Vec<&Row>, Vec<&Row>) = comparison.cells.iter().partition(|row| row.verdict == Verdict::Same);
    let mut blocks = vec![headline(comparison)];
    blocks.extend(findings(comparison, Severity::Worse));
    blocks.extend(rows(&others));
    blocks.extend(gates(&comparison.gates));
    blocks.extend(details("The same", rows(&same)));
    blocks.extend(details("References", rows(&comparison.references.iter().collect::<Vec<_>>())));
    blocks.extend(details("Also changed", findings(comparison, Severity::Noted)));
    blocks.extend(details("What was compared", Some(sides(comparison))));
    blocks.join("\n\n") + "\n"
}

fn headline(comparison: &Comparison) -> String {
    let mark = match comparison.verdict {
        Overall::Worse => "❌",
        Overall::NothingWorse => "✅",
        Overall::Undecided => "❔",
        Overall::NotComparable => "🚫",
    };
    let threshold = units::percent(comparison.settings.threshold);
    let mut line = format!("{mark} **kipi: {}**", comparison.verdict.name());
    let unexpected: Vec<_> = comparison.differences.iter().filter(|it| !it.allowed).map(ToString::to_string).collect();
    if comparison.verdict == Overall::NotComparable {
        let _ = write!(line, ", since these differ: {}", literal(&unexpected.join("; ")));
    }
    let cells: Vec<String> = Verdict::ALL
        .iter()
        .map(|&verdict| (comparison.cells_that_are(verdict), verdict.name()))
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    let cells = if cells.is_empty() { "none that both sides have".to_owned() } else { cells.join(", ") };
    let [base, new] = [&comparison.base, &comparison.new].map(|side| side.runs);
    let _ = write!(line, " · cells: {cells} · threshold {threshold} · {base} and {new} runs");
    line
}

/// A list of what changed and is no time.
fn findings(comparison: &Comparison, severity: Severity) -> Option<String> {
    let line = |finding: &Finding| format!("- {}: {}", finding.kind.name(), literal(&finding.to_string()));
    let lines: Vec<String> = comparison.findings.iter().filter(|it| it.severity == severity).map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn rows(rows: &[&Row]) -> Option<String> {
    rows.first()?;
    let mut lines = vec![
        "| cell | base | new | raw change | divided by | change | verdict |".to_owned(),
        "| --- | --: | --: | --: | --- | --: | --- |".to_owned(),
    ];
    lines.extend(rows.iter().map(|row| {
        let times = [row.base_ns, row.new_ns].map(units::time);
        let reference = row.reference.map_or_else(|| "nothing".to_owned(), |reference| reference.to_string());
        let verdict = match (row.verdict, &row.open) {
            (Verdict::Undecided, Some(open)) => why(open, Unit::Run),
            (verdict @ (Verdict::Slower | Verdict::Faster), _) => format!("**{}**", verdict.name()),
            (verdict @ (Verdict::Same | Verdict::Undecided), _) => verdict.name().to_owned(),
        };
        let [base, new] = times;
        let (raw, change) = (units::change(row.raw.estimate), change(row.judged()));
        format!("| {} | {base} | {new} | {raw} | {reference} | {change} | {verdict} |", row.id)
    }));
    Some(lines.join("\n"))
}

fn gates(gates: &[Gate]) -> Option<String> {
    gates.first()?;
    let mut lines =
        vec!["| tail | bound | allowed | beyond | verdict |".to_owned(), "| --- | --: | --: | --: | --- |".to_owned()];
    lines.extend(gates.iter().map(|gate| {
        let bound = gate.bound_ns.map_or_else(|| "unknown".to_owned(), units::time);
        let verdict = match &gate.open {
            Some(open) => why(open, Unit::Run),
            None if gate.verdict == Verdict::Slower => format!("**{}**", gate.verdict.name()),
            None => gate.verdict.name().to_owned(),
        };
        let beyond = format!("{} of {}", gate.beyond, gate.rounds);
        let allowed = units::percent(gate.allowed);
        format!("| {}: {} | {bound} | {allowed} | {beyond} | {verdict} |", gate.id, limit(gate))
    }));
    Some(lines.join("\n"))
}

fn sides(comparison: &Comparison) -> String {
    let mut lines = vec![
        format!("- base: {}", literal(&describe(&comparison.base, Unit::of(comparison)))),
        format!("- new: {}", literal(&describe(&comparison.new, Unit::of(comparison)))),
    ];
    lines.extend(comparison.differences.iter().map(|it| format!("- differs: {}", literal(&it.to_string()))));
    lines.extend(comparison.warnings.iter().map(|warning| format!("- warning: {}", literal(warning))));
    lines.push(format!(
        "- {} of error for all cells together, by kipi {}",
        units::percent(comparison.settings.error_rate),
        literal(&comparison.kipi)
    ));
    lines.join("\n")
}

/// A block that opens when it is clicked.
fn details(summary: &str, block: Option<String>) -> Option<String> {
    Some(format!("<details><summary>{summary}</summary>\n\n{}\n\n</details>", block?))
}

/// Text of others, as code: neither markup nor a mention (`@name`), an issue (`#1`) or a link is looked for there. Character
/// references stand for what Markdown or HTML would take for its own.
fn literal(text: &str) -> String {
    let mut code = "<code>".to_owned();
    for character in printable(text).chars() {
        if character.is_ascii_punctuation() && !matches!(character, '.' | ',' | ':' | ';' | '-' | '/' | '(' | ')' | '%')
        {
            let _ = write!(code, "&#{};", u32::from(character));
        } else {
            code.push(character);
        }
    }
    code + "</code>"
}

#[cfg(test)]
mod tests;
