//! Broadcast calls on real vCPUs: everybody takes part, once, in the right order, whatever the route.

use guest_stub::abi::{Destination, RING_SAMPLES, TargetState, Worker};
use kipi::config::routes::{self, Route};
use kipi::config::{self, Call, CellId, HostOffers, Interface, LocalApics, Observe};
use kipi::events::recording::Recording;
use kipi::events::samples::{Block, Participant, Round};
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Error, Limits, Session};
use kipi::guest::{calibration, clock_exchange};
use kipi::results::source::Source;
use kipi::statistics::clock_error::{self, Ahead};
use kipi::vm::{Hypervisor, VmConfig};
use kipi_tests::{HANG, NEVER, block_that, hypervisor, machine, machine_of, run_tests, skip, test, turn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    run_tests()
}

const HALTED: CellId = CellId::broadcast(Route::X2Apic, Destination::AllButSelf, TargetState::Halt, 2);

/// Targets that poll a cache line.
const POLLED: CellId = CellId { route: Route::Memory, target_state: TargetState::Spin, ..HALTED };

/// A call by interrupt to halted targets, with a worker that is empty.
const CALL: BlockSpec = BlockSpec {
    cell: HALTED,
    initiator: 0,
    worker: Worker::Stamp,
    argument: 7,
    recording: Recording::COUNTS,
    warmup: 0,
    rounds: 4,
};

/// Boots on the CPUs that there are; the deadline only guards against a hang.
fn boot(hypervisor: &Hypervisor, vcpus: usize) -> Session<'static> {
    boot_config(hypervisor, &machine(vcpus))
}

