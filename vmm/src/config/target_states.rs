//! What targets do when the interrupt arrives, as far as the host decides: which routes reach a target in that state.

use super::refusal::{Change, Refusal};
use super::routes::{self, Delivery, Route};
use super::{CellId, Config};
use guest_stub::abi::TargetState;
use std::collections::BTreeSet;

/// A target state.
#[derive(Debug)]
pub struct Spec {
    /// What it is, in one line for help texts.
    pub about: &'static str,
    /// Why a route does not reach targets in it on a machine of so many vCPUs; `None`: it does.
    pub refuses: fn(&routes::Spec, usize) -> Option<Refusal>,
}

/// What the host knows about a target state: the list of them.
pub const fn of(state: TargetState) -> &'static Spec {
    match state {
        TargetState::Spin => &SPIN,
        TargetState::User => &USER,
        TargetState::Halt => &HALT,
        TargetState::Masked => &MASKED,
        TargetState::Preempted => &PREEMPTED,
        TargetState::Out => &OUT,
    }
}

const SPIN: Spec = Spec { about: "a busy loop at CPL0", refuses: |_, _| None };

const USER: Spec = Spec {
    about: "a busy loop at CPL3",
    refuses: |route, _| match route.delivery {
        Delivery::Fixed | Delivery::Nmi | Delivery::HostIpi | Delivery::Restart | Delivery::WakeUp => None,
        Delivery::Polled => Some(Refusal::Combination("the memory route's targets poll at CPL0", SPIN_OR_IPI)),
    },
};

const HALT: Spec = Spec {
    about: "halted (HLT at CPL0)",
    refuses: |route, _| match route.delivery {
        // What threads cannot be is in `natively`.
        Delivery::Fixed | Delivery::Nmi | Delivery::HostIpi | Delivery::Restart | Delivery::WakeUp => None,
        Delivery::Polled => Some(Refusal::Combination("a halted processor polls nothing", SPIN_OR_IPI)),
    },
};

const MASKED: Spec = Spec {
    about: "a busy loop at CPL0 with IF clear: only an NMI gets through",
    refuses: |route, _| match route.delivery {
        Delivery::Nmi | Delivery::HostIpi | Delivery::Restart | Delivery::WakeUp => None,
        Delivery::Fixed => Some(Refusal::Combination("an interrupt waits until the target sets IF", NMI_OR_SPIN)),
        Delivery::Polled => Some(Refusal::Combination("the memory route interrupts nobody", NMI_OR_SPIN)),
    },
};

const PREEMPTED: Spec = Spec {
    about: "a busy loop whose thread waits for its CPU: another one of kipi's runs there when the interrupt is sent",
    refuses: has_target,
};

const OUT: Spec = Spec {
    about: "out of the guest, in an exit that kipi serves for --out-us",
    refuses: |route, vcpus| match route.delivery {
        Delivery::Fixed | Delivery::Nmi | Delivery::HostIpi | Delivery::Restart | Delivery::WakeUp => {
            has_target(route, vcpus)
        }
        Delivery::Polled => Some(Refusal::Combination("a target that polls makes no exits", SPIN_OR_IPI)),
    },
};

/// Evidence is the VMM's, of a target's thread: there must be a target.
fn has_target(route: &routes::Spec, vcpus: usize) -> Option<Refusal> {
    let reason = "a vCPU that calls itself is neither preempted nor out when it sends";
    (vcpus < 2 && !route.is_host()).then_some(Refusal::Combination(reason, &[Change::Vcpus(2)]))
}

/// As [`Spec::refuses`], by what is no choice of a cell: the CPUs that its threads may use, and the times.
pub(super) fn refuse_here(config: &Config, cell: &CellId) -> Option<Refusal> {
    let reason = match cell.target_state {
        TargetState::Spin | TargetState::User | TargetState::Halt | TargetState::Masked => None,
        TargetState::Preempted => no_competitor(config, cell),
        TargetState::Out => (config.out <= config.settle)
            .then_some("its exits are over before the send: --out-us has to be longer than --settle"),
    };
    reason.map(|reason| Refusal::Combination(reason, &[Change::TargetState(TargetState::User)]))
}

/// Why no thread can compete with each target, and with nobody else; `None`: one can.
fn no_competitor(config: &Config, cell: &CellId) -> Option<&'static str> {
    let pins: BTreeSet<_> = config.pin.iter().cycle().take(cell.vcpus).collect();
    if config.pin.is_empty() {
        Some("the scheduler moves a thread that is not pinned to another CPU than its competitor's: pin it (--pin)")
    } else if pins.len() < cell.vcpus {
        Some("each vCPU needs a CPU of its own among those of --pin, where a thread of kipi's competes with it")
    } else if routes::of(cell.route).is_host() && cell.vcpus >= config.cpus.len() {
        Some("every vCPU is preempted, and the host's thread, which calls, needs another CPU")
    } else {
        None
    }
}

const SPIN_OR_IPI: &[Change] = &[Change::TargetState(TargetState::Spin), Change::Route(Route::X2Apic)];
const NMI_OR_SPIN: &[Change] = &[Change::Route(Route::Nmi), Change::TargetState(TargetState::Spin)];
