//! What threads of the host cannot do, which stand in the vCPUs' places on the native routes.

use super::refusal::{Change, Refusal};
use super::routes::{self, Delivery, Route};
use super::{Call, CellId, Config, Observe};
use guest_stub::abi::{Destination, TargetState, Worker};

/// Why a cell cannot be measured natively; `None`: it can, or it is a virtual machine's.
pub(super) fn refuse(cell: &CellId) -> Option<Refusal> {
    let route = routes::of(cell.route);
    if !route.is_native() {
        return None;
    }
    let alone = || {
        let reason = "a thread alone interrupts nobody";
        (cell.vcpus < 2).then_some(Refusal::Combination(reason, &[Change::Vcpus(2)]))
    };
    by_call(cell.call, route.delivery)
        .or_else(|| by_destination(cell.destination))
        .or_else(|| by_state(cell.target_state, route.delivery))
        .or_else(|| by_vantage(cell.observe))
        .or_else(alone)
}

fn by_call(call: Call, delivery: Delivery) -> Option<Refusal> {
    (call == Call::Broadcast && delivery == Delivery::HostIpi).then_some(Refusal::Combination(
        "the kernel's interrupt runs nothing of ours",
        &[Change::Call(Call::Ping), Change::Route(Route::NativeRseq)],
    ))
}

fn by_destination(destination: Destination) -> Option<Refusal> {
    match destination {
        Destination::AllButSelf | Destination::Unicast => None,
        Destination::All | Destination::Logical | Destination::Itself | Destination::SelfIpi | Destination::Mesh => {
            Some(Refusal::Combination(
                "one thread has the kernel interrupt all others, or one by one",
                &[Change::Destination(Destination::Unicast), Change::Route(Route::X2Apic)],
            ))
        }
    }
}

fn by_state(state: TargetState, delivery: Delivery) -> Option<Refusal> {
    const USER: &[Change] = &[Change::TargetState(TargetState::User), Change::Route(Route::X2Apic)];
    const HALT: &[Change] = &[Change::TargetState(TargetState::Halt), Change::Route(Route::X2Apic)];
    let (reason, ways_out) = match (delivery == Delivery::WakeUp, state) {
        (true, TargetState::Halt) | (false, TargetState::User) => return None,
        (
            true,
            TargetState::Spin | TargetState::User | TargetState::Masked | TargetState::Preempted | TargetState::Out,
        ) => ("only a thread that sleeps is woken", HALT),
        (false, TargetState::Spin) => ("a thread of the host runs at CPL3", USER),
        (false, TargetState::Halt) => ("the kernel interrupts no idle CPU", USER),
        (false, TargetState::Masked) => ("a thread of the host cannot clear IF", USER),
        (false, TargetState::Preempted) => ("the kernel interrupts no CPU for a thread that is not running", USER),
        (false, TargetState::Out) => ("without a virtual machine there is no exit to be in", USER),
    };
    Some(Refusal::Combination(reason, ways_out))
}

fn by_vantage(observe: Observe) -> Option<Refusal> {
    match observe {
        Observe::Guest => None,
        Observe::Exits => Some(Refusal::Combination(
            "without a virtual machine nothing exits",
            &[Change::Observe(Observe::Guest), Change::Route(Route::X2Apic)],
        )),
    }
}

/// As [`refuse`], by what is no choice of a cell: the CPUs that its threads may use, and the worker.
pub(super) fn refuse_here(config: &Config, cell: &CellId) -> Option<Refusal> {
    const A_GUEST: &[Change] = &[Change::Route(Route::X2Apic)];
    if !routes::of(cell.route).is_native() {
        return None;
    }
    let cpus = config.shared_cpus();
    if cell.vcpus > cpus {
        let reason =
            "each thread needs a CPU of its own among those of --pin: the kernel interrupts the CPUs that run one";
        return Some(Refusal::Combination(reason, if cpus < 2 { A_GUEST } else { &[Change::Vcpus(2)] }));
    }
    match config.worker {
        Worker::Stamp | Worker::Spin => None,
        Worker::Fault
        | Worker::Hang
        | Worker::HangFirst
        | Worker::TouchPageable
        | Worker::EnableInterrupts
        | Worker::LowerIrql
        | Worker::TakeLock
        | Worker::CallAgain
        | Worker::Verify => {
            Some(Refusal::Combination("a thread has no IRQL, whose rules such a worker breaks or checks", A_GUEST))
        }
    }
}
