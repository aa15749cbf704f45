//! How long halted targets had been in HLT, how KVM woke them, and what difference that made.

use super::cells::{Row, Shown, add_metrics, name_in, rows, shown, table as of_rows};
use crate::report::table::Statistic::{P50, P99};
use crate::report::table::{Column, Table, Value};
use crate::report::units;
use crate::results::count::count;
use crate::results::halts::{OfRegime, Regime, are_alike};
use crate::results::measurement::{Cell, Measurement};
use crate::results::metric::MetricName;
use crate::results::source::Source;
use std::collections::BTreeMap;

const TITLE: &str = "Halted targets: time in HLT at the send, and how KVM woke them (halt polling)";

const IN_HLT: [Shown; 2] = [shown(MetricName::Halted, P50, "in HLT", 0), shown(MetricName::Halted, P99, "in HLT", 3)];

/// The median time in HLT, for tables in which it is asked for: never left out, since it is what the other figures depend on.
pub(super) const MEASURED: Shown = shown(MetricName::Halted, P50, "in HLT", 0);

/// The median time in HLT of a cell's targets, ns.
pub(in crate::report) fn median_in_hlt(cell: &Cell) -> Option<f64> {
    cell.metrics.get(&MetricName::Halted).map(|metric| metric.p50)
}

/// The cells whose targets had been in HLT for another time than was asked for.
pub(super) fn not_as_asked(rows: &[Row<'_>]) -> Option<String> {
    let of = |(_, cell): &Row<'_>| {
        let (asked, reached) = (cell.id.idle_before_us?, median_in_hlt(cell)?);
        let told = || format!("{} instead of {asked} µs ({})", units::time(reached), name_in(rows, cell));
        (!are_alike(f64::from(asked) * 1e3, reached)).then(told)
    };
    let cells: Vec<String> = rows.iter().filter_map(of).collect();
    let text = "Time in HLT differs from --idle-before (it is longer where the work between two rounds takes longer)";
    (!cells.is_empty()).then(|| format!("{text}: {}", cells.join(", ")))
}

/// A row for each cell of halted targets.
pub(super) fn table(measurement: &Measurement) -> Option<Table> {
    let is_halted = |cell: &Cell| cell.metrics.contains_key(&MetricName::Halted);
    let rows = rows(measurement, |cell| is_halted(cell) && !cell.beside);
    let mut table = of_rows(TITLE, &rows)?;
    add_metrics(&mut table, &rows, &IN_HLT);
    if rows.iter().any(|(_, cell)| cell.halt.is_some()) {
        table.columns.push(polled(&rows, 1));
        for (regime, group) in [(Regime::Polled, "polled"), (Regime::Blocked, "blocked")] {
            let column = |name, rank, value: fn(&Cell, &OfRegime) -> Option<Value>| {
                let of = |(_, cell): &Row<'_>| {
                    Value::or_missing(rounds_of(cell, regime).and_then(|rounds| value(cell, rounds)))
                };
                Column::number(group, name, rank, rows.iter().map(of).collect())
            };
            table.columns.extend([
                column("rounds", 2, |_, of| Some(Value::Count(of.rounds))),
                column("round trip", 0, |_, of| Some(Value::Time(of.round_trip_p50_ns))),
                column("delivery", 0, delivery),
            ]);
        }
    }
    table.notes.extend(neither(&rows));
    table.notes.extend(told_by(&rows));
    Some(table)
}

