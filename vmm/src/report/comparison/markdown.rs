//! The comparison as GitHub's and GitLab's Markdown, for a comment on a pull request: the verdict, what is not the same, and
//! everything else folded.

use super::cases::change;
use super::text::{Unit, against_its_kind, describe, limit, why};
use crate::report::units;
use crate::report::wrap::printable;
use crate::results::comparison::finding::{Finding, Severity};
use crate::results::comparison::gate::Gate;
use crate::results::comparison::row::Row;
use crate::results::comparison::side::{Hosts, Outlier};
use crate::results::comparison::{Comparison, Overall, Verdict};
use crate::results::count::count;
use guest_stub::abi::cell::CellId;
use std::fmt::Write as _;

/// The most characters that GitHub takes in a comment (GitLab takes a million).
const MOST_CHARACTERS: usize = 65_536;

/// The most reasons that the headline names why sides are not comparable.
const NAMED: usize = 5;

/// The comment. What GitHub has no room for is left out, the last first, and how much that is is said.
pub(super) fn render(comparison: &Comparison) -> String {
    let (same, others): (Vec<&Row>, Vec<&Row>) = comparison.cells.iter().partition(|row| row.verdict == Verdict::Same);
    let mut blocks = vec![Block::plain(vec![headline(comparison)])];
    blocks.extend([
        findings(comparison, Severity::Worse),
        rows(&others),
        gates(&comparison.gates),
        outliers(comparison),
        rows(&same).folded("The same"),
        rows(&comparison.references.iter().collect::<Vec<_>>()).folded("References"),
        findings(comparison, Severity::Noted).folded("Also changed"),
        sides(comparison).folded("What was compared"),
    ]);
    fit(blocks, MOST_CHARACTERS)
}

/// A list or a table, whose last lines can be left out.
struct Block {
    /// What a table's lines are under.
    head: Vec<String>,
    lines: Vec<String>,
    /// The title under which it is folded.
    summary: Option<&'static str>,
}

impl Block {
    const fn plain(lines: Vec<String>) -> Self {
        Self { head: Vec::new(), lines, summary: None }
    }

    fn table(head: [&str; 2], lines: Vec<String>) -> Self {
        Self { head: head.map(str::to_owned).to_vec(), lines, summary: None }
    }

    fn folded(self, summary: &'static str) -> Self {
        Self { summary: Some(summary), ..self }
    }

    /// Its first lines, and how many are left out.
    fn print(&self, lines: usize) -> String {
        let left_out = self.lines.len() - lines;
        let shown = self.head.iter().chain(&self.lines[..lines]).cloned().collect::<Vec<_>>();
        let mut text = if lines > 0 { shown.join("\n") } else { String::new() };
        if left_out > 0 {
            let gap = if lines > 0 { "\n\n" } else { "" };
            let _ = write!(text, "{gap}{left_out} more lines are not in this comment: it has no room for them.");
        }
        match self.summary {
            // A block that opens when it is clicked.
            Some(summary) => format!("<details><summary>{summary}</summary>\n\n{text}\n\n</details>"),
            None => text,
        }
    }
}

/// The blocks in at most so many characters, one behind the other: each has what those before it, and what little is said of
/// those behind it, leave.
fn fit(blocks: Vec<Block>, most: usize) -> String {
    let blocks: Vec<Block> = blocks.into_iter().filter(|block| !block.lines.is_empty()).collect();
    let gaps = 2 * blocks.len();
    let length = |block: &Block, lines| block.print(lines).chars().count();
    let mut behind: usize = blocks.iter().map(|block| length(block, 0)).sum::<usize>() + gaps;
    let mut before = 0;
    let mut printed = Vec::new();
    for block in &blocks {
        behind -= length(block, 0);
        let fits = |lines: usize| before + length(block, lines) + behind <= most;
        let all = block.lines.len();
        let lines = if fits(all) { all } else { (0..all).rev().find(|&lines| fits(lines)).unwrap_or(0) };
        let text = block.print(lines);
        before += text.chars().count();
        printed.push(text);
    }
    printed.join("\n\n") + "\n"
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
    if comparison.verdict == Overall::NotComparable {
        let why = comparison.why_not_comparable();
        let named = &why[..why.len().min(NAMED)];
        let _ = write!(line, ": {}", literal(&named.join("; ")));
        if why.len() > NAMED {
            let _ = write!(line, " and {} more", why.len() - NAMED);
        }
    }
    let cells: Vec<String> = Verdict::ALL
        .iter()
        .map(|&verdict| (comparison.cells_that_are(verdict), verdict.name()))
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    let cells = if cells.is_empty() { "none that both sides have".to_owned() } else { cells.join(", ") };
    let [base, new] = [&comparison.base, &comparison.new].map(|side| side.runs);
    let _ = write!(line, " · cells: {cells} · threshold {threshold} · {base} and {}", count(new, "run"));
    line
}

