//! The comparison on the terminal: what differs, what changed that is no time, the cells, and what it comes to.

use crate::report::table::{Column, Table, Value};
use crate::report::tables::{add_keys, name_of, separate};
use crate::report::text::{table, warnings};
use crate::report::units;
use crate::report::wrap::{hang, list, wrap};
use crate::results::comparison::finding::{Finding, Severity};
use crate::results::comparison::gate::Gate;
use crate::results::comparison::row::{Change, Row};
use crate::results::comparison::side::{Hosts, Outlier, Side};
use crate::results::comparison::{Comparison, Difference, Open, OpenReason, Overall, Verdict};
use crate::results::count::count;
use crate::results::standalone::kernel_name;
use guest_stub::abi::cell::CellId;
use std::iter;
use strum::IntoStaticStr;

/// The widest label of a line, and the space behind it.
const LABEL_COLUMNS: usize = 9;

/// The report in lines of at most `width` columns; it ends in a newline.
pub(super) fn render(comparison: &Comparison, width: usize) -> String {
    let mut sections = vec![sides(comparison, width)];
    sections.extend(differences(&comparison.differences, width));
    sections.extend(findings(comparison, width));
    let title = match comparison.pairs {
        Some(pairs) => format!("Round trip p50: changes, of {} of boots, one after the other", count(pairs, "pair")),
        None => "Round trip p50: changes, and those of the quotient with the reference".to_owned(),
    };
    let unit = Unit::of(comparison);
    let tables = |title: &str, all: &[Row]| -> Vec<String> {
        let of = |rows: &[Row]| table::print(&self::rows(&on(title, rows[0].hosts.as_ref()), rows, unit), width);
        all.chunk_by(|one, other| one.hosts == other.hosts).map(of).collect()
    };
    sections.extend(tables(&title, &comparison.cells));
    let title = "References: a change of their own counts if all of its interval is beyond the threshold";
    sections.extend(tables(title, &comparison.references));
    sections.extend(outliers(comparison, width));
    let of_kinds = comparison.gates.chunk_by(|one, other| one.hosts == other.hosts);
    sections.extend(of_kinds.map(|gates| table::print(&self::gates(gates), width)));
    sections.extend(warnings(&comparison.warnings, width));
    sections.push(verdict(comparison, width));
    sections.join("\n\n") + "\n"
}

/// The runs that are not as others of their kind.
fn outliers(comparison: &Comparison, width: usize) -> Option<String> {
    let ids: Vec<CellId> = all_cells(comparison);
    let line = |(side, outlier): (&str, &Outlier)| {
        let name = name_of(&outlier.id, &ids.iter());
        labelled("outlier", &format!("{side} · {}: {name} {}", outlier.file, against_its_kind(outlier)), width)
    };
    let lines: Vec<String> = comparison.outliers().map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// All that is named and judges nothing, a line each: runs that are not as others of their kind, and warnings.
pub(super) fn remarks(comparison: &Comparison) -> Vec<String> {
    let outlier =
        |(side, it): (&str, &Outlier)| format!("outlier: {side}: {}: {} {}", it.file, it.id, against_its_kind(it));
    comparison.outliers().map(outlier).chain(comparison.warnings.iter().cloned()).collect()
}

/// `+15 % against the 24 of its kind (AMD EPYC, Linux 6.18.0)`.
pub(super) fn against_its_kind(outlier: &Outlier) -> String {
    let Outlier { cpu, kernel, group, change, .. } = outlier;
    format!("{} against the {group} of its kind ({cpu}, {})", units::change(*change), kernel_name(kernel))
}

fn labelled(label: &str, text: &str, width: usize) -> String {
    hang(&format!("{label:<LABEL_COLUMNS$}"), text, width, LABEL_COLUMNS)
}

fn sides(comparison: &Comparison, width: usize) -> String {
    [("base", &comparison.base), ("new", &comparison.new)]
        .map(|(label, side)| labelled(label, &describe(side, Unit::of(comparison)), width))
        .join("\n")
}

/// What a side has several of.
#[derive(Debug, Clone, Copy, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(in crate::report) enum Unit {
    /// Runs of kipi.
    Run,
    /// Boots of one run that measured both sides in turns.
    Boot,
}