fn boot_config(hypervisor: &Hypervisor, config: &VmConfig<'static>) -> Session<'static> {
    // One vCPU waits for nobody: what it waits for would never come.
    let deadline = if config.vcpus == 1 { HANG / 60 } else { HANG / 4 };
    // Long enough for a target to get from readiness into HLT.
    let limits = Limits { deadline, settle: Duration::from_micros(100) };
    kipi_tests::boot(hypervisor, config, limits)
}

/// A block in which at least one round counts. A host that is busy elsewhere may keep a target from its HLT, which makes
/// a whole block of `halt` rounds worthless: then another is run.
fn run(machine: &mut Session<'_>, spec: &BlockSpec) -> Block {
    let spec = &BlockSpec { cell: CellId { vcpus: machine.vcpus(), ..spec.cell }, ..*spec };
    block_that(machine, spec, |block| {
        assert!(block.integrity.is_clean(), "{spec:?}: {:?}", block.integrity);
        assert_eq!(block.exit_calls, (spec.warmup + spec.rounds) as u64, "{spec:?}");
        assert_eq!(block.rounds.len() as u64 + block.not_in_state, spec.rounds as u64, "{spec:?}");
        // Nothing takes a target out of a loop.
        assert!(
            block.not_in_state == 0 || spec.cell.target_state == TargetState::Halt,
            "{spec:?}: {}",
            block.not_in_state
        );
        let generations: Vec<u32> = block.rounds.iter().map(|round| round.generation).collect();
        assert!(generations.is_sorted_by(|a, b| a < b), "{spec:?}: {generations:?}");
        !block.rounds.is_empty()
    })
}

/// The clock error between any two vCPUs.
fn clock_error(machine: &mut Session<'_>) -> u64 {
    let partners = 1..machine.vcpus();
    let exchange = |partner| {
        let made =
            clock_exchange::exchange(machine, partner, Duration::from_millis(200)).expect("an exchange of stamps");
        Ahead::of(&made).unwrap_or_else(|| panic!("no exchange of stamps with vCPU {partner}")).bound()
    };
    clock_error::skew_error(partners.map(exchange).collect())
}

/// What causality demands of a round's stamps, where two clocks may differ by `error`.
fn assert_causal(round: &Round, spec: &BlockSpec, vcpus: usize, error: u64) {
    let context = || format!("{spec:?}, error {error}: {round:?}");
    let before = |early: u64, late: u64| early <= late.saturating_add(error);
    let worker = |each: &Participant| each.w.zip(each.x).unwrap_or_else(|| panic!("no worker: {}", context()));
    let indices: Vec<usize> = round.participants.iter().map(|each| each.vcpu).collect();
    assert_eq!(indices, (0..vcpus).collect::<Vec<_>>(), "{}", context());
    let initiator = &round.participants[0];
    if routes::of(spec.cell.route).is_host() {
        assert!(round.t0 > 0 && round.t0 <= round.t1 && round.t1 <= round.t2, "the host's stamps: {}", context());
    } else {
        let (w, x) = worker(initiator);
        let own = [round.t0, round.t1, w, x, round.t2];
        assert!(own.is_sorted() && own[0] > 0, "the initiator's own stamps: {}", context());
    }
    for each in &round.participants {
        let (w, x) = worker(each);
        let interrupted =
            each.vcpu > 0 || (spec.cell.destination == Destination::All && spec.cell.route != Route::Memory);
        let interrupted = routes::of(spec.cell.route).is_host() || (interrupted && vcpus > 1);
        assert_eq!(each.a.is_some(), interrupted, "vCPU {}: {}", each.vcpu, context());
        if let Some(a) = each.a {
            assert!(a <= w, "vCPU {} worked before it arrived: {}", each.vcpu, context());
            assert!(before(round.t0, a), "vCPU {} arrived before the send: {}", each.vcpu, context());
            for other in &round.participants {
                assert!(
                    before(a, worker(other).0),
                    "vCPU {} did not wait for {}: {}",
                    other.vcpu,
                    each.vcpu,
                    context()
                );
            }
        }
        assert!(w <= x && before(x, round.t2), "vCPU {}: {}", each.vcpu, context());
        assert_eq!(each.vmm.is_some(), spec.cell.observe == Observe::Exits, "vCPU {}: {}", each.vcpu, context());
        if let Some(vmm) = each.vmm {
            assert!(before(w, vmm) && before(vmm, x), "vCPU {}'s exit: {}", each.vcpu, context());
        }
    }
}

/// KVM's own count says that the targets halted.
fn assert_halted(block: &Block, spec: &BlockSpec, targets: u64) {
    let halts = block.exits.get(&(Source::Stats, "halt_exits".to_owned()));
    match halts {
        Some(halts) if spec.cell.target_state == TargetState::Halt && spec.cell.route != Route::Memory => {
            let expected = block.exit_calls * targets;
            assert!(halts.targets >= expected, "{spec:?}: {} HLT exits instead of {expected}", halts.targets);
        }
        _ => {}
    }
}

/// Twelve cells for each interrupt, two by memory.
const MASKABLE: &[Route] = &[Route::XApic, Route::X2Apic, Route::Memory];

fn can_be(route: Route, destination: Destination, target_state: TargetState) -> bool {
    let cell = CellId::broadcast(route, destination, target_state, 2);
    config::refuse(&cell, HostOffers::EVERYTHING).is_none()
}

/// The states that a guest brings itself into. Those that the VMM brings it into are tested in `away`, with a CPU for each vCPU.
fn states() -> impl Iterator<Item = TargetState> {
    TargetState::ALL.iter().copied().filter(|state| !state.is_away())
}

/// Every cell of the routes `over`: `expected` of them, or `without_x2apic`, each in two vantages.
fn every_cell(vcpus: usize, over: &[Route], expected: usize, without_x2apic: usize) {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot_config(&hypervisor, &machine_of(over[0], vcpus));
    let error = clock_error(&mut machine) + machine.vm().tsc().clock.host_error();
    let mut cells = 0;
    for &route in over.iter().filter(|&&route| !routes::of(route).is_x2apic() || hypervisor.offers_x2apic()) {
        for &destination in Destination::ALL {
            for target_state in states().filter(|&state| can_be(route, destination, state)) {
                for &observe in Observe::ALL {
                    let cell = CellId { observe, ..CellId::broadcast(route, destination, target_state, vcpus) };
                    let spec = BlockSpec { cell, warmup: 1, rounds: 6, ..CALL };
                    let block = run(&mut machine, &spec);
                    block.rounds.iter().for_each(|round| assert_causal(round, &spec, vcpus, error));
                    assert_halted(&block, &spec, vcpus as u64 - 1);
                    cells += 1;
                }
            }
        }
    }
    assert_eq!(cells, 2 * if hypervisor.offers_x2apic() { expected } else { without_x2apic });
}

#[test]
fn every_cell_of_two_vcpus() {
    every_cell(2, MASKABLE, 26, 14);
}

/// Apart from the others: an emulated processor may not survive it.
#[test]
fn nmis_reach_two_vcpus_in_every_state() {
    every_cell(2, &[Route::Nmi], 12, 12);
}

#[test]
fn every_cell_of_three_vcpus() {
    every_cell(3, MASKABLE, 26, 14);
}

#[test]
fn every_cell_by_messages_of_the_vmm() {
    every_cell(3, &[Route::Msi], 9, 9);
}

#[test]
fn every_cell_with_local_apics_in_user_space() {
    every_cell(3, &[Route::VmmXApic, Route::VmmX2Apic], 24, 12);
}

#[test]
fn every_cell_of_the_hosts_calls() {
    every_cell(2, &[Route::Host], 6, 6);
    every_cell(3, &[Route::VmmHost], 6, 6);
}

/// Starts `counts` of vCPUs by INIT and SIPI, and calls them all.
fn boot_and_broadcast(counts: &[usize]) {
    let _turn = turn();
    let Some(hypervisor) = hypervisor().filter(|hypervisor| {
        let offered = hypervisor.offers_x2apic();
        if !offered {
            skip("this KVM's CPUID offers guests no x2APIC mode");
        }
        offered
    }) else {
        return;
    };
    for &vcpus in counts {
        if vcpus > hypervisor.max_vcpus() {
            eprintln!("SKIP: {vcpus} vCPUs, this KVM allows {}", hypervisor.max_vcpus());
            continue;
        }
        let mut machine = boot(&hypervisor, vcpus);
        let block = run(&mut machine, &BlockSpec { rounds: 2, ..CALL });
        for round in &block.rounds {
            assert_eq!(round.participants.len(), vcpus);
            assert_eq!(round.targets().count(), vcpus - 1);
        }
    }
}

#[test]
fn few_vcpus_boot_and_answer() {
    boot_and_broadcast(&[1, 2, 8, 64]);
}

/// 255 are the most that 8-bit APIC ids reach, 300 need wider ones.
#[test]
fn hundreds_of_vcpus_boot_and_answer() {
    boot_and_broadcast(&[255, 300]);
}

/// With more vCPUs than CPUs here, targets in `halt` leave theirs to the others.
#[test]
fn any_vcpu_can_call() {
    const VCPUS: usize = 3;
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let machines = [
        (LocalApics::Kernel, Interface::Kvm),
        (LocalApics::Kernel, Interface::HyperV),
        (LocalApics::User, Interface::Kvm),
    ];
    for (local_apics, interface) in machines {
        let offers = hypervisor.offers();
        let usable = |route: &routes::Spec| {
            (route.local_apics(), route.interface()) == (Some(local_apics), interface)
                && !route.is_host()
                && route.lacks(offers).is_none()
        };
        let over: Vec<Route> = routes::those(usable).collect();
        if over.is_empty() {
            continue;
        }
        let mut machine = boot_config(&hypervisor, &VmConfig { local_apics, interface, ..machine(VCPUS) });
        for route in over {
            for &destination in Destination::ALL {
                for target_state in [TargetState::Halt, TargetState::Spin] {
                    if !can_be(route, destination, target_state) {
                        continue;
                    }
                    for initiator in 0..VCPUS {
                        let cell = CellId { route, destination, target_state, vcpus: VCPUS, ..HALTED };
                        let spec = BlockSpec { cell, initiator, rounds: 2, ..CALL };
                        let block = run(&mut machine, &spec);
                        assert_eq!(block.rounds.len() as u64 + block.not_in_state, 2, "{spec:?}");
                        for round in &block.rounds {
                            let interrupted: Vec<usize> = round.targets().map(|(vcpu, _)| vcpu).collect();
                            let itself = destination == Destination::All;
                            let expected: Vec<usize> = (0..VCPUS).filter(|&vcpu| itself || vcpu != initiator).collect();
                            assert_eq!((round.initiator, interrupted), (Some(initiator), expected), "{spec:?}");
                            assert!(round.t0 <= round.t1 && round.t1 <= round.t2, "{round:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn one_machine_changes_between_apic_modes() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 3);
    for &destination in Destination::ALL {
        for route in [Route::XApic, Route::X2Apic, Route::Memory, Route::X2Apic, Route::XApic, Route::Memory] {
            let target_state = if route == Route::Memory { TargetState::Spin } else { TargetState::Halt };
            if can_be(route, destination, target_state) && (route != Route::X2Apic || hypervisor.offers_x2apic()) {
                let cell = CellId { route, destination, target_state, ..HALTED };
                run(&mut machine, &BlockSpec { cell, rounds: 2, ..CALL });
            }
        }
    }
}

/// A block whose end comes before the VMM's next look at the flag does not hide it.
#[test]
fn an_interruption_ends_even_short_blocks() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let interrupted = AtomicBool::new(false);
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    let mut machine = Session::boot(&hypervisor, &machine(2), limits, &interrupted).expect("a machine");
    let spec = BlockSpec { cell: POLLED, rounds: 1, ..CALL };
    run(&mut machine, &spec);
    interrupted.store(true, Ordering::Relaxed);
    let result = blocks::run(&mut machine, &spec, None);
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
}

#[test]
fn a_lonely_vcpu_works_and_sends_nothing() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 1);
    // Its stamp of that interrupt stays in the ring.
    let destination = Destination::Itself;
    let itself =
        CellId { call: Call::Ping, route: Route::XApic, destination, target_state: TargetState::Spin, ..HALTED };
    run(&mut machine, &BlockSpec { cell: CellId { vcpus: 1, ..itself }, ..CALL });
    for route in [Route::XApic, Route::Memory] {
        for &destination in Destination::ALL.iter().filter(|&&it| can_be(route, it, TargetState::Spin)) {
            let cell = CellId { route, destination, target_state: TargetState::Spin, ..HALTED };
            let spec = BlockSpec { cell, ..CALL };
            let block = run(&mut machine, &spec);
            block.rounds.iter().for_each(|round| assert_causal(round, &spec, 1, 0));
            assert_eq!(block.rounds.iter().flat_map(Round::targets).next(), None, "{spec:?}: it was interrupted");
            let injected = block.exits.get(&(Source::Stats, "irq_injections".to_owned()));
            assert_eq!(injected.map_or(0, |count| count.initiator), 0, "{spec:?}: it interrupted itself");
        }
    }
}

/// A local APIC in user space has a TSC-deadline timer where KVM lets it, and only there.
#[test]
fn tsc_deadlines_are_tried() {
    let Some(hypervisor) = hypervisor() else { return };
    let exit = hypervisor.tsc_deadlines_exit().expect("a vCPU without a local APIC");
    if !exit {
        skip("this KVM loses what guests write to IA32_TSC_DEADLINE");
    }
    assert_eq!(hypervisor.tsc_deadlines_exit().expect("known"), exit);
}

#[test]
fn a_block_fills_the_sample_rings_to_the_last() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 2);
    let cell = CellId { observe: Observe::Exits, ..POLLED };
    let spec = BlockSpec { cell, rounds: RING_SAMPLES, ..CALL };
    let block = run(&mut machine, &spec);
    assert_eq!(block.rounds.len(), RING_SAMPLES);
    // Not one observed exit found its ring full.
    assert!(block.rounds.iter().all(|round| round.participants.iter().all(|each| each.vmm.is_some())));
    // The next block overwrites every sample of this one.
    let next = run(&mut machine, &spec);
    let last = block.rounds.last().map(|round| round.generation);
    assert!(next.rounds.first().map(|round| round.generation) > last);
}

#[test]
fn warm_up_is_run_and_thrown_away() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 2);
    let spin = BlockSpec { cell: POLLED, ..CALL };
    let first = run(&mut machine, &spin).rounds.last().map(|round| round.generation).expect("a round");
    let warm = run(&mut machine, &BlockSpec { warmup: 5, rounds: 1, ..spin });
    // Generations leave room for the gate's decision: they count in fours.
    assert_eq!(warm.rounds[0].generation, first + 6 * 4);
}

#[test]
fn the_spin_worker_lasts_as_long_as_it_is_told() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let mut machine = boot(&hypervisor, 2);
    for argument in [10_000, 5_000_000] {
        for &observe in Observe::ALL {
            let cell = CellId { route: Route::XApic, observe, ..HALTED };
            let spec = BlockSpec { cell, worker: Worker::Spin, argument, ..CALL };
            for round in run(&mut machine, &spec).rounds {
                let short =
                    round.participants.iter().find(|each| each.x.zip(each.w).is_none_or(|(x, w)| x - w < argument));
                assert!(short.is_none(), "{argument} cycles: {short:?}");
            }
        }
    }
}