/// A list of what changed and is no time.
fn findings(comparison: &Comparison, severity: Severity) -> Block {
    let line = |finding: &Finding| format!("- {}: {}", finding.kind.name(), literal(&finding.to_string()));
    Block::plain(comparison.findings.iter().filter(|it| it.severity == severity).map(line).collect())
}

/// A list of runs that are not as others of their kind.
fn outliers(comparison: &Comparison) -> Block {
    let line = |(side, outlier): (&str, &Outlier)| {
        let text = format!("{side}: {}: {} {}", outlier.file, outlier.id, against_its_kind(outlier));
        format!("- outlier: {}", literal(&text))
    };
    Block::plain(comparison.outliers().map(line).collect())
}

/// A cell, and the hosts whose runs of it are compared.
fn cell(hosts: Option<&Hosts>, id: &CellId) -> String {
    hosts.map_or_else(|| id.to_string(), |hosts| format!("{}: {id}", literal(&hosts.to_string())))
}

fn rows(rows: &[&Row]) -> Block {
    let line = |row: &&Row| {
        let times = [row.base_ns, row.new_ns].map(units::time);
        let reference = row.reference.map_or_else(|| "nothing".to_owned(), |reference| reference.to_string());
        let verdict = match (row.verdict, &row.open) {
            (Verdict::Undecided, Some(open)) => why(open, Unit::Run),
            (verdict @ (Verdict::Slower | Verdict::Faster), _) => format!("**{}**", verdict.name()),
            (verdict @ (Verdict::Same | Verdict::Undecided), _) => verdict.name().to_owned(),
        };
        let [base, new] = times;
        let (raw, change) = (units::change(row.raw.estimate), change(row.judged()));
        let cell = cell(row.hosts.as_ref(), &row.id);
        format!("| {cell} | {base} | {new} | {raw} | {reference} | {change} | {verdict} |")
    };
    Block::table(
        [
            "| cell | base | new | raw change | divided by | change | verdict |",
            "| --- | --: | --: | --: | --- | --: | --- |",
        ],
        rows.iter().map(line).collect(),
    )
}

fn gates(gates: &[Gate]) -> Block {
    let line = |gate: &Gate| {
        let bound = gate.bound_ns.map_or_else(|| "unknown".to_owned(), units::time);
        let verdict = match &gate.open {
            Some(open) => why(open, Unit::Run),
            None if gate.verdict == Verdict::Slower => format!("**{}**", gate.verdict.name()),
            None => gate.verdict.name().to_owned(),
        };
        let beyond = format!("{} of {}", gate.beyond, gate.rounds);
        let allowed = units::percent(gate.allowed);
        let cell = cell(gate.hosts.as_ref(), &gate.id);
        format!("| {cell}: {} | {bound} | {allowed} | {beyond} | {verdict} |", limit(gate))
    };
    Block::table(
        ["| tail | bound | allowed | beyond | verdict |", "| --- | --: | --: | --: | --- |"],
        gates.iter().map(line).collect(),
    )
}

fn sides(comparison: &Comparison) -> Block {
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
    Block::plain(lines)
}

/// Text of others, as code: neither markup nor a mention (`@name`), an issue (`#1`) or a link is looked for there. Character
/// references stand for what Markdown or HTML would take for its own.
pub(in crate::report) fn literal(text: &str) -> String {
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
