//! The native routes beside a virtual machine's: one run measures both, and each says what it is.

use guest_stub::abi::{Destination, TargetState};
use kipi::config::routes::Route;
use kipi::guest::session::Limits;
use kipi::results::machine::LocalApics;
use kipi::results::measurement::{Cell, Measurement};
use kipi::results::metric::MetricName;
use kipi_tests::{Ran, boot, document, hypervisor, kipi, machine, run_tests, test, turn};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// Whether two threads can be busy at once, and there is a virtual machine to be measured beside them.
fn can_run() -> bool {
    hypervisor().is_some() && std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() >= 2)
}

fn measured(arguments: &[&str]) -> (Ran, Measurement) {
    let common = ["--vcpus", "2", "--target-state", "user", "--observe", "guest", "--rounds", "40", "--json", "-"];
    let ran = kipi(common.iter().chain(arguments));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let measurement = serde_json::from_value(document(&ran.stdout)).expect("a measurement");
    (ran, measurement)
}

fn cell(measurement: &Measurement, route: Route, destination: Destination) -> &Cell {
    let is_it = |cell: &&Cell| (cell.id.route, cell.id.destination) == (route, destination);
    measurement.cells.iter().find(is_it).unwrap_or_else(|| panic!("no {}", route.name()))
}

#[test]
fn a_native_call_is_measured_beside_a_virtual_one() {
    let _turn = turn();
    if !can_run() {
        return;
    }
    let (_, found) = measured(&["--route", "native-rseq,xapic", "--destination", "all-but-self,unicast"]);
    for destination in [Destination::AllButSelf, Destination::Unicast] {
        let native = cell(&found, Route::NativeRseq, destination);
        assert_eq!(native.id.target_state, TargetState::User);
        assert!(native.integrity.is_clean() && native.rounds > 0, "{native:?}");
        assert!(native.rounds + native.not_in_state >= native.rounds_asked, "{native:?}");
        let p50 = |metric| native.metrics.get(&metric).unwrap_or_else(|| panic!("no {metric:?}")).p50;
        let error = native.clock.error_ns.expect("threads are pinned, and compared");
        assert!(p50(MetricName::Delivery) + error >= 0.0);
        assert!(p50(MetricName::Delivery) <= p50(MetricName::RoundTrip) + error);
        assert!(native.metrics.contains_key(&MetricName::StartSkew));
        assert!(native.exits.is_empty() && native.observer_effect.is_empty(), "nothing exits");
    }
    let of = |place| found.instruments.iter().find(|it| it.local_apic == place).expect("a machine");
    let (native, guest) = (of(None), of(Some(LocalApics::Kernel)));
    assert_eq!((native.exit_leg_ns.n, native.exit_round_trip_ns.n), (0, 0));
    assert!(native.stamp_ns.n > 0 && guest.exit_leg_ns.n > 0);
    assert!(native.clock.method.contains("CLOCK_MONOTONIC_RAW"), "{}", native.clock.method);
    assert!(found.references.iter().all(|reference| !reference.blocks.is_empty()), "exits are the guest's");
}

#[test]
fn a_bare_interrupt_has_a_round_trip_and_no_arrival() {
    let _turn = turn();
    if !can_run() {
        return;
    }
    let routes = ["--call", "ping", "--route", "native,native-rseq", "--destination", "all-but-self,unicast"];
    // With a sweep over the initiators, and every format.
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let file = |name: &str| directory.path().join(name).to_str().expect("a plain path").to_owned();
    let (csv, html) = (file("samples.csv"), file("page.html"));
    let (_, found) = measured(&[&routes[..], &["--csv", &csv, "--html", &html]].concat());
    assert_eq!(found.cells.len(), 3, "native-rseq has no ping of all");
    for cell in &found.cells {
        assert!(cell.integrity.is_clean() && cell.rounds > 0, "{cell:?}");
        assert!(cell.metrics.contains_key(&MetricName::RoundTrip));
        let has_arrivals = cell.metrics.contains_key(&MetricName::Delivery);
        assert_eq!(has_arrivals, cell.id.route == Route::NativeRseq, "{}", cell.id);
        assert_eq!(cell.by_initiator.len(), 2, "either thread calls");
    }
    assert_eq!(found.instruments.len(), 1, "one machine, and no virtual one");
    let samples = std::fs::read_to_string(&csv).expect("the samples");
    assert!(samples.lines().any(|line| line.contains("native-rseq")));
    assert!(std::fs::read_to_string(&html).expect("the page").contains("native-rseq"));
}

