//! What fits on a screen, and what is left out where it does not.

use super::*;
use proptest::prelude::*;

#[test]
fn eighty_columns_are_never_exceeded_and_what_matters_stays() {
    let report = render(&everything(), 80, true);
    assert!(widest(&report) <= 80, "{report}");
    assert!(line(&report, "halt  ").contains(" 842 ns "));
    assert!(report.contains("100000 timed out"));
    let columns = line(&report, "Not shown (--json): arrival skew p50, delivery p99, round trip max,");
    assert!(!columns.contains("  "), "{columns}");
}

#[test]
fn default_cells_fit_in_120_columns_whole() {
    let states = ["spin", "user", "halt", "masked"];
    let cells = ["xapic", "x2apic", "msi", "memory"]
        .into_iter()
        .flat_map(|route| states.into_iter().map(|state| Cell { id: id(route, state), ..cell(state, 119_000.0) }));
    let measurement = Measurement { cells: cells.collect(), ..measurement() };
    assert!(widest(&render(&measurement, WIDE, true)) <= 120);
    assert!(!render(&measurement, 120, true).contains("Not shown"));
}

#[test]
fn no_line_ends_in_spaces() {
    for width in [WIDE, 120, 80, 40] {
        assert_eq!(render(&everything(), width, true).lines().find(|line| line.ends_with(' ')), None);
    }
}

#[test]
fn the_default_result_fits_on_one_screen() {
    for (width, height) in [(80, 40), (60, 40), (120, 30)] {
        let report = render(&default_run(), width, false);
        assert!(widest(&report) <= width, "{report}");
        assert!(report.lines().count() <= height, "{} lines:\n{report}", report.lines().count());
    }
    let report = render(&default_run(), 80, false);
    assert_eq!(line(&report, "integrity "), "integrity     ok: none of 14000 calls lost, duplicate, late or timed out");
    assert!(
        line(&report, "clock ")
            .starts_with("clock         ε = 35.0 ns for all times but round trips: all vCPUs have one")
    );
    assert_eq!(report.lines().find(|line| line.starts_with("Quiet")), Some("Quiet: not checked"), "{report}");
    assert!(line(&report, "longest call ").contains("its round trip took 4.0 × its cell's median"), "{report}");
    assert!(line(&report, "not measured").contains("2 combinations: 1 (the memory route's targets poll at CPL0), 1"));
    assert!(line(&report, "WARNING").contains("2 vCPUs on 2 CPUs leave none for the VMM"));
    assert!(line(&report, "more ").contains("--details"));
    assert_eq!(words(line(&report, "95 %")).join(" "), "route state p50 95 % p99 p50 p50 p99 max");
    assert_eq!(line(&report, "Not shown"), "Not shown (--json): delivery p99, round trip max, overlap p50");
    for hidden in ["Instruments", "Exits a call", "both vantages", "KVM settings"] {
        assert!(!report.contains(hidden), "{hidden}");
    }
}

#[test]
fn a_screen_has_room_for_a_few_warnings() {
    let mut measurement = default_run();
    measurement.warnings = (0..9).map(|number| format!("warning {number}")).collect();
    let report = render(&measurement, 80, false);
    assert!(report.contains("warning 3") && !report.contains("warning 4"), "{report}");
    assert!(report.contains("5 warnings more (see --details)"), "{report}");
    assert!(render(&measurement, 80, true).contains("warning 8"));
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::NEG_INFINITY), Just(0.0), -1e9..1e9_f64]
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal(
        numbers in prop::collection::vec(any_number(), 8), texts in prop::collection::vec("\\PC{0,120}", 4),
        counts in any::<[u64; 4]>(), width in prop_oneof![Just(40), Just(60), Just(80), 20..200_usize],
    ) {
        let mut measurement = default_run();
        measurement.host.cpu.clone_from(&texts[0]);
        measurement.warnings = texts.clone();
        measurement.skipped[0].reason.clone_from(&texts[1]);
        measurement.host.settings.insert(texts[2].clone(), texts[3].clone());
        measurement.instruments[0].clock.error_ns = Some(numbers[0]);
        measurement.error = Some(texts[3].clone());
        measurement.partial = true;
        let cells = measurement.cells.len();
        for (index, number) in numbers.into_iter().enumerate() {
            let cell = &mut measurement.cells[index % cells];
            let [lost, duplicate, late, timed_out] = counts;
            cell.integrity = Integrity { lost, duplicate, late, timed_out };
            cell.rounds = counts[0];
            cell.id.vcpus = usize::from(u16::MAX);
            cell.clock.error_ns = Some(number);
            for metric in cell.metrics.values_mut() {
                (metric.p50, metric.p99, metric.max, metric.ci95.p50) = (number, -number, number, Some([-number, number]));
                metric.clock_error = Some(number);
                metric.negative = counts[1];
            }
            cell.exits[0].reason.clone_from(&texts[index % 4]);
            cell.exits[0].initiator = number;
        }
        for details in [false, true] {
            let report = render(&measurement, width, details);
            let wide: Vec<&str> = report.lines().filter(|line| width_of(line) > width).collect();
            prop_assert!(wide.is_empty(), "{width}: {wide:#?}");
        }
    }
}
