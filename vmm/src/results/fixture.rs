//! A measurement made up for tests, small enough to know by heart.

use crate::results::integrity::Integrity;
use crate::results::measurement::{
    Cell, CellClock, Clock, Config, Exits, Host, Instruments, Intervals, MEASUREMENT_SCHEMA, Measurement, Metric,
    Skipped, Spread,
};
use guest_stub::abi::cell::{CellId, Observe, Route};
use guest_stub::abi::{Destination, TargetState};
use std::collections::BTreeMap;

/// Two cells, x2apic to spinning and to halted targets, with clock error 35 ns, and one combination skipped.
pub(crate) fn measurement() -> Measurement {
    Measurement {
        schema: MEASUREMENT_SCHEMA.to_owned(),
        host: host(),
        config: config(),
        instruments: vec![instruments()],
        cells: vec![cell("spin", 12_300.0), cell("halt", 842.0)],
        skipped: vec![skipped("vmm", "spin", "KVM_CAP_X86_USER_SPACE_MSR is 0")],
        warnings: vec!["2 vCPUs on 2 CPUs leave none for the VMM".to_owned()],
        partial: false,
        error: None,
    }
}

/// A metric in ns: p50 as given, p90 1.5 times, p99 2 times, p99.9 3 times, max 4 times, min half of that; no values
/// below zero; 95 % of p50 within 5 %.
pub(crate) fn metric(p50: f64) -> Metric {
    Metric {
        unit: "ns".to_owned(),
        n: 1_000,
        negative: 0,
        min: 0.5 * p50,
        p50,
        p90: 1.5 * p50,
        p99: 2.0 * p50,
        p999: 3.0 * p50,
        max: 4.0 * p50,
        ci95: Intervals { p50: Some([0.95 * p50, 1.05 * p50]), p99: None },
    }
}

/// A cell of the guest's vantage with a round trip of so many ns; delivery 2 µs, start skew 20 ns (p50), 40 ns (p99).
pub(crate) fn cell(target_state: &str, round_trip: f64) -> Cell {
    Cell {
        id: id("x2apic", target_state),
        rounds: 1_000,
        rounds_asked: 1_000,
        not_in_state: 0,
        integrity: Integrity::default(),
        clock: CellClock { tsc_khz: 2_600_000, error_ns: 35.0 },
        breakdown: None,
        observer_effect: Vec::new(),
        by_initiator: Vec::new(),
        exits: vec![exits("stats", "exits", 2.0, 1.0), exits("vmm", "io", 0.01, 0.0)],
        metrics: BTreeMap::from([
            ("send_cost".to_owned(), metric(200.0)),
            ("delivery".to_owned(), metric(2_000.0)),
            ("start_skew".to_owned(), metric(20.0)),
            ("overlap".to_owned(), ratio(0.25)),
            ("round_trip".to_owned(), metric(round_trip)),
        ]),
    }
}

/// The spinning cell again, seen from both vantages: the VMM's start skew 1 µs, the gap 980 ns, an exit 3 µs.
pub(crate) fn observed_cell() -> Cell {
    let mut cell = cell("spin", 20_000.0);
    cell.id.observe = Observe::Exits;
    for (name, p50) in [("vmm_start_skew", 1_000.0), ("skew_gap", 980.0), ("observed_exit", 3_000.0)] {
        cell.metrics.insert(name.to_owned(), metric(p50));
    }
    cell
}

/// Exits of one reason.
pub(crate) fn exits(source: &str, reason: &str, initiator: f64, per_target: f64) -> Exits {
    Exits { source: source.to_owned(), reason: reason.to_owned(), initiator, per_target }
}

/// A combination to all but self of 2 vCPUs that was skipped.
pub(crate) fn skipped(route: &str, target_state: &str, reason: &str) -> Skipped {
    Skipped { id: id(route, target_state), reason: reason.to_owned() }
}

fn ratio(p50: f64) -> Metric {
    Metric { unit: "ratio".to_owned(), ..metric(p50) }
}

fn host() -> Host {
    Host {
        kernel: "6.18.0".to_owned(),
        cpu: "AMD EPYC 9B14".to_owned(),
        cpus: vec![0, 1, 2, 5],
        kvm: vec!["kvm_amd".to_owned()],
        settings: BTreeMap::from([("kvm.halt_poll_ns".to_owned(), "200000".to_owned())]),
        nested: true,
        kipi: "0.1.0".to_owned(),
    }
}

fn config() -> Config {
    Config {
        vcpus: vec![2],
        routes: vec!["x2apic".to_owned(), "vmm".to_owned()],
        destinations: vec!["all-but-self".to_owned()],
        target_states: vec!["spin".to_owned(), "halt".to_owned()],
        observe: vec!["guest".to_owned()],
        trace: Vec::new(),
        rounds: 1_000,
        warmup: 10,
        worker: "empty".to_owned(),
        argument: 0,
        pin: Vec::new(),
    }
}

fn instruments() -> Instruments {
    let spread = |p50: f64| Spread { n: 1_000, min: 0.5 * p50, p50, p99: 2.0 * p50, max: 4.0 * p50 };
    Instruments {
        vcpus: 2,
        local_apic: "kernel".to_owned(),
        stamp_ns: spread(8.0),
        exit_leg_ns: spread(1_500.0),
        exit_round_trip_ns: spread(2_500.0),
        first_broadcast_ns: Some(41e6),
        boot_ns: 12e6,
        clock: Clock { tsc_khz: 2_600_000, error_ns: 35.0, method: "minimum round trip, 1000 exchanges".to_owned() },
    }
}

/// A cell of the guest's vantage, to all but self of 2 vCPUs, by the names of its route and state.
pub(crate) fn id(route: &str, target_state: &str) -> CellId {
    let route = Route::ALL.iter().copied().find(|known| known.name() == route);
    let target_state = TargetState::ALL.iter().copied().find(|known| known.name() == target_state);
    CellId {
        route: route.expect("the name of a route"),
        destination: Destination::AllButSelf,
        target_state: target_state.expect("the name of a state"),
        vcpus: 2,
        observe: Observe::Guest,
    }
}