impl Unit {
    pub(super) const fn of(comparison: &Comparison) -> Self {
        if comparison.pairs.is_some() { Self::Boot } else { Self::Run }
    }

    fn name(self) -> &'static str {
        self.into()
    }

    const fn medians(self) -> &'static str {
        match self {
            Self::Run => "median of runs",
            Self::Boot => "median of boots",
        }
    }
}

/// Its runs, or boots, files and hosts, and that some had no sandbox, or not all of it.
pub(in crate::report) fn describe(side: &Side, unit: Unit) -> String {
    let hosts: Vec<String> = side
        .hosts
        .iter()
        .map(|host| {
            let runs =
                if side.hosts.len() > 1 { format!(" ({})", count(host.runs, unit.name())) } else { String::new() };
            let platform = match &host.standalone {
                Some(platform) => platform.clone(),
                None => format!("Linux {} · {}", host.kernel, host.kvm.join(", ")),
            };
            format!("{platform} · {} · kipi {}{runs}", host.cpu, host.kipi)
        })
        .collect();
    let files = match side.files.as_slice() {
        [first, .., last] => format!("{first} to {last}"),
        files => files.join(""),
    };
    let sandbox = side.sandbox_warning(unit.name()).map_or_else(String::new, |warning| format!(" · {warning}"));
    format!("{}: {files} · {}{sandbox}", count(side.runs, unit.name()), hosts.join("; "))
}

fn differences(differences: &[Difference], width: usize) -> Option<String> {
    let line = |difference: &Difference| {
        let Difference { factor, allowed, .. } = difference;
        let label = if *allowed { "differs" } else { "DIFFERS" };
        let way_out = if *allowed { String::new() } else { format!(" (not expected: --expect {factor})") };
        labelled(label, &format!("{difference}{way_out}"), width)
    };
    (!differences.is_empty()).then(|| differences.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn findings(comparison: &Comparison, width: usize) -> Option<String> {
    let findings = &comparison.findings;
    let ids: Vec<CellId> = all_cells(comparison);
    let line = |finding: &Finding| {
        let label = match finding.severity {
            Severity::Worse => "WORSE",
            Severity::Noted => "noted",
        };
        let cell = finding.cell.map_or_else(String::new, |cell| format!("{}: ", name_of(&cell, &ids.iter())));
        let Finding { kind, hosts, subject, base, new, .. } = finding;
        let hosts = hosts.as_ref().map_or_else(String::new, |hosts| format!("{hosts}: "));
        labelled(label, &format!("{} · {hosts}{cell}{subject}: {base} → {new}", kind.name()), width)
    };
    (!findings.is_empty()).then(|| findings.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn all_cells(comparison: &Comparison) -> Vec<CellId> {
    let rows = comparison.cells.iter().chain(&comparison.references).map(|row| row.id);
    rows.chain(comparison.findings.iter().filter_map(|finding| finding.cell)).collect()
}

/// A table's title, with the hosts that it is about where there are several kinds of them.
fn on(title: &str, hosts: Option<&Hosts>) -> String {
    hosts.map_or_else(|| title.to_owned(), |hosts| format!("{hosts} · {title}"))
}

/// The rows of one kind of hosts.
fn rows(title: &str, rows: &[Row], unit: Unit) -> Table {
    let mut table = Table::new(title, Vec::new());
    let ids: Vec<CellId> = rows.iter().map(|row| row.id).collect();
    add_keys(&mut table, &ids);
    if rows.iter().any(|row| row.reference.is_some()) {
        let references = rows.iter().map(|row| Value::Text(reference(row))).collect();
        separate(&mut table, Column::key("reference", references), |value| format!("reference {value}"));
    }
    let column = |group, name, rank, of: &dyn Fn(&Row) -> Value| {
        Column::number(group, name, rank, rows.iter().map(of).collect())
    };
    let text = |text: Option<String>| Value::or_missing(text.map(Value::Text));
    let divided = |of: &dyn Fn(&Change) -> Option<String>| {
        let values = rows.iter().map(|row| text(row.divided.as_ref().and_then(of)));
        values.collect::<Vec<_>>()
    };
    let interval = |change: &Change| change.interval.map(units::change_range);
    table.columns.push(column(unit.medians(), "base", 3, &|row| Value::Time(row.base_ns)));
    table.columns.push(column(unit.medians(), "new", 2, &|row| Value::Time(row.new_ns)));
    table.columns.push(column("change", "raw", 1, &|row| Value::Text(units::change(row.raw.estimate))));
    if rows.iter().any(|row| row.divided.is_some()) {
        let estimates = divided(&|change| Some(units::change(change.estimate)));
        table.columns.push(Column::number("change", "divided", 0, estimates));
    }
    table.columns.push(column("change", "interval", 1, &|row| text(interval(&row.judged()))));
    table.columns.push(Column::key("verdict", rows.iter().map(|row| Value::text(row.verdict.name())).collect()));
    let levels = rows.iter().filter(|row| row.judged().interval.is_some()).map(|row| row.judged().level);
    let [low, high] =
        levels.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], level| [low.min(level), high.max(level)]);
    if low <= high {
        let percent = |level: f64| format!("{:.2}", 100.0 * level);
        let (low, high) = (percent(low), percent(high));
        let levels = if low == high { format!("{low} %") } else { format!("{low} to {high} %, by Holm's correction") };
        table.notes.push(format!("Intervals: {levels}, of what the verdict is about"));
    }
    let opens = rows.iter().filter_map(|row| Some((name_of(&row.id, &ids.iter()), row.open.as_ref()?)));
    table.notes.extend(by_reason(opens, unit));
    table
}

fn reference(row: &Row) -> String {
    row.reference.map_or_else(|| "none".to_owned(), |reference| name_of(&reference, &iter::once(&row.id)))
}

/// Why rows are undecided, those together that have one reason.
fn by_reason<'a>(opens: impl Iterator<Item = (String, &'a Open)>, unit: Unit) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for (name, open) in opens {
        let reason = why(open, unit);
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    reasons.into_iter().map(|(reason, names)| format!("{}: {reason}", names.join(", "))).collect()
}

