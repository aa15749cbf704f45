//! How long halted targets had been in HLT, and how KVM woke them, on real vCPUs.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::{self, Route};
use kipi::config::{Call, CellId, LocalApics};
use kipi::events::clock;
use kipi::events::recording::Recording;
use kipi::events::samples::Block;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Error, Limits, Session};
use kipi::results::halts::Regime;
use kipi::vm::{Hypervisor, VmConfig};
use kipi_tests::{HANG, hypervisor, machine, turn};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

static NEVER: AtomicBool = AtomicBool::new(false);

const VCPUS: usize = 2;
const ROUNDS: usize = 10;
/// Long enough for a target to get from readiness into HLT.
const IDLE_US: u32 = 300;

fn boot(hypervisor: &Hypervisor, config: &VmConfig<'static>) -> Session<'static> {
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    Session::boot(hypervisor, config, limits, &NEVER).unwrap_or_else(|error| panic!("{config:?}: {error}"))
}

/// A block of a cell in which every round counts: a host that is busy elsewhere may keep a target from its HLT.
fn run(session: &mut Session<'_>, cell: CellId) -> Block {
    const TRIES: usize = 50;
    let spec = BlockSpec {
        cell,
        initiator: 0,
        worker: Worker::Stamp,
        argument: 0,
        recording: Recording::COUNTS,
        warmup: 2,
        rounds: ROUNDS,
    };
    for _ in 0..TRIES {
        let block = blocks::run(session, &spec, None).unwrap_or_else(|error| panic!("{cell}: {error}"));
        if block.rounds.len() == ROUNDS {
            return block;
        }
    }
    panic!("{cell}: in {TRIES} blocks, no {ROUNDS} rounds in a row found every target halted");
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

#[test]
fn targets_have_been_halted_for_as_long_as_was_asked_for() {
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    assert_halted_as_asked(&hypervisor, &mut boot(&hypervisor, &machine(VCPUS)));
}

/// Less than the time in HLT, so that nothing but the result shows who leaves it out: a target's stamp seems to be that much older.
#[test]
fn a_targets_stamp_is_brought_onto_the_clock_that_waits() {
    const AHEAD: i64 = 200_000;
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    let config = VmConfig { tsc_shifts: &[AHEAD, 0], ..machine(VCPUS) };
    let mut session = match Session::boot(&hypervisor, &config, limits, &NEVER) {
        Ok(session) => session,
        Err(error @ Error::Vm(_)) => return println!("SKIP: this KVM moves no vCPU's TSC: {error}"),
        Err(error) => panic!("{error}"),
    };
    if session.vm().tsc().clock.subtracted() == [0, 0] {
        return println!("SKIP: this KVM takes a TSC offset, and the guest goes on to read the host's TSC");
    }
    assert_halted_as_asked(&hypervisor, &mut session);
}

fn assert_halted_as_asked(hypervisor: &Hypervisor, session: &mut Session<'_>) {
    // What a clock may be off where offsets are estimated, and what an emulated one makes of it.
    let asked = clock::cycles(Duration::from_micros(u64::from(IDLE_US) * 9 / 10), session.tsc_khz());
    let by_nmi = CellId { destination: Destination::Unicast, ..halted(Route::Nmi) };
    let broadcasts = [Route::X2Apic, Route::XApic, Route::Msi, Route::Host].map(halted);
    let pings = [Route::X2Apic, Route::XApic, Route::Msi].map(pinged);
    for cell in broadcasts.into_iter().chain([by_nmi]).chain(pings) {
        let route = cell.route;
        if routes::of(route).lacks(hypervisor.offers()).is_some() {
            println!("SKIP {}: this host does not offer it", route.name());
            continue;
        }
        let block = run(session, cell);
        let mut times = Vec::new();
        for round in &block.rounds {
            for each in &round.participants {
                let is_target = Some(each.vcpu) != round.initiator;
                assert_eq!(each.halted.is_some(), is_target, "{cell}, vCPU {}: {round:?}", each.vcpu);
                times.extend(each.halted.map(|halted| round.t0.wrapping_sub(halted)));
            }
        }
        // The median: the time from the end of a wait to the send, which the wait is shorter by, is that of a few rounds, and
        // another round may take less.
        times.sort_unstable();
        let median = times[times.len() / 2];
        assert!(median >= asked, "{cell}: {median} cycles in HLT, of {asked}: {times:?}");
    }
    let spinning = CellId::broadcast(Route::XApic, Destination::AllButSelf, TargetState::Spin, VCPUS);
    let block = run(session, spinning);
    assert!(block.rounds.iter().flat_map(|round| &round.participants).all(|each| each.halted.is_none()));
    assert_eq!(block.wakeups, None, "nobody was halted");
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
            return println!("SKIP: this KVM does not count wake-ups (KVM_GET_STATS_FD)");
        };
        let targets = if routes::of(cell.route).is_host() { VCPUS } else { VCPUS - 1 };
        let expected = (ROUNDS * targets) as u64;
        let context = format!("{cell}, halt_poll_ns {halt_poll_ns:?}: {wakeups:?} of {expected}");
        // A thread that is about to sleep when it is woken counts as both.
        let all = wakeups.polled + wakeups.blocked;
        assert!((expected..=2 * expected).contains(&all), "warm-up and the end of the block are left out: {context}");
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
        return println!("SKIP: no local APICs in user space on this host");
    }
    let mut session = boot(&hypervisor, &VmConfig { local_apics: LocalApics::User, ..machine(VCPUS) });
    let block = run(&mut session, halted(Route::VmmXApic));
    assert!(block.rounds.iter().all(|round| round.participants[1].halted.is_some()), "{:?}", block.rounds);
    if let Some(wakeups) = block.wakeups {
        assert_eq!((wakeups.polled, wakeups.blocked), (0, 0), "{wakeups:?}");
    }
}