/// What is added, and what comes of it.
#[test]
fn a_virtual_call_is_told_in_native_ones() {
    let _turn = turn();
    if !can_run() {
        return;
    }
    let (_, found) = measured(&["--route", "xapic"]);
    let guest = cell(&found, Route::XApic, Destination::AllButSelf);
    let native = cell(&found, Route::NativeRseq, Destination::AllButSelf);
    assert!(native.times_native.is_empty() && found.cells.len() == 2);
    assert!(native.beside && !guest.beside, "nobody has asked for the native cell");
    if let Some(undivided) = found.undivided.first() {
        // Where others keep the CPUs busy, each pair may be disturbed.
        assert!(undivided.reason.contains("never quiet in one turn"), "{undivided:?}");
        return;
    }
    let metrics: Vec<_> = guest.times_native.iter().map(|times| times.metric).collect();
    assert_eq!(metrics, [MetricName::RoundTrip, MetricName::Delivery, MetricName::StartSkew]);
    let of_round_trip = guest.times_native(MetricName::RoundTrip).expect("it was measured in pairs");
    assert_eq!(of_round_trip.divisor, native.id);
    let ratio = of_round_trip.ratio.expect("a round trip takes some time");
    assert!((ratio - of_round_trip.own_ns / of_round_trip.divisor_ns).abs() < 1e-9, "{of_round_trip:?}");
    let (ran, alone) = measured(&["--route", "xapic", "--native", "none"]);
    assert!(alone.cells.len() == 1 && alone.cells[0].times_native.is_empty(), "{ran:?}");
}

#[test]
fn who_is_divided_by_nothing_says_why() {
    let _turn = turn();
    if !can_run() {
        return;
    }
    let cpu = sched_getaffinity(None).map(|may_use| (0..CpuSet::MAX_CPU).find(|&cpu| may_use.is_set(cpu)));
    let cpu = cpu.expect("the kernel says").expect("this test runs somewhere").to_string();
    let (_, found) = measured(&["--route", "xapic", "--vcpus", "2", "--pin", &cpu]);
    assert_eq!((found.cells.len(), found.undivided.len()), (1, 1));
    assert!(found.undivided[0].reason.contains("a CPU of its own"), "{:?}", found.undivided);
}

#[test]
fn threads_need_no_kvm() {
    let _turn = turn();
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) {
        return;
    }
    let (_, found) = measured(&["--route", "native-rseq", "--device", "/nonexistent/kvm"]);
    assert!(found.cells.len() == 1 && found.cells[0].rounds > 0, "{found:?}");
    let ran = kipi(["--route", "native-rseq,xapic", "--target-state", "user", "--device", "/nonexistent/kvm"]);
    assert_eq!(ran.status, Some(4), "a virtual machine does: {ran:?}");
}

/// Both say how fast the host's TSC runs: KVM by the kernel's calibration at its boot.
#[test]
fn the_frequency_of_the_tsc_is_that_which_kvm_says() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let limits = Limits { deadline: Duration::from_secs(20), settle: Duration::ZERO };
    let session = boot(&hypervisor, &machine(1), limits);
    let kipi::native::Frequency { khz, error_ppm } = kipi::native::frequency();
    let apart = khz.abs_diff(session.tsc_khz()) as f64 / khz as f64 * 1e6;
    // Beyond the measurement's own error, an early calibration is good to some hundred ppm.
    assert!(apart < error_ppm + 500.0, "{khz} kHz ± {error_ppm} ppm, KVM says {} kHz", session.tsc_khz());
}

#[test]
fn a_thread_is_refused_what_it_cannot_do() {
    let _turn = turn();
    if !can_run() {
        return;
    }
    let refused = |arguments: &[&str], needle: &str| {
        let ran = kipi(arguments);
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.complaint().contains(needle), "{arguments:?}: {}", ran.complaint());
    };
    refused(
        &["--route", "native-rseq", "--target-state", "halt"],
        "no idle CPU (pass --target-state user or --route x2apic)",
    );
    refused(
        &["--route", "native", "--target-state", "user"],
        "runs nothing of ours (pass --call ping or --route native-rseq)",
    );
    refused(&["--route", "native-rseq", "--vcpus", "1", "--target-state", "user"], "(pass --vcpus 2)");
    refused(&["--route", "native-rseq", "--vcpus", "1000", "--target-state", "user"], "(pass --vcpus 2)");
    refused(
        &["--route", "native-rseq", "--observe", "exits", "--target-state", "user"],
        "nothing exits (pass --observe guest or --route x2apic)",
    );
    refused(&["trace", "--route", "native-rseq"], "kipi measure --route native-rseq");
}
