//! A measurement and a trace made up for tests, small enough to know by heart.

use super::block::Block;
use super::clock::{CellClock, Clock};
use super::cpu_list::CpuList;
use super::disturbance::{Disturbance, Kind};
use super::exit_cost::ExitCost;
use super::exits::Exits;
use super::instruments::Instruments;
use super::integrity::Integrity;
use super::machine::{Interface, LocalApics};
use super::measurement::config::{Deadline, MeasurementConfig};
use super::measurement::host::Host;
use super::measurement::{Cell, IntervalScope, MEASUREMENT_SCHEMA, Measurement, Skipped, Spread};
use super::metric::{Intervals, Metric, MetricName, Unit};
use super::power::Power;
use super::source::Source;
use super::stage::Stage;
use super::standalone::Standalone;
use super::times::Times;
use super::topology::Topology;
use super::trace::{self, Call, Event, TRACE_SCHEMA, Trace, Which};
use guest_stub::abi::act::Act;
use guest_stub::abi::cell::{CellId, Observe, Route};
use guest_stub::abi::{Destination, TargetState};
use std::collections::BTreeMap;

/// The clocks' error.
const EPSILON_NS: f64 = 35.0;

/// Two cells, x2apic to spinning and to halted targets, with clock error 35 ns, and one combination skipped.
pub(crate) fn measurement() -> Measurement {
    Measurement {
        schema: MEASUREMENT_SCHEMA.to_owned(),
        date: Some("2025-11-27T08:00:00.000Z".to_owned()),
        command: vec!["kipi".to_owned()],
        started: Some(1_764_230_400.0),
        host: host(),
        config: config(),
        instruments: vec![instruments()],
        intervals: IntervalScope::WithinRun,
        references: Vec::new(),
        exit_costs: Vec::new(),
        cells: vec![cell("spin", 12_300.0), cell("halt", 842.0)],
        undivided: Vec::new(),
        skipped: vec![skipped("vmm", "spin", "KVM_CAP_X86_USER_SPACE_MSR is 0")],
        quiet: None,
        ran_on: Vec::new(),
        under: Vec::new(),
        sandbox: None,
        warnings: vec!["2 vCPUs on 2 CPUs leave none for the VMM".to_owned()],
        partial: false,
        error: None,
    }
}

/// The same, of the standalone image under KVM.
pub(crate) fn standalone() -> Measurement {
    let run = Standalone {
        door: "pvh".to_owned(),
        command_line: "route=x2apic state=spin,halt".to_owned(),
        log: "serial.log".to_owned(),
        imported_by: "0.1.0".to_owned(),
        listed: 4,
        tsc_source: "measured against the ACPI PM timer".to_owned(),
        tsc_error_ppm: 25,
    };
    let mut measurement = measurement();
    let host = &mut measurement.host;
    (host.kernel, host.kvm, host.standalone) = ("none".to_owned(), Vec::new(), Some(run));
    (host.nested, host.hypervisor) = (true, Some("KVMKVMKVM".to_owned()));
    measurement
}

/// A metric in ns: p50 as given, p90 1.5 times, p99 2 times, p99.9 3 times, max 4 times, min half of that; no values
/// below zero; 95 % of p50 within 5 %.
pub(crate) fn metric(p50: f64) -> Metric {
    Metric {
        unit: Unit::Ns,
        n: 1_000,
        negative: 0,
        min: 0.5 * p50,
        p50,
        p90: 1.5 * p50,
        p99: 2.0 * p50,
        p999: 3.0 * p50,
        max: 4.0 * p50,
        ci95: Intervals { p50: Some([0.95 * p50, 1.05 * p50]), p99: None },
        between_runs: None,
        clock_error: Some(0.0),
    }
}

