//! What calls take of the host's CPUs, on real vCPUs and on the host's own processors.

use guest_stub::abi::{Destination, TargetState};
use kipi::config::routes::{self, Route};
use kipi::config::{Call, CellId};
use kipi::events::recording::Recording;
use kipi::events::samples::CpuTime;
use kipi::experiment::machine::{Machine, VirtualMachine};
use kipi::experiment::native::NativeMachine;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::Limits;
use kipi::vm::{Hypervisor, VmConfig};
use kipi_tests::{HANG, NEVER, hypervisor, machine, run_tests, skip, test, turn};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

const VCPUS: usize = 2;
const ROUNDS: usize = 40;
/// Of a host that is busy elsewhere, one block may tell little.
const BLOCKS: usize = 15;

const LIMITS: Limits = Limits { deadline: HANG.checked_div(4).unwrap(), settle: Duration::from_micros(20) };

/// The scheduler's clock and CLOCK_MONOTONIC_RAW run at rates that differ by less.
const RATES: f64 = 1.001;

fn spec(cell: CellId) -> BlockSpec {
    let (worker, recording) = (guest_stub::abi::Worker::Stamp, Recording::COUNTS);
    BlockSpec { cell, initiator: 0, worker, argument: 0, recording, warmup: 3, rounds: ROUNDS }
}

fn cell(route: Route, state: TargetState) -> CellId {
    CellId::broadcast(route, Destination::AllButSelf, state, VCPUS)
}

/// What the scheduler says of a thread: the time that it ran, up to its last tick or switch, and that it waited for a CPU, ns.
fn schedstat(thread: u32) -> [u64; 2] {
    let text =
        std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).expect("a thread of this process");
    let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
    [(); 2].map(|()| numbers.next().expect("two numbers"))
}

fn times(machine: &mut impl Machine, cell: CellId) -> Vec<CpuTime> {
    let block = |_| machine.run_block(&spec(cell)).unwrap_or_else(|error| panic!("{cell}: {error}"));
    (0..BLOCKS).map(block).map(|block| block.cpu.unwrap_or_else(|| panic!("{cell}: no clocks"))).collect()
}

fn boot(hypervisor: &Hypervisor, halt_poll_ns: Option<u32>) -> VirtualMachine<'static> {
    let config = VmConfig { halt_poll_ns, ..machine(VCPUS) };
    let session = kipi_tests::boot(hypervisor, &config, LIMITS);
    VirtualMachine::new(session, None, config.pin, &[0, 1])
}

/// How much of the time that passed the threads had, the most of all blocks: the one that others disturbed least.
fn most(times: &[CpuTime], of: impl Fn(&CpuTime) -> u64) -> f64 {
    times.iter().map(|cpu| of(cpu) as f64 / cpu.wall_ns as f64).fold(0.0, f64::max)
}

/// No thread can have had more than has passed.
fn check(times: &[CpuTime], context: &str) {
    for cpu in times {
        let of_one = cpu.wall_ns as f64 * RATES;
        let targets = cpu.targets_ns + cpu.others_ns;
        assert_eq!(cpu.rounds, ROUNDS as u64, "{context}: {cpu:?}");
        assert!(cpu.initiator_ns > 0 && cpu.initiator_ns as f64 <= of_one, "{context}: {cpu:?}");
        assert!(targets > 0 && targets as f64 <= of_one * (VCPUS - 1) as f64, "{context}: {cpu:?}");
    }
}