#[test]
fn instruments_are_measured() {
    let _turn = turn();
    let Some(hypervisor) = hypervisor() else { return };
    let calibration = calibration::calibrate(&mut boot(&hypervisor, 1), 50).expect("a calibration");
    assert_eq!([calibration.stamp.len(), calibration.exit_leg.len(), calibration.exit_round_trip.len()], [50; 3]);
    let positive = calibration.instructions.iter().filter(|&&cycles| cycles > 0).count();
    assert!(calibration.instructions.len() == 50 && positive > 25, "{:?}", calibration.instructions);
    assert!(calibration.stamp.iter().all(|&cycles| cycles >= 0), "{:?}", calibration.stamp);
    let (legs, trips) = (&calibration.exit_leg, &calibration.exit_round_trip);
    assert!(legs.iter().zip(trips).all(|(leg, trip)| leg < trip), "{legs:?} {trips:?}");
}

/// A thread that runs elsewhere than the report would say measures something else.
#[test]
fn a_vcpu_that_cannot_be_pinned_does_not_run() {
    // No host has so many.
    const CPU: usize = 1023;
    let Some(hypervisor) = hypervisor() else { return };
    let _turn = turn();
    let config = VmConfig { pin: &[0, CPU], ..machine(2) };
    let limits = Limits { deadline: HANG / 4, settle: Duration::ZERO };
    let error = Session::boot(&hypervisor, &config, limits, &NEVER).expect_err("it is pinned to nothing");
    assert!(matches!(error, Error::Vm(kipi::vm::Error::NotPinned { vcpu: 1, cpu: CPU, .. })), "{error}");
    assert_eq!(error.to_string(), "vCPU 1 cannot be pinned to CPU 1023: Invalid argument (os error 22)");
}