/// What an act costs, with local APICs in KVM: so many ns, at the median and on average; one exit each.
pub(crate) fn exit_cost(act: Act, ns: f64) -> ExitCost {
    ExitCost {
        act,
        local_apic: LocalApics::Kernel,
        vcpus: 2,
        unavailable: None,
        given_up: None,
        missed: 0,
        cost: Some(metric(ns)),
        mean_ns: Some(ns),
        exits: Some(if act == Act::Nothing { 0.0 } else { 1.0 }),
        emulated: Some(0.0),
        returns: Some(0.0),
        blocks: Vec::new(),
        never_quiet: false,
    }
}

/// A cell of the guest's vantage with a round trip of so many ns; delivery 2 µs, start skew 20 ns (p50), 40 ns (p99).
pub(crate) fn cell(target_state: &str, round_trip: f64) -> Cell {
    let mut metrics = BTreeMap::from([
        (MetricName::SendCost, metric(200.0)),
        (MetricName::Delivery, metric(2_000.0)),
        (MetricName::StartSkew, metric(20.0)),
        (MetricName::Overlap, ratio(0.25)),
        (MetricName::RoundTrip, metric(round_trip)),
    ]);
    for (name, metric) in &mut metrics {
        metric.clock_error = name.clock_error(Some(EPSILON_NS), Some(1_000.0));
    }
    Cell {
        id: id("x2apic", target_state),
        beside: false,
        rounds: 1_000,
        rounds_asked: 1_000,
        not_in_state: 0,
        integrity: Integrity::default(),
        clock: CellClock { tsc_khz: 2_600_000, error_ns: Some(EPSILON_NS) },
        breakdown: None,
        halt: None,
        host_cpu: None,
        observer_effect: Vec::new(),
        by_initiator: Vec::new(),
        by_distance: Vec::new(),
        exits: vec![exits(Source::Stats, "exits", 2.0, 1.0), exits(Source::Vmm, "io", 0.01, 0.0)],
        metrics,
        round_trips: None,
        blocks: Vec::new(),
        never_quiet: false,
        times_native: Vec::new(),
        times_own_vmm: Vec::new(),
    }
}

/// The spinning cell again, seen from both vantages: the VMM's start skew 1 µs, the gap 980 ns, an exit 3 µs.
pub(crate) fn observed_cell() -> Cell {
    let mut cell = cell("spin", 20_000.0);
    cell.id.observe = Observe::Exits;
    for (name, p50) in
        [(MetricName::VmmStartSkew, 1_000.0), (MetricName::SkewGap, 980.0), (MetricName::ObservedExit, 3_000.0)]
    {
        cell.metrics.insert(name, metric(p50));
    }
    cell
}

/// Exits of one reason.
pub(crate) fn exits(source: Source, reason: &str, initiator: f64, per_target: f64) -> Exits {
    Exits { source, reason: reason.to_owned(), initiator, per_target }
}

/// A block without a number of its cell's metrics, and what disturbed it.
pub(crate) fn block(number: u32, boot: u32, disturbances: Vec<Disturbance>) -> Block {
    Block { number, boot, rounds: 50, metrics: BTreeMap::new(), halt: None, host_cpu: None, disturbances }
}

/// A wait of vCPU 1 for CPU 1.
pub(crate) fn disturbance() -> Disturbance {
    let kind = Kind::WaitedForCpu;
    Disturbance { kind, amount: 4e6, unit: kind.unit(), vcpu: Some(1), cpu: Some(1) }
}

/// A combination to all but self of 2 vCPUs that was skipped.
pub(crate) fn skipped(route: &str, target_state: &str, reason: &str) -> Skipped {
    Skipped { id: id(route, target_state), reason: reason.to_owned() }
}

fn ratio(p50: f64) -> Metric {
    Metric { unit: Unit::Ratio, ..metric(p50) }
}

/// Groups of CPUs, as a level of a topology has them.
pub(crate) fn groups<const N: usize>(groups: [&[usize]; N]) -> Vec<CpuList> {
    groups.into_iter().map(|cpus| cpus.iter().copied().collect()).collect()
}

