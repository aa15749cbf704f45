//! Rows under other VMMs, beside those of kipi's own.

use super::*;
use crate::results::fixture::{block, disturbance, times_native};
use crate::results::quiet::Quiet;
use crate::results::times::{METRICS, Times};
use guest_stub::abi::cell::Under;
use std::collections::BTreeSet;

/// The default run's cells of the guest's vantage, and the same under another VMM, which take a fifth more.
fn run_under_two() -> Measurement {
    let mut measurement = default_run();
    measurement.cells.retain(|cell| cell.id.observe == Observe::Guest);
    let under = |own: &Cell| {
        let mut cell = own.clone();
        cell.id.under = Under::named("qemu-microvm");
        cell.exits.clear();
        let of = |&metric: &MetricName| {
            let p50 = own.metrics[&metric].p50;
            Times { divisor: own.id, ..times_native(metric, 1.2 * p50, p50) }
        };
        cell.times_own_vmm = METRICS.iter().map(of).collect();
        cell
    };
    let others: Vec<Cell> = measurement.cells.iter().map(under).collect();
    measurement.cells.extend(others);
    measurement
}

#[test]
fn a_row_under_another_vmm_says_how_many_times_kipis_own_it_takes() {
    let report = render(&run_under_two(), WIDE, false);
    assert!(report.contains("× kipi's VMM"), "{report}");
    let user = line(&report, "qemu-microvm  x2apic  user");
    assert!(user.contains(" 1.20 ") && user.contains(" 1.08–1.32 "), "{user}");
    let own = line(&report, "kipi          x2apic  user");
    assert!(!own.contains(" 1.20 ") && !own.contains(" 1.00 "), "its own rows have nothing to say: {own}");
    assert!(report.contains("exits/call"), "{report}");
    assert!(widest(&render(&run_under_two(), 80, true)) <= 80);
    assert!(!render(&default_run(), WIDE, true).contains("kipi's VMM"), "there is no other");
}

#[test]
fn nobody_looks_for_disturbances_under_another_vmm() {
    let mut measurement = run_under_two();
    measurement.quiet = Some(Quiet::of_cells(&measurement.cells, BTreeSet::new()));
    let of_both = render(&measurement, WIDE, false);
    assert!(of_both.contains("\nQuiet: none of 0 blocks was disturbed"), "kipi's own were looked at: {of_both}");
    measurement.cells.retain(|cell| cell.id.under.is_some());
    let of_other = render(&measurement, WIDE, false);
    assert!(of_other.contains("\nQuiet: not checked") && !of_other.contains("\ndisturbances"), "{of_other}");
}

#[test]
fn a_native_row_ran_under_no_vmm() {
    let mut measurement = run_under_two();
    measurement.cells.push(Cell { id: id("native-rseq", "user"), ..cell("user", 9_000.0) });
    let report = render(&measurement, WIDE, false);
    let row = report.lines().find(|line| line.contains("native-rseq  user")).expect("a row");
    assert!(row.starts_with("no VM "), "{report}");
}

#[test]
fn exits_are_of_kipis_own_rows_and_it_is_said_why() {
    let mut measurement = run_under_two();
    for cell in measurement.cells.iter_mut().filter(|cell| cell.id.under.is_none()) {
        cell.exits = vec![exits(Source::Stats, "exits", 2.0, 1.5)];
    }
    let report = render(&measurement, WIDE, true);
    assert!(line(&report, "kipi          x2apic  user").contains(" 3.50"), "of both vCPUs: {report}");
    assert!(report.contains("other VMMs' exits, which nobody counts"), "{report}");
}

#[test]
fn details_have_the_other_metrics_by_pairs_of_boots() {
    let report = render(&run_under_two(), WIDE, true);
    let (_, table) = report.split_once("Times kipi's VMM: ").expect("a table");
    let rows: Vec<&str> = table.lines().take_while(|line| !line.is_empty()).collect();
    assert!(rows.iter().any(|row| row.contains("start skew")) && rows.iter().any(|row| row.contains(" pairs ")));
    assert!(rows.iter().all(|row| !row.contains("divided by")), "there is one: {rows:#?}");
}

/// In the widest state of the machine, of cells and of names that a VMM usually has.
#[test]
fn several_vmms_have_a_table_in_80_columns_whatever_the_state_of_the_machine_is() {
    let mut measurement = run_under_two();
    for cell in &mut measurement.cells {
        let own = cell.metrics[&MetricName::RoundTrip].p50;
        cell.times_native = vec![times_native(MetricName::RoundTrip, own, own / 123.0)];
        cell.rounds = cell.rounds_asked - 1;
        if cell.id.under.is_none() {
            cell.exits = vec![exits(Source::Stats, "exits", 2.0, 1.5)];
            cell.never_quiet = true;
            cell.blocks = vec![block(0, 0, vec![disturbance()]); 60];
        }
    }
    measurement.quiet = Some(Quiet::of_cells(&measurement.cells, BTreeSet::new()));
    let wide = render(&measurement, WIDE, false);
    assert!(wide.contains("60 of 60, NEVER QUIET"), "{wide}");
    let mut wrong = measurement.clone();
    wrong.cells[0].integrity = Integrity { lost: 2, timed_out: 1, ..Integrity::default() };
    for (measurement, kept) in [(&measurement, "start skew"), (&wrong, "integrity")] {
        let report = render(measurement, 80, false);
        let row = line(&report, "qemu-microvm  x2apic  user");
        assert!(row.contains("119 µs") && row.contains(" 1.20"), "{report}");
        let (header, _) = report.split_once("\nkipi ").expect("rows");
        assert!(header.contains("× kipi's VMM") && header.contains("\nunder "), "{report}");
        assert!(header.contains(kept) && widest(&report) <= 80, "{kept}: {report}");
        assert!(report.contains("Not shown (--json)"), "{report}");
        assert!(report.contains("NEVER QUIET"), "in the head: {report}");
    }
}
