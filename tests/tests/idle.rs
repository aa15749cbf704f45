//! How long halted targets had been in HLT, and how KVM woke them, on real vCPUs.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::{self, Route};
use kipi::config::{Call, CellId, LocalApics};
use kipi::events::recording::Recording;
use kipi::events::samples::Block;
use kipi::guest::blocks::BlockSpec;
use kipi::guest::session::{Error, Limits, Session};
use kipi::results::halts::Regime;
use kipi::vm::{Hypervisor, VmConfig};
use kipi_tests::{HANG, NEVER, block_that, hypervisor, machine, run_tests, skip, test, turn};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

const VCPUS: usize = 2;
const ROUNDS: usize = 10;
/// Long enough for a target to get from readiness into HLT.
const IDLE_US: u32 = 300;

fn boot(hypervisor: &Hypervisor, config: &VmConfig<'static>) -> Session<'static> {
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    kipi_tests::boot(hypervisor, config, limits)
}

/// A block of a cell with an empty worker, in which every round counts.
fn run(session: &mut Session<'_>, cell: CellId) -> Block {
    run_with(session, cell, Worker::Stamp, 0)
}

/// A block of a cell in which every round counts: a host that is busy elsewhere may keep a target from its HLT.
fn run_with(session: &mut Session<'_>, cell: CellId, worker: Worker, argument: u64) -> Block {
    let recording = Recording::COUNTS;
    let spec = BlockSpec { cell, initiator: 0, worker, argument, recording, warmup: 2, rounds: ROUNDS };
    block_that(session, &spec, |block| block.rounds.len() == ROUNDS)
}

fn halted(route: Route) -> CellId {
    CellId {
        idle_before_us: Some(IDLE_US),
        ..CellId::broadcast(route, Destination::AllButSelf, TargetState::Halt, VCPUS)
    }
}

fn pinged(route: Route) -> CellId {
    CellId { call: Call::Ping, destination: Destination::Unicast, ..halted(route) }
}

/// The routes' broadcasts and pings, halted targets, that this host offers.
fn offered(hypervisor: &Hypervisor) -> Vec<CellId> {
    let by_nmi = CellId { destination: Destination::Unicast, ..halted(Route::Nmi) };
    let broadcasts = [Route::X2Apic, Route::XApic, Route::Msi, Route::Host].map(halted);
    let pings = [Route::X2Apic, Route::XApic, Route::Msi].map(pinged);
    let mut cells: Vec<CellId> = broadcasts.into_iter().chain([by_nmi]).chain(pings).collect();
    cells.retain(|cell| {
        let lacks = routes::of(cell.route).lacks(hypervisor.offers());
        lacks.inspect(|_| println!("SKIP {cell}: this host does not offer it")).is_none()
    });
    cells
}

/// How long each target of a block had been in HLT at the send, in cycles. Targets have a stamp of it, initiators have none.
fn times_in_hlt(block: &Block) -> Vec<u64> {
    let mut times = Vec::new();
    for round in &block.rounds {
        for each in &round.participants {
            assert_eq!(each.halted.is_some(), Some(each.vcpu) != round.initiator, "vCPU {}: {round:?}", each.vcpu);
            times.extend(each.halted.map(|halted| round.t0.wrapping_sub(halted)));
        }
    }
    times
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

fn idle(cell: CellId, idle_us: u32) -> CellId {
    CellId { idle_before_us: Some(idle_us), ..cell }
}

/// Long beside what lies between two rounds on most hosts.
const LONG_US: u32 = 2_000;

/// Blocks in turns, since a host may be slower now than then.
const TURNS: usize = 3;

#[test]
fn targets_are_halted_for_longer_where_longer_is_asked_for() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let mut session = boot(&hypervisor, &machine(VCPUS));
    for cell in offered(&hypervisor) {
        let shortest: Vec<u64> = (0..TURNS).flat_map(|_| times_in_hlt(&run(&mut session, idle(cell, 0)))).collect();
        // Far more than twice as long: a host may slow down by several times from one moment to the next.
        let shortest_us = u32::try_from(median(shortest) * 1_000 / session.tsc_khz()).expect("less than an hour");
        let asked = [0, LONG_US.max(10 * shortest_us)];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (asked, times) in asked.into_iter().zip(&mut times) {
                times.extend(times_in_hlt(&run(&mut session, idle(cell, asked))));
            }
        }
        let [short, long] = times.map(median);
        assert!(long >= 2 * short, "{cell}: of {asked:?} µs, {short} and {long} cycles in HLT");
    }
    let spinning = CellId::broadcast(Route::XApic, Destination::AllButSelf, TargetState::Spin, VCPUS);
    let block = run(&mut session, spinning);
    assert!(block.rounds.iter().flat_map(|round| &round.participants).all(|each| each.halted.is_none()));
    assert_eq!(block.wakeups, None, "nobody was halted");
}