/// What is said of sides that were not measured under the same load.
const ONE_SIDE_DISTURBED: &str = "undecided: most runs of one side were never quiet, and most of the other were (measure both under the \
                                  same load, or in turns: kipi measure --ab-exec)";

/// Why something is undecided, and what would decide it: more of this unit.
pub(super) fn why(open: &Open, unit: Unit) -> String {
    match (open.reason, open.more_runs) {
        (OpenReason::TooWide, Some(runs)) => {
            format!("undecided, about {} a side would decide it", count(runs, &format!("more {}", unit.name())))
        }
        (OpenReason::TooWide, None) => {
            format!(
                "undecided, and {}s would not decide it: the change is near the threshold, or the drift is as large",
                unit.name()
            )
        }
        (OpenReason::FewRuns, _) => format!(
            "undecided: fewer than three {}s a side say too little of how much they differ (more of them, or kipi measure \
             --calibrate)",
            unit.name()
        ),
        (OpenReason::Undivided, _) => {
            "undecided: it changed or the host did, since nothing that was measured beside it divides it".to_owned()
        }
        (OpenReason::OneSideDisturbed, _) => ONE_SIDE_DISTURBED.to_owned(),
        (OpenReason::ReferenceMoved, _) => {
            "undecided: its reference may have moved the other way instead (--reference takes another; more runs may tell)"
                .to_owned()
        }
        (OpenReason::NoCounts, _) => {
            "undecided: a run has no counts of its round trips, as documents of an older kipi".to_owned()
        }
    }
}

