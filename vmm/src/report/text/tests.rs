use super::*;
use crate::report::wrap::width_of;
use crate::results::fixture::{cell, exits, id, measurement, metric, observed_cell, skipped};
use crate::results::integrity::Integrity;
use crate::results::measurement::Cell;
use crate::results::metric::MetricName;
use crate::results::source::Source;
use guest_stub::abi::Destination;
use guest_stub::abi::cell::{CellId, Observe};

mod clock;
mod distances;
mod native;
mod quiet;
mod screen;
mod standalone;
mod under;

/// Wide enough for everything.
const WIDE: usize = 400;

/// The line that holds a text.
fn line<'a>(report: &'a str, text: &str) -> &'a str {
    report.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?} in:\n{report}"))
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn widest(report: &str) -> usize {
    report.lines().map(width_of).max().unwrap_or(0)
}

fn report_of(cells: Vec<Cell>) -> String {
    render(&Measurement { cells, ..measurement() }, WIDE, true)
}

/// Every section, with all that makes rows long.
fn everything() -> Measurement {
    let mut measurement = measurement();
    measurement.cells.push(observed_cell());
    let [spin, halt, ..] = measurement.cells.as_mut_slice() else { panic!("two cells") };
    spin.metrics.insert(MetricName::ArrivalSkew, metric(100.0));
    spin.metrics.insert(MetricName::SkewSlope, metric(12.0));
    halt.id.vcpus = 128;
    halt.id.destination = Destination::Unicast;
    halt.rounds = 993;
    halt.not_in_state = 7;
    halt.integrity = Integrity { lost: 100, duplicate: 1_000, late: 10_000, timed_out: 100_000 };
    halt.exits.extend((0..9_u8).map(|index| exits(Source::Stats, &format!("some_reason_{index}"), index.into(), 0.0)));
    measurement.skipped.push(skipped("msi", "halt", &"a reason that takes long to tell ".repeat(5)));
    measurement.partial = true;
    measurement.error = Some("interrupted by SIGINT".to_owned());
    measurement
}

#[test]
fn head_says_where_it_was_measured() {
    let report = render(&measurement(), WIDE, true);
    let head: Vec<&str> = report.lines().take(4).collect();
    assert_eq!(
        head,
        [
            "kipi 0.1.0 · Linux 6.18.0 · KVM: kvm_amd · nested (itself virtual)",
            "AMD EPYC 9B14 · CPUs 0-2,5 (4) · guest TSC 2600.000 MHz",
            "Quiet: not checked",
            ""
        ]
    );
}

#[test]
fn calls_have_values_with_units_and_their_interval() {
    let report = render(&measurement(), WIDE, true);
    let spin = "spin 12.3 µs 11.7–12.9 µs 24.6 µs 49.2 µs 2.00 µs 4.00 µs ≤ ε 40.0 ns 80.0 ns 0.250";
    assert_eq!(words(line(&report, "spin   12")).join(" "), spin);
    assert!(line(&report, "halt    8").contains(" 842 ns    800–884 ns  1.68 µs "));
}

#[test]
fn what_is_the_same_everywhere_is_said_once() {
    let report = render(&measurement(), WIDE, true);
    assert_eq!(line(&report, "All rows"), "All rows: route x2apic · destination all-but-self · 2 vCPUs · 1000 rounds");
    assert_eq!(words(line(&report, "95 %"))[0], "state");

    let report = report_of(vec![cell("spin", 1.0)]);
    assert!(line(&report, "All rows").contains("state spin"));
}

#[test]
fn what_differs_is_a_column() {
    let mut other = cell("spin", 12_300.0);
    (other.id.destination, other.id.vcpus, other.rounds) = (Destination::All, 4, 900);
    other.clock.error_ns = Some(70.0);
    let report = report_of(vec![cell("spin", 12_300.0), other]);
    assert_eq!(words(line(&report, "95 %"))[..3], ["destination", "vCPUs", "rounds"]);
    assert_eq!(words(line(&report, "all-but-self  "))[..3], ["all-but-self", "2", "1000"]);
    assert_eq!(words(line(&report, "900 of"))[..5], ["all", "4", "900", "of", "1000"]);
    assert_eq!(line(&report, "All rows"), "All rows: route x2apic · state spin");
}

#[test]
fn arrival_skew_has_a_column_once_a_cell_has_it() {
    assert!(!render(&measurement(), WIDE, true).contains("arrival"));
    let mut with = cell("spin", 12_300.0);
    with.metrics.insert(MetricName::ArrivalSkew, metric(100.0));
    let report = report_of(vec![with, cell("halt", 842.0)]);
    assert!(line(&report, "round trip").contains("arrival"));
    assert!(line(&report, "spin   12").contains(" 100 ns "));
    assert!(line(&report, "halt    8").contains(" – "));
}