/// A target's stamp that is not brought onto the clock of the initiator, which is ahead, seems to be older: the wait is shorter by
/// that. The worker is busy for so long that the stamp is never from before the send, which would not be believed.
#[test]
fn a_targets_stamp_is_brought_onto_the_clock_that_waits() {
    /// So long that it does not matter when a busy host gives a thread its CPU.
    const ASKED_US: u32 = 10_000;
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let mut equal = boot(&hypervisor, &machine(VCPUS));
    let asked = u64::from(ASKED_US) * equal.tsc_khz() / 1_000;
    let (busy, ahead) = (asked, asked / 2);
    let shifts = [ahead.cast_signed(), 0];
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    let config = VmConfig { tsc_shifts: &shifts, ..machine(VCPUS) };
    let mut shifted = match Session::boot(&hypervisor, &config, limits, &NEVER) {
        Ok(session) => session,
        Err(error @ Error::Vm(_)) => return skip(format_args!("this KVM moves no vCPU's TSC: {error}")),
        Err(error) => panic!("{error}"),
    };
    if shifted.vm().tsc().clock.subtracted() == [0, 0] {
        return skip("this KVM takes a TSC offset, and the guest goes on to read the host's TSC");
    }
    for cell in offered(&hypervisor).into_iter().filter(|cell| cell.call == Call::Broadcast) {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (session, times) in [&mut equal, &mut shifted].into_iter().zip(&mut times) {
                times.extend(times_in_hlt(&run_with(session, idle(cell, ASKED_US), Worker::Spin, busy)));
            }
        }
        let [equal, shifted] = times.map(median);
        let context = format!("{cell}: {equal} cycles in HLT, and with a clock that is {ahead} ahead, {shifted}");
        assert!(4 * shifted >= 3 * equal, "{context}");
    }
}

#[test]
fn kvms_counters_tell_how_the_targets_of_the_rounds_that_count_were_woken() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let cells = [halted(Route::XApic), halted(Route::Host), pinged(Route::XApic)];
    for (halt_poll_ns, cell) in [None, Some(0)].into_iter().flat_map(|poll| cells.map(|cell| (poll, cell))) {
        let mut session = boot(&hypervisor, &VmConfig { halt_poll_ns, ..machine(VCPUS) });
        let block = run(&mut session, cell);
        let Some(wakeups) = block.wakeups else {
            return skip("this KVM does not count wake-ups (KVM_GET_STATS_FD)");
        };
        let targets = if routes::of(cell.route).is_host() { VCPUS } else { VCPUS - 1 };
        let expected = (ROUNDS * targets) as u64;
        let context = format!("{cell}, halt_poll_ns {halt_poll_ns:?}: {wakeups:?} of {expected}");
        // A thread that is about to sleep when it is woken counts as both, or where it has not polled, as neither.
        let all = wakeups.polled + wakeups.blocked;
        assert!((expected / 2..=2 * expected).contains(&all), "of the rounds that count, and no others: {context}");
        assert!(wakeups.polled <= wakeups.attempted, "{context}");
        if halt_poll_ns == Some(0) {
            assert_eq!((wakeups.polled, wakeups.attempted), (0, 0), "{context}");
            assert_eq!(Regime::of_block(wakeups.polled, wakeups.blocked), Regime::Blocked, "{context}");
            assert!(wakeups.wait_ns > 0, "{context}");
        }
    }
}

#[test]
fn where_the_vmm_has_the_local_apics_kvm_wakes_nobody() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    if routes::of(Route::VmmXApic).lacks(hypervisor.offers()).is_some() {
        return skip("no local APICs in user space on this host");
    }
    let mut session = boot(&hypervisor, &VmConfig { local_apics: LocalApics::User, ..machine(VCPUS) });
    let block = run(&mut session, halted(Route::VmmXApic));
    assert!(block.rounds.iter().all(|round| round.participants[1].halted.is_some()), "{:?}", block.rounds);
    if let Some(wakeups) = block.wakeups {
        assert_eq!((wakeups.polled, wakeups.blocked), (0, 0), "{wakeups:?}");
    }
}
