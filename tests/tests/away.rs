//! Targets whose threads the VMM keeps from the guest, on real vCPUs: out, in an exit that it serves, or preempted by a competitor.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::{self, Route};
use kipi::config::{Call, CellId};
use kipi::events::exit::ExitKind;
use kipi::events::recording::Recording;
use kipi::events::samples::Block;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Limits, Session};
use kipi::host::Machine;
use kipi::results::source::Source;
use kipi::vm::{Hypervisor, VmConfig};
use kipi_tests::{HANG, block_that, hypervisor, machine, machine_of, run_tests, skip, test, turn};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

const ROUNDS: usize = 8;
/// Longer than a slow host takes from its targets' exits to a send.
const OUT: Duration = Duration::from_millis(2);

fn boot(hypervisor: &Hypervisor, config: &VmConfig<'static>) -> Session<'static> {
    let limits = Limits { deadline: HANG / 4, settle: Duration::from_micros(10) };
    let mut session = kipi_tests::boot(hypervisor, config, limits);
    session.set_out(OUT);
    session
}

/// A block of which some round counts: a host that is busy elsewhere may have a target come back before the send.
fn run(session: &mut Session<'_>, cell: CellId, initiator: usize) -> Block {
    run_recorded(session, cell, initiator, Recording::COUNTS)
}

fn run_recorded(session: &mut Session<'_>, cell: CellId, initiator: usize, recording: Recording) -> Block {
    let worker = Worker::Stamp;
    let spec = BlockSpec { cell, initiator, worker, argument: 0, recording, warmup: 1, rounds: ROUNDS };
    block_that(session, &spec, |block| {
        assert!(block.integrity.is_clean(), "{cell}: {:?}", block.integrity);
        assert_eq!(block.rounds.len() as u64 + block.not_in_state, ROUNDS as u64, "{cell}");
        !block.rounds.is_empty()
    })
}

/// Each target was away when the interrupt was sent, and arrived when it was back.
fn assert_away(session: &Session<'_>, block: &Block, cell: &CellId) {
    let clock = &session.vm().tsc().clock;
    for round in &block.rounds {
        let targets = round.participants.iter().filter(|it| Some(it.vcpu) != round.initiator);
        let backs: Vec<u64> = targets.clone().filter_map(|target| target.back).collect();
        assert_eq!(backs.len(), kipi::config::targets(cell), "{cell}: {round:?}");
        for target in targets {
            let (back, a) = target.back.zip(target.a).unwrap_or_else(|| panic!("{cell}: {round:?}"));
            // An estimate of an offset is off by its error at most.
            assert!(round.t1 <= back && back <= a + clock.host_apart(target.vcpu), "{cell}: {round:?}");
        }
    }
}

fn cell(route: Route, destination: Destination, target_state: TargetState, vcpus: usize) -> CellId {
    CellId::broadcast(route, destination, target_state, vcpus)
}

/// The routes by interrupt that this host offers, with machines that have two vCPUs, or one where the host calls it.
fn offered(hypervisor: &Hypervisor) -> impl Iterator<Item = (Route, VmConfig<'static>)> {
    let offers = hypervisor.offers();
    let can_be = move |route: &Route| routes::of(*route).interrupts() && routes::of(*route).lacks(offers).is_none();
    Route::ALL.iter().copied().filter(can_be).map(|route| {
        let vcpus = if routes::of(route).is_host() { 1 } else { 2 };
        (route, machine_of(route, vcpus))
    })
}

/// Two CPUs for two vCPUs, or why there are none.
fn two_cpus() -> Option<&'static [usize]> {
    let cpus = Machine::read().allowed_cpus.unwrap_or_default();
    if cpus.len() < 2 {
        skip("a caller and a target that is preempted need a CPU each");
        return None;
    }
    Some(cpus[..2].to_vec().leak())
}

#[test]
fn targets_that_are_out_arrive_when_they_are_back() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    for (route, config) in offered(&hypervisor) {
        let mut session = boot(&hypervisor, &config);
        for destination in [Destination::AllButSelf, Destination::Unicast] {
            let cell = cell(route, destination, TargetState::Out, config.vcpus);
            let block = run(&mut session, cell, 0);
            assert_away(&session, &block, &cell);
            let exits = block.exits.get(&(Source::Vmm, ExitKind::Out.name().to_owned()));
            assert!(exits.is_some_and(|exits| exits.targets >= block.exit_calls), "{cell}: {exits:?}");
        }
    }
}

/// What shows that targets were out is none of what is recorded.
#[test]
fn targets_are_out_whatever_is_recorded() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut session = boot(&hypervisor, &machine(2));
    let cell = cell(Route::XApic, Destination::AllButSelf, TargetState::Out, 2);
    for source in [Source::Guest, Source::Stats, Source::Vmm, Source::Kernel] {
        let block = run_recorded(&mut session, cell, 0, Recording::by(source));
        assert_away(&session, &block, &cell);
    }
}

#[test]
fn all_of_several_targets_are_out_at_once() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut session = boot(&hypervisor, &machine(3));
    // Two of three vCPUs may share a CPU, and then one of them is out for longer.
    session.set_out(10 * OUT);
    let cell = cell(Route::XApic, Destination::AllButSelf, TargetState::Out, 3);
    for initiator in 0..3 {
        let block = run(&mut session, cell, initiator);
        assert_away(&session, &block, &cell);
    }
}

#[test]
fn pinged_targets_are_out_or_preempted_too() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let Some(pin) = two_cpus() else { return };
    let mut session = boot(&hypervisor, &VmConfig { pin, ..machine(2) });
    for state in [TargetState::Out, TargetState::Preempted] {
        let cell = CellId { call: Call::Ping, ..cell(Route::XApic, Destination::Unicast, state, 2) };
        for initiator in 0..2 {
            let block = run(&mut session, cell, initiator);
            assert_away(&session, &block, &cell);
        }
    }
}

#[test]
fn preempted_targets_arrive_when_their_competitors_turn_is_over() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let Some(pin) = two_cpus() else { return };
    for (route, config) in offered(&hypervisor) {
        let mut session = boot(&hypervisor, &VmConfig { pin, ..config });
        let cell = cell(route, Destination::AllButSelf, TargetState::Preempted, config.vcpus);
        let block = run(&mut session, cell, 0);
        assert_away(&session, &block, &cell);
    }
}

/// What polls is preempted like what is interrupted.
#[test]
fn a_polling_target_is_preempted_too() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let Some(pin) = two_cpus() else { return };
    let mut session = boot(&hypervisor, &VmConfig { pin, ..machine(2) });
    let cell = cell(Route::Memory, Destination::AllButSelf, TargetState::Preempted, 2);
    let block = run(&mut session, cell, 1);
    assert_away(&session, &block, &cell);
}

/// Nobody competes with a thread that may run anywhere: its rounds are made, and none counts.
#[test]
fn without_a_competitor_no_round_counts() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let limits = Limits { deadline: Duration::from_secs(1), settle: Duration::ZERO };
    let mut session = kipi_tests::boot(&hypervisor, &machine(2), limits);
    let cell = cell(Route::XApic, Destination::AllButSelf, TargetState::Preempted, 2);
    let (worker, recording) = (Worker::Stamp, Recording::COUNTS);
    let spec = BlockSpec { cell, initiator: 0, worker, argument: 0, recording, warmup: 0, rounds: ROUNDS };
    let block = blocks::run(&mut session, &spec, None).expect("a block");
    assert_eq!((block.rounds.len(), block.not_in_state), (0, ROUNDS as u64));
    assert!(block.integrity.is_clean(), "{:?}", block.integrity);
}