#[test]
fn busy_vcpus_have_all_of_the_time_that_passes_but_what_they_wait_for_a_cpu() {
    /// By so much `schedstat` may be behind: a few ticks of 10 ms.
    const BEHIND_NS: u64 = 40_000_000;
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let mut session = kipi_tests::boot(&hypervisor, &machine(VCPUS), LIMITS);
    let threads: Vec<u32> = (0..VCPUS).filter_map(|vcpu| session.vm().thread_id(vcpu)).collect();
    let pings = CellId { call: Call::Ping, destination: Destination::Unicast, ..cell(Route::XApic, TargetState::User) };
    for cell in [cell(Route::XApic, TargetState::User), cell(Route::Memory, TargetState::Spin), pings] {
        let mut most: f64 = 0.0;
        for _ in 0..BLOCKS {
            let before: Vec<[u64; 2]> = threads.iter().map(|&thread| schedstat(thread)).collect();
            let block = blocks::run(&mut session, &spec(cell), None).unwrap_or_else(|error| panic!("{cell}: {error}"));
            let after: Vec<[u64; 2]> = threads.iter().map(|&thread| schedstat(thread)).collect();
            let cpu = block.cpu.expect("the clocks were read");
            check(&[cpu], &cell.to_string());
            let [ran, waited] = [0, 1].map(|what| {
                let pairs = before.iter().zip(&after);
                pairs.map(|(before, after)| after[what] - before[what]).sum::<u64>()
            });
            // The rounds that count are a part of the block.
            assert!(cpu.total_ns() <= ran + BEHIND_NS, "{cell}: {cpu:?}, ran for {ran}");
            most = most.max((cpu.total_ns() + waited) as f64 / (cpu.wall_ns * VCPUS as u64) as f64);
        }
        assert!(most > 0.9, "{cell}: busy or waiting for {most} of the time");
    }
}

#[test]
fn halted_vcpus_pay_for_halt_polling() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    if routes::of(Route::XApic).lacks(hypervisor.offers()).is_some() {
        return skip("no local APICs in the kernel on this host");
    }
    // Long enough that a poll of as long costs more than a wake-up.
    let halted = CellId { idle_before_us: Some(400), ..cell(Route::XApic, TargetState::Halt) };
    let least = |halt_poll_ns| {
        let times = times(&mut boot(&hypervisor, Some(halt_poll_ns)), halted);
        check(&times, &halted.to_string());
        times.iter().map(|cpu| cpu.targets_ns as f64 / cpu.wall_ns as f64).fold(1.0, f64::min)
    };
    let [polled, blocked] =
        [most(&times(&mut boot(&hypervisor, Some(2_000_000)), halted), |cpu| cpu.targets_ns), least(0)];
    assert!(polled > blocked, "with halt polling {polled} of a CPU, without {blocked}");
}

#[test]
fn an_event_recorder_is_not_in_the_figures_and_several_callers_have_none() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let mut machine = boot(&hypervisor, None);
    let observed = BlockSpec {
        recording: Recording::by(kipi::results::source::Source::Vmm),
        ..spec(cell(Route::Memory, TargetState::Spin))
    };
    let mesh = CellId { call: Call::Ping, destination: Destination::Mesh, ..cell(Route::XApic, TargetState::Spin) };
    for spec in [observed, spec(mesh)] {
        let block = machine.run_block(&spec).unwrap_or_else(|error| panic!("{}: {error}", spec.cell));
        assert_eq!(block.cpu, None, "{}", spec.cell);
    }
}

#[test]
fn the_hosts_thread_counts_where_it_calls() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    if routes::of(Route::Host).lacks(hypervisor.offers()).is_some() {
        return skip("this host does not offer the route");
    }
    for cpu in times(&mut boot(&hypervisor, None), cell(Route::Host, TargetState::Halt)) {
        assert!(cpu.initiator_ns > 0 && cpu.initiator_ns as f64 <= cpu.wall_ns as f64 * RATES, "{cpu:?}");
        assert!(cpu.targets_ns > 0, "both vCPUs are called: {cpu:?}");
    }
}

#[test]
fn native_threads_have_the_same_figures() {
    let _turn = turn();
    let cpus = kipi::host::Machine::read().allowed_cpus.unwrap_or_default();
    if cpus.len() < VCPUS {
        return skip(format_args!("fewer than {VCPUS} CPUs"));
    }
    let mut machine = match NativeMachine::start(VCPUS, &cpus[..VCPUS], LIMITS, &NEVER) {
        Ok(machine) => machine,
        Err(error) => return skip(error),
    };
    for cell in [
        cell(Route::NativeRseq, TargetState::User),
        CellId { call: Call::Ping, ..cell(Route::Native, TargetState::User) },
    ] {
        let times = times(&mut machine, cell);
        check(&times, &cell.to_string());
    }
}