#[test]
fn faults_are_counted_by_kind() {
    let mut measurement = measurement();
    measurement.cells[1].integrity = Integrity { lost: 2, late: 1, ..Integrity::default() };
    let report = render(&measurement, WIDE, true);
    assert!(line(&report, "spin   12").ends_with("  ok"));
    assert!(line(&report, "halt    8").ends_with("  2 lost, 1 late"));
    assert!(!line(&report, "All rows").contains("integrity"));
}

#[test]
fn values_and_rounds_that_are_odd_are_said() {
    let mut measurement = measurement();
    measurement.cells[1].not_in_state = 7;
    measurement.cells[1].metrics.get_mut(&MetricName::Delivery).expect("metric").negative = 3;
    let report = render(&measurement, WIDE, true);
    assert!(line(&report, "Rounds that do not count").ends_with(": 7 (x2apic halt)"));
    assert!(line(&report, "Values below zero").ends_with(": 3 of 1000 delivery (x2apic halt)"));
}

#[test]
fn both_vantages_stand_side_by_side_and_not_among_the_calls() {
    let mut measurement = measurement();
    measurement.cells.push(observed_cell());
    let report = render(&measurement, WIDE, true);
    let table: Vec<&str> = report.lines().skip_while(|line| !line.starts_with("Start skew from both")).collect();
    assert_eq!(words(table[4]).join(" "), "≤ ε 40.0 ns 80.0 ns 1.00 µs 2.00 µs 4.00 µs 980 ns 1.96 µs 3.00 µs");
    assert!(!report.contains("20.0 µs"), "the observed cell's round trip is not comparable with the others");
    assert!(!render(&crate::results::fixture::measurement(), WIDE, true).contains("vantages"));
}

#[test]
fn slope_is_printed_where_it_was_measured() {
    assert!(!render(&measurement(), WIDE, true).contains("Theil–Sen"));
    let mut with = cell("spin", 12_300.0);
    with.metrics.insert(MetricName::SkewSlope, metric(12.0));
    let report = report_of(vec![with, cell("halt", 842.0)]);
    let table: Vec<&str> = report.lines().skip_while(|line| !line.contains("Theil–Sen")).collect();
    assert!(table[1].contains("state spin"));
    assert_eq!(words(table[4]).join(" "), "12.0 ns 11.4–12.6 ns 24.0 ns");
}

#[test]
fn exits_are_sorted_cut_and_never_zero() {
    let mut cell = cell("spin", 12_300.0);
    cell.exits = vec![
        exits(Source::Stats, "never", 0.0, 0.0),
        exits(Source::Stats, "rare", 0.001, 0.0),
        exits(Source::Stats, "once", 1.0, 0.0),
        exits(Source::Stats, "targets", 0.0, 1.5),
        exits(Source::Vmm, "never", 0.0, 0.0),
    ];
    let report = report_of(vec![cell.clone()]);
    assert_eq!(line(&report, "stats   "), "stats   targets 0 / 1.50, once 1.00 / 0, rare <0.01 / 0");
    assert_eq!(line(&report, "vmm     "), "vmm     none");

    cell.exits = (1..=8_u8).map(|count| exits(Source::Stats, &format!("r{count}"), count.into(), 0.0)).collect();
    let report = report_of(vec![cell]);
    assert!(line(&report, "stats   ").starts_with("stats   r8 8.00 / 0, r7 7.00 / 0,"));
    assert!(line(&report, "stats   ").ends_with("r3 3.00 / 0, and 2 more"));
}

#[test]
fn instruments_say_what_looking_costs() {
    let report = render(&measurement(), WIDE, true);
    let table: Vec<&str> = report.lines().skip_while(|line| *line != "Instruments and start").collect();
    let costs = "8.00 ns 16.0 ns 1.50 µs 3.00 µs 2.50 µs 5.00 µs 41.0 ms 12.0 ms 35.0 ns";
    assert_eq!(words(table[3]).join(" "), costs);
    assert_eq!(table[4..7], ["ε: minimum round trip, 1000 exchanges", "", "KVM settings: kvm.halt_poll_ns=200000"]);

    let mut measurement = measurement();
    let mut larger = measurement.instruments[0].clone();
    (larger.vcpus, larger.first_broadcast_ns, larger.clock.method) = (4, None, "TSC offset".to_owned());
    measurement.instruments.push(larger);
    let report = render(&measurement, WIDE, true);
    assert_eq!(words(line(&report, "VM creation"))[0], "vCPUs");
    line(&report, "ε (2 vCPUs): minimum round trip");
    line(&report, "ε (4 vCPUs): TSC offset");
}

