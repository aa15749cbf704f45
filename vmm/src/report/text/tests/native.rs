//! Times native: in the main table, in the details, and in a line.

use super::*;
use crate::results::fixture::times_native;
use crate::results::times::{METRICS, Times};
use guest_stub::abi::TargetState;

/// The default run with what it is divided by.
fn divided_run() -> Measurement {
    let mut measurement = default_run();
    for cell in measurement.cells.iter_mut().filter(|cell| cell.id.observe == Observe::Guest) {
        let of = |&metric: &MetricName| times_native(metric, cell.metrics[&metric].p50, 10_000.0);
        cell.times_native = METRICS.iter().map(of).collect();
        if cell.id.target_state == TargetState::Halt {
            let futex = |times: Times| Times { divisor: id("native-futex", "halt"), ratio: Some(7.0), ..times };
            cell.times_native.extend(METRICS.iter().map(of).map(futex));
        }
    }
    let natives = [("native-rseq", "user"), ("native-futex", "halt")];
    let beside = |(route, state)| Cell { id: id(route, state), beside: true, ..cell(state, 10_000.0) };
    measurement.cells.extend(natives.map(beside));
    let mut threads = measurement.instruments[0].clone();
    (threads.local_apic, threads.clock.error_ns) = (None, Some(39.0));
    measurement.instruments.push(threads);
    measurement
}

#[test]
fn times_native_stand_beside_the_round_trip_on_one_screen() {
    let report = render(&divided_run(), 80, false);
    assert!(widest(&report) <= 80 && report.lines().count() <= 40, "{} lines:\n{report}", report.lines().count());
    assert_eq!(words(line(&report, "95 %")).join(" "), "route state p50 95 % p99 native p50 p50 p99", "{report}");
    let user = line(&report, "x2apic  user");
    assert!(user.contains(" 11.9 "), "{user}");
    assert!(!report.contains("native-rseq"), "what nobody has asked for has no row: {report}");
    assert!(
        report.contains("\nnative        a broadcast call to a busy vCPU costs 11.9 × the same call between"),
        "{report}"
    );
    assert!(report.contains("; natively, ε = 39.0 ns"), "{report}");
}

/// A native route that was asked for may be a divisor in another state or with other targets.
#[test]
fn whether_a_cell_was_asked_for_does_not_depend_on_its_route_alone() {
    let mut measurement = divided_run();
    measurement.config.routes.push("native-rseq".to_owned());
    let mut unicast = Cell { id: id("native-rseq", "user"), ..cell("user", 5_000.0) };
    unicast.id.destination = Destination::Unicast;
    measurement.cells.push(unicast);
    let report = render(&measurement, 120, false);
    let rows = report.lines().filter(|line| line.starts_with("native-rseq")).collect::<Vec<_>>();
    assert!(matches!(rows.as_slice(), [row] if row.contains("unicast")), "{report}");
}

#[test]
fn details_have_every_metric_and_divisor() {
    let report = render(&divided_run(), 200, true);
    let (_, table) = report.split_once("Times native: ").expect("a table");
    let rows: Vec<&str> = table.lines().take_while(|line| !line.is_empty()).collect();
    let halted: Vec<&&str> = rows.iter().filter(|row| row.starts_with("x2apic  halt")).collect();
    assert_eq!(halted.len(), 2, "{rows:#?}");
    assert!(halted[0].contains("native-rseq") && halted[1].contains("native-futex") && halted[1].contains(" 7.00 "));
    assert!(rows.iter().any(|row| row.contains("start skew")), "{rows:#?}");
    assert!(rows.iter().any(|row| row.contains(" pairs ")), "{rows:#?}");
    assert!(widest(&render(&divided_run(), 80, true)) <= 80);
}

#[test]
fn a_bound_is_no_number() {
    let mut measurement = divided_run();
    for cell in &mut measurement.cells {
        for times in &mut cell.times_native {
            (times.ratio, times.ci95, times.at_least) = (None, None, Some(5.5));
        }
    }
    let report = render(&measurement, 120, true);
    assert!(line(&report, "x2apic  user").contains(" ≥ 5.50 "), "{report}");
    assert!(!report.contains("busy vCPU costs"), "a bound is no verdict");
}

#[test]
fn native_rows_are_of_the_threads_stamps() {
    let title = |routes: &[&str]| {
        let mut measurement = divided_run();
        measurement.cells.iter_mut().for_each(|cell| cell.beside &= !routes.contains(&cell.id.route.name()));
        if !routes.contains(&"x2apic") {
            measurement.cells.retain(|cell| cell.id.route.name().starts_with("native"));
        }
        render(&measurement, 120, false).lines().find(|line| line.starts_with("Broadcast calls")).map(str::to_owned)
    };
    let titles = [title(&["x2apic"]), title(&["x2apic", "native-rseq"]), title(&["native-rseq", "native-futex"])];
    assert_eq!(
        titles.map(|title| title.expect("a title")),
        [
            "Broadcast calls, by the guest's time stamps",
            "Broadcast calls, by the guest's time stamps, native ones by the threads'",
            "Broadcast calls, by the threads' time stamps",
        ]
    );
}