/// The tails of one kind of hosts.
fn gates(gates: &[Gate]) -> Table {
    let title = "Tails: rounds of the new side beyond the base's quantile and what is tolerated";
    let hosts = gates.first().and_then(|gate| gate.hosts.as_ref());
    let mut table = Table::new(on(title, hosts), Vec::new());
    let ids: Vec<CellId> = gates.iter().map(|gate| gate.id).collect();
    add_keys(&mut table, &ids);
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let column = |name, of: &dyn Fn(&Gate) -> Value| Column::number("", name, 0, gates.iter().map(of).collect());
    table.columns.push(column("gate", &|gate| Value::Text(limit(gate))));
    table.columns.push(column("bound", &|gate| Value::or_missing(gate.bound_ns.map(Value::Time))));
    table.columns.push(column("allowed", &|gate| Value::Text(percent(gate.allowed))));
    let beyond = |gate: &Gate| (gate.rounds > 0).then(|| Value::Text(percent(gate.beyond as f64 / gate.rounds as f64)));
    table.columns.push(column("beyond", &|gate| Value::or_missing(beyond(gate))));
    let interval =
        |gate: &Gate| gate.interval.map(|[low, high]| Value::Text(format!("{:.2}–{}", 100.0 * low, percent(high))));
    table.columns.push(column("interval", &|gate| Value::or_missing(interval(gate))));
    table.columns.push(Column::key("verdict", gates.iter().map(|gate| Value::text(gate.verdict.name())).collect()));
    let name = |gate: &Gate| format!("{} {}", name_of(&gate.id, &ids.iter()), quantile(gate.quantile));
    table.notes.extend(by_reason(gates.iter().filter_map(|gate| Some((name(gate), gate.open.as_ref()?))), Unit::Run));
    table
}

/// A gate as it is asked for: `p99 +20 %`.
pub(super) fn limit(gate: &Gate) -> String {
    format!("{} {}", quantile(gate.quantile), units::change(gate.margin))
}

/// `p99`, `p99.9`.
pub(super) fn quantile(quantile: f64) -> String {
    // Two to three digits are what anybody asks for; more are noise of the division by 100.
    format!("p{}", (1e6 * quantile).round() / 1e4)
}

fn verdict(comparison: &Comparison, width: usize) -> String {
    let ids = all_cells(comparison);
    let mut parts: Vec<String> = Verdict::ALL
        .iter()
        .map(|&verdict| (comparison.cells_that_are(verdict), verdict))
        .filter(|(number, _)| *number > 0)
        .map(|(number, verdict)| format!("{} {}", count(number, "cell"), verdict.name()))
        .collect();
    let moved = comparison.references.iter().filter(|row| matches!(row.verdict, Verdict::Slower | Verdict::Faster));
    parts.extend(moved.map(|row| {
        let name = on(&name_of(&row.id, &ids.iter()), row.hosts.as_ref());
        format!("reference {name} {}", row.verdict.name())
    }));
    let tails = comparison.gates.iter().filter(|gate| gate.verdict == Verdict::Slower).count();
    parts.extend((tails > 0).then(|| format!("{} longer", count(tails, "tail"))));
    let worse = comparison.worse_findings().count();
    parts.extend((worse > 0).then(|| format!("{} above", count(worse, "worse finding"))));
    let word = match comparison.verdict {
        Overall::Worse | Overall::NotComparable => comparison.verdict.name().to_uppercase(),
        Overall::NothingWorse | Overall::Undecided => comparison.verdict.name().to_owned(),
    };
    let threshold = units::change(comparison.settings.threshold);
    let head = wrap(
        &format!(
            "{:<LABEL_COLUMNS$}{word} (threshold {}, {} % of error for all cells together)",
            "verdict",
            threshold.trim_start_matches('+'),
            100.0 * comparison.settings.error_rate
        ),
        width,
        LABEL_COLUMNS,
    );
    if parts.is_empty() {
        head
    } else {
        format!("{head}\n{}", list(&" ".repeat(LABEL_COLUMNS - 1), &parts, ",", width, LABEL_COLUMNS))
    }
}

#[cfg(test)]
mod tests;