#[test]
fn skipped_combinations_are_grouped_by_reason() {
    let mut measurement = measurement();
    measurement.skipped = vec![
        skipped("vmm", "spin", "no user-space MSRs"),
        skipped("msi", "spin", "no KVM_SIGNAL_MSI"),
        skipped("vmm", "halt", "no user-space MSRs"),
        skipped("nmi", "user", "no NMI"),
        skipped("xapic", "halt", "no NMI"),
    ];
    let report = render(&measurement, WIDE, true);
    let lines: Vec<&str> = report.lines().skip_while(|line| !line.starts_with("Not measured")).take(8).collect();
    assert_eq!(
        lines,
        [
            "Not measured here (5 combinations)",
            "- no user-space MSRs",
            "  vmm × all-but-self × spin, halt × 2 vCPUs",
            "- no KVM_SIGNAL_MSI",
            "  msi × all-but-self × spin × 2 vCPUs",
            "- no NMI",
            "  nmi × all-but-self × user × 2 vCPUs",
            "  xapic × all-but-self × halt × 2 vCPUs",
        ]
    );
}

#[test]
fn a_partial_run_says_so_last() {
    assert!(!render(&measurement(), WIDE, true).contains("PARTIAL"));
    let report = render(&everything(), WIDE, true);
    let last = report.lines().last().unwrap_or_default();
    assert!(last.starts_with("PARTIAL: the run ended early"));
    assert!(last.ends_with(": interrupted by SIGINT"));
}

#[test]
fn a_run_without_cells_is_a_report_too() {
    let mut measurement = measurement();
    measurement.cells.clear();
    measurement.instruments.clear();
    measurement.warnings.clear();
    let report = render(&measurement, 80, true);
    assert!(report.contains("Not measured here (1 combination)"));
    for section in ["Broadcast calls", "Exits a call", "Instruments", "warning", "TSC"] {
        assert!(!report.contains(section), "{section}");
    }
}

/// What `kipi` measures without options on two CPUs.
fn default_run() -> Measurement {
    let cells = [("xapic", "spin"), ("xapic", "user"), ("xapic", "halt"), ("x2apic", "spin"), ("x2apic", "user")];
    let cells = cells.into_iter().chain([("x2apic", "halt"), ("memory", "spin")]).flat_map(|(route, state)| {
        let guest = Cell { id: id(route, state), ..cell(state, 119_000.0) };
        let mut exits = observed_cell();
        exits.id = CellId { observe: Observe::Exits, ..guest.id };
        [guest, exits]
    });
    let mut measurement = Measurement { cells: cells.collect(), ..measurement() };
    measurement.skipped = vec![
        skipped("memory", "user", "the memory route's targets poll at CPL0"),
        skipped("memory", "halt", "a halted processor polls nothing"),
    ];
    measurement.instruments[0].clock.method = "all vCPUs have one TSC offset (KVM_VCPU_TSC_OFFSET); 1024 exchanges of \
                                               stamps with 1 vCPUs on other CPUs"
        .to_owned();
    measurement.host.kernel = "6.18.44-a-rather-long-suffix".to_owned();
    measurement
}

#[test]
fn without_cells_of_the_guests_vantage_the_vmms_are_the_result() {
    let report = render(&Measurement { cells: vec![observed_cell()], ..measurement() }, 80, false);
    assert!(report.contains("both vantages") && !report.contains("Broadcast calls"), "{report}");
}

#[test]
fn calls_that_went_wrong_are_counted_over_all_cells_and_named() {
    let mut measurement = default_run();
    measurement.cells[3].integrity = Integrity { lost: 2, ..Integrity::default() };
    let report = render(&measurement, 200, false);
    let wrong = "WRONG: 2 lost in 1 of 14 cells (xapic, all-but-self, user, 2 vCPUs, exits)";
    assert!(line(&report, "integrity ").ends_with(wrong), "{report}");
    measurement.cells[4].integrity = Integrity { lost: 1, timed_out: 1, ..Integrity::default() };
    let report = render(&measurement, 200, false);
    assert_eq!(report.lines().find(|line| line.starts_with("Calls")), Some("Calls went WRONG in 2 of 14 cells"));
    assert!(line(&report, "integrity ").contains("3 lost, 1 timed out in 2 of 14 cells, first xapic"), "{report}");
}

#[test]
fn vcpus_that_share_cpus_are_said() {
    let mut measurement = default_run();
    measurement.config.pin = vec![1, 1];
    assert!(render(&measurement, 200, false).contains("\nNOT QUIET: 2 vCPUs take turns on 1 CPU\n"));
}