fn host() -> Host {
    Host {
        key: Some("0123456789abcdef".to_owned()),
        kernel: "6.18.0".to_owned(),
        cpu: "AMD EPYC 9B14".to_owned(),
        microcode: Some("0xa101154".to_owned()),
        command_line: Some("BOOT_IMAGE=/vmlinuz-6.18.0 root=/dev/vda1 ro".to_owned()),
        cpus: vec![0, 1, 2, 5],
        topology: Topology::default(),
        kvm: vec!["kvm_amd".to_owned()],
        settings: BTreeMap::from([("kvm.halt_poll_ns".to_owned(), "200000".to_owned())]),
        apic_acceleration: Vec::new(),
        power: Power::default(),
        nested: true,
        hypervisor: Some("KVMKVMKVM".to_owned()),
        kipi: "0.1.0".to_owned(),
        standalone: None,
    }
}

fn config() -> MeasurementConfig {
    MeasurementConfig {
        vcpus: vec![2],
        calls: vec!["broadcast".to_owned()],
        routes: vec!["x2apic".to_owned(), "vmm".to_owned()],
        destinations: vec!["all-but-self".to_owned()],
        target_states: vec!["spin".to_owned(), "halt".to_owned()],
        idle_before_us: Vec::new(),
        waits: vec!["spin".to_owned()],
        observe: vec!["guest".to_owned()],
        trace: Vec::new(),
        rounds: 1_000,
        seconds: None,
        warmup: 10,
        boots: 10,
        repetitions: 0,
        worker: "empty".to_owned(),
        argument: 0,
        pin: Vec::new(),
        settle_us: Some(10),
        deadline_ms: None,
        deadlines: vec![Deadline { vcpus: 2, ms: 4_200 }],
        device: Some("/dev/kvm".to_owned()),
        guest: None,
        references: Some(true),
        native: Some(true),
        exit_costs: Some(false),
        from_every_vcpu: Some(false),
        limit_time: Some(false),
        latency_us: None,
        halt_poll_ns: None,
        injected_delay: None,
        injected_route: None,
        out_us: Some(200),
    }
}

fn instruments() -> Instruments {
    let spread = |p50: f64| Spread { n: 1_000, min: 0.5 * p50, p50, p99: 2.0 * p50, max: 4.0 * p50 };
    Instruments {
        vcpus: 2,
        local_apic: Some(LocalApics::Kernel),
        interface: Interface::Kvm,
        under: None,
        stamp_ns: spread(8.0),
        exit_leg_ns: spread(1_500.0),
        exit_round_trip_ns: spread(2_500.0),
        first_broadcast_ns: Some(41e6),
        boot_ns: Some(12e6),
        up_ns: None,
        instruction_ns: None,
        park_floor_ns: None,
        clock: Clock {
            tsc_khz: 2_600_000,
            error_ns: Some(EPSILON_NS),
            host_error_ns: 0.0,
            subtracted: vec![0, 0],
            method: "minimum round trip, 1000 exchanges".to_owned(),
        },
    }
}

/// A cell of the guest's vantage, to all but self of 2 vCPUs, by the names of its route and state.
pub(crate) fn id(route: &str, target_state: &str) -> CellId {
    let route = Route::from_name(route);
    let target_state = TargetState::from_name(target_state);
    let (route, target_state) = (route.expect("the name of a route"), target_state.expect("the name of a state"));
    CellId::broadcast(route, Destination::AllButSelf, target_state, 2)
}