/// Which share of the wake-ups ended a poll.
pub(super) fn polled(rows: &[Row<'_>], rank: u8) -> Column {
    let share = |(_, cell): &Row<'_>| Value::or_missing(cell.halt.as_ref().map(|halt| Value::Share(halt.polled)));
    Column::number("woken", "by poll", rank, rows.iter().map(share).collect())
}

/// Crosses clocks, as the cell's own delivery does.
fn delivery(cell: &Cell, of: &OfRegime) -> Option<Value> {
    const METRIC: MetricName = MetricName::Delivery;
    let delivery = Value::Time(of.delivery_p50_ns?);
    Some(delivery.unless_below(cell.metrics.get(&METRIC)?.clock_error, METRIC.clock_differences()))
}

fn rounds_of(cell: &Cell, regime: Regime) -> Option<&OfRegime> {
    cell.halt.as_ref()?.regimes.iter().find(|of| of.regime == regime)
}

/// Rounds that are of neither regime.
fn neither(rows: &[Row<'_>]) -> Option<String> {
    let of = |(_, cell): &Row<'_>| {
        let counts: Vec<String> = [Regime::Mixed, Regime::Unknown]
            .into_iter()
            .filter_map(|regime| rounds_of(cell, regime))
            .map(|of| format!("{} {}", of.rounds, of.regime.name()))
            .collect();
        (!counts.is_empty()).then(|| format!("{}: {}", name_in(rows, cell), counts.join(", ")))
    };
    let cells: Vec<String> = rows.iter().filter_map(of).collect();
    (!cells.is_empty()).then(|| format!("Rounds of neither kind: {}", cells.join("; ")))
}

/// How the regimes were told apart.
fn told_by(rows: &[Row<'_>]) -> Vec<String> {
    let told = |source| rows.iter().any(|(_, cell)| cell.halt.as_ref().is_some_and(|halt| halt.source == source));
    let by_rounds = "Told round by round (tracepoint kvm_vcpu_wakeup)";
    let by_blocks = "Told block by block (KVM_GET_STATS_FD): a block is of a kind if 95 % of its wake-ups are";
    [(Source::Kernel, by_rounds), (Source::Stats, by_blocks)]
        .into_iter()
        .filter(|(source, _)| told(*source))
        .map(|(_, text)| text.to_owned())
        .collect()
}

/// A line for the result: the medians of the round trip where both kinds occurred, else which kind did. Where the table tells
/// the latter by itself, the line is about the others alone.
pub(super) fn summary(rows: &[Row<'_>], is_told: bool) -> Option<String> {
    let told = rows.iter().filter_map(|(_, cell)| Some((*cell, cell.halt.as_ref()?)));
    let mut alike: BTreeMap<Regime, Vec<String>> = BTreeMap::new();
    let mut parts = Vec::new();
    for (cell, halt) in told {
        match halt.regimes.as_slice() {
            [] => {}
            [only] => alike.entry(only.regime).or_default().push(name_in(rows, cell)),
            several => {
                let medians: Vec<String> = several.iter().map(|of| median(of, halt.source)).collect();
                parts.push(format!("{}: {}", name_in(rows, cell), medians.join(", ")));
            }
        }
    }
    let everybody = alike.len() == 1 && parts.is_empty();
    for (regime, cells) in alike.into_iter().filter(|_| !is_told) {
        let who = if everybody { "all".to_owned() } else { cells.join(", ") };
        parts.push(format!("{who} {}", regime.name()));
    }
    (!parts.is_empty()).then(|| format!("Halted targets' wake-ups (halt polling): {}", parts.join("; ")))
}

fn median(of: &OfRegime, source: Source) -> String {
    let (number, noun) = match source {
        Source::Kernel => (of.rounds, "round"),
        Source::Guest | Source::Stats | Source::Vmm => (of.blocks, "block"),
    };
    let count = count(usize::try_from(number).unwrap_or(usize::MAX), noun);
    format!("{} {} ({count})", of.regime.name(), units::time(of.round_trip_p50_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::halts::CellWakeups;

    fn of(regime: Regime, rounds: u64, round_trip_p50_ns: f64) -> OfRegime {
        OfRegime { regime, rounds, blocks: rounds / 25, round_trip_p50_ns, delivery_p50_ns: Some(4_000.0) }
    }

    fn cell(route: &str, idle_before_us: Option<u32>, source: Source, regimes: &[OfRegime]) -> Cell {
        let mut cell = fixture::cell("halt", 30_000.0);
        cell.id = crate::config::CellId { idle_before_us, ..fixture::id(route, "halt") };
        cell.metrics.insert(MetricName::Halted, fixture::metric(66_000.0));
        cell.halt = Some(CellWakeups { source, polled: 0.75, regimes: regimes.to_vec() });
        cell
    }

    fn measurement(cells: Vec<Cell>) -> Measurement {
        Measurement { cells, ..fixture::measurement() }
    }

    fn line(measurement: &Measurement) -> Option<String> {
        summary(&rows(measurement, |_| true), false)
    }

    #[test]
    fn both_medians_are_shown_where_both_kinds_occurred() {
        let (polled, blocked) = (of(Regime::Polled, 350, 12_300.0), of(Regime::Blocked, 150, 38_000.0));
        let both = cell("x2apic", None, Source::Stats, &[polled, blocked]);
        let other = cell("xapic", None, Source::Stats, &[blocked]);
        let mut all = measurement(vec![both, other.clone()]);
        assert_eq!(
            line(&all).unwrap(),
            "Halted targets' wake-ups (halt polling): x2apic: polled 12.3 µs (14 blocks), blocked 38.0 µs (6 blocks); \
             xapic blocked"
        );
        let table = table(&all).unwrap();
        let round_trips: Vec<String> = table
            .columns
            .iter()
            .filter(|column| column.name == "round trip")
            .flat_map(|column| column.values.iter().map(ToString::to_string))
            .collect();
        assert_eq!(round_trips, ["12.3 µs", "–", "38.0 µs", "38.0 µs"]);
        all.cells = vec![other];
        assert_eq!(line(&all).unwrap(), "Halted targets' wake-ups (halt polling): all blocked");
        all.cells = vec![fixture::cell("spin", 1.0)];
        assert_eq!(line(&all), None);
    }

    #[test]
    fn a_cell_without_a_round_that_counts_has_no_line() {
        let cells = [("x2apic", &[of(Regime::Polled, 25, 1.0)][..]), ("xapic", &[])];
        let cells = cells.map(|(route, regimes)| cell(route, None, Source::Stats, regimes));
        assert_eq!(line(&measurement(cells.into())).unwrap(), "Halted targets' wake-ups (halt polling): all polled");
    }

    #[test]
    fn one_block_is_one() {
        let (polled, blocked) = (of(Regime::Polled, 25, 12_300.0), of(Regime::Blocked, 50, 38_000.0));
        let line = line(&measurement(vec![cell("x2apic", None, Source::Stats, &[polled, blocked])])).unwrap();
        assert!(line.ends_with("polled 12.3 µs (1 block), blocked 38.0 µs (2 blocks)"), "{line}");
    }

    #[test]
    fn rounds_that_are_of_neither_kind_are_counted() {
        let regimes = [of(Regime::Polled, 400, 1.0), of(Regime::Mixed, 75, 1.0), of(Regime::Unknown, 25, 1.0)];
        let table = table(&measurement(vec![cell("x2apic", None, Source::Kernel, &regimes)])).unwrap();
        assert_eq!(table.notes[0], "Rounds of neither kind: x2apic: 75 mixed, 25 unknown");
        assert!(table.notes[1].contains("kvm_vcpu_wakeup"), "{:?}", table.notes);
    }

    #[test]
    fn a_time_in_hlt_other_than_asked_is_told() {
        let reached = |idle, ns| {
            let mut cell = cell("x2apic", Some(idle), Source::Stats, &[]);
            cell.metrics.insert(MetricName::Halted, fixture::metric(ns));
            cell
        };
        let told = |cells: Vec<Cell>| not_as_asked(&rows(&measurement(cells), |_| true));
        assert_eq!(told(vec![reached(20, 29_900.0), reached(400, 479_000.0), reached(400, 334_000.0)]), None);
        let text = told(vec![reached(0, 31_000.0), reached(400, 407_000.0), reached(1000, 790_000.0)]).unwrap();
        assert!(
            text.ends_with("31.0 µs instead of 0 µs (x2apic 0 µs), 790 µs instead of 1000 µs (x2apic 1000 µs)"),
            "{text}"
        );
    }

    #[test]
    fn the_measured_time_in_hlt_stays_on_a_narrow_screen() {
        let cells = [20, 400].map(|time| cell("x2apic", Some(time), Source::Stats, &[of(Regime::Polled, 500, 1.0)]));
        let table = crate::report::tables::result(&measurement(cells.into())).unwrap();
        let text = crate::report::text::table::print(&table, 60);
        let heading = text.lines().find(|line| line.contains("asked")).unwrap();
        assert!(heading.split_whitespace().take(2).eq(["asked", "p50"]), "{text}");
        assert!(text.contains("Not shown"), "{text}");
    }

    #[test]
    fn where_a_time_in_hlt_is_asked_for_it_stands_beside_the_measured_one() {
        let cells = [20, 400].map(|time| cell("x2apic", Some(time), Source::Stats, &[of(Regime::Polled, 500, 1.0)]));
        let table = crate::report::tables::result(&measurement(cells.into())).unwrap();
        let titles: Vec<String> = table.columns.iter().map(Column::title).collect();
        assert_eq!(titles[..2], ["in HLT asked", "in HLT p50"], "{titles:?}");
        assert!(titles.contains(&"woken by poll".to_owned()), "{titles:?}");
        assert_eq!(table.columns[0].values[1].to_string(), "400 µs");
    }
}