/// A trace made up for tests: a call of vCPU 0 to vCPU 1.
pub(crate) fn trace() -> Trace {
    let event = |at_ns, vcpu, source, kind: &str, detail: &str, stage| Event {
        at_ns,
        vcpu: Some(vcpu),
        source,
        kind: kind.to_owned(),
        detail: detail.to_owned(),
        about: (kind == "kvm_apic_accept_irq").then_some(1),
        stage,
    };
    let stage = |stage, end_ns, cost_ns| trace::Stage { stage, end_ns, cost_ns };
    Trace {
        schema: TRACE_SCHEMA.to_owned(),
        date: None,
        command: Vec::new(),
        host: host(),
        config: trace::TraceConfig {
            id: id("x2apic", "halt"),
            rounds: 1,
            warmup: 3,
            waits: vec!["spin".to_owned()],
            trace: vec![Source::Vmm, Source::Kernel],
            worker: "stamp".to_owned(),
            argument: Some(0),
            pin: vec![0, 1],
            settle_us: Some(10),
            deadline_ms: None,
            deadlines: vec![Deadline { vcpus: 2, ms: 4_200 }],
            device: Some("/dev/kvm".to_owned()),
            guest: None,
            latency_us: None,
            halt_poll_ns: None,
            out_us: Some(200),
        },
        sources: vec![
            trace::Recorder { source: Source::Vmm, unavailable: None, lost: 0 },
            trace::Recorder { source: Source::Kernel, unavailable: Some("no permission".to_owned()), lost: 0 },
        ],
        rounds: 1,
        not_in_state: 0,
        integrity: Integrity::default(),
        clock: CellClock { tsc_khz: 1_000_000, error_ns: Some(EPSILON_NS) },
        calls: vec![Call {
            which: Which::Only,
            round: 0,
            begin_ns: 0.0,
            round_trip_ns: 600.0,
            last_target: Some(1),
            stages: vec![
                stage(Stage::SendExit, 20.0, 20.0),
                stage(Stage::Arrival, 300.0, 280.0),
                stage(Stage::Gate, 400.0, 100.0),
                stage(Stage::Worker, 520.0, 120.0),
                stage(Stage::Done, 600.0, 80.0),
            ],
            remainder_ns: 0.0,
            afterwards: vec![stage(Stage::Eoi, 610.0, 90.0)],
            events: vec![
                event(0.0, 0, Source::Guest, "send", "send", None),
                event(20.0, 0, Source::Kernel, "kvm_exit", "exit: msr", Some(Stage::SendExit)),
                event(40.0, 0, Source::Kernel, "kvm_apic_accept_irq", "IPI accepted for vCPU 1", None),
                event(90.0, 0, Source::Kernel, "kvm_entry", "entry", None),
                event(100.0, 0, Source::Guest, "sent", "sent", None),
                event(300.0, 1, Source::Guest, "arrival", "interrupt entry", Some(Stage::Arrival)),
                event(390.0, 0, Source::Guest, "worker_start", "worker begins", None),
                event(400.0, 1, Source::Guest, "worker_start", "worker begins", Some(Stage::Gate)),
                event(500.0, 0, Source::Guest, "worker_end", "worker ends", None),
                event(520.0, 1, Source::Guest, "worker_end", "worker ends", Some(Stage::Worker)),
                event(600.0, 0, Source::Guest, "completed", "everybody is done", Some(Stage::Done)),
                event(610.0, 1, Source::Vmm, "return", "KVM_RUN returns: apic-write 0xb0", None),
            ],
        }],
        breakdown: None,
        exits: Vec::new(),
        quiet: None,
        ran_on: Vec::new(),
        sandbox: None,
        warnings: vec!["made up".to_owned()],
    }
}

/// A metric over that of native-rseq, all but self of 2 threads: 50 pairs, 95 % of the ratio within 10 %.
pub(crate) fn times_native(metric: MetricName, own_ns: f64, divisor_ns: f64) -> Times {
    let ratio = own_ns / divisor_ns;
    Times {
        metric,
        divisor: id("native-rseq", "user"),
        pairs: 50,
        own_ns,
        divisor_ns,
        ratio: Some(ratio),
        ci95: Some([0.9 * ratio, 1.1 * ratio]),
        at_least: None,
    }
}
