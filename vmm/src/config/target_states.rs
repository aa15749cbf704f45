//! What targets do when the interrupt arrives, as far as the host decides: which routes reach a target in that state.

use super::refusal::{Change, Refusal};
use super::routes::{self, Delivery, Route};
use guest_stub::abi::TargetState;

/// A target state.
#[derive(Debug)]
pub struct Spec {
    /// What it is, in one line for help texts.
    pub about: &'static str,
    /// Why a route does not reach targets in it; `None`: it does.
    pub refuses: fn(&routes::Spec) -> Option<Refusal>,
}

/// What the host knows about a target state: the list of them.
pub const fn of(state: TargetState) -> &'static Spec {
    match state {
        TargetState::Spin => &SPIN,
        TargetState::User => &USER,
        TargetState::Halt => &HALT,
        TargetState::Masked => &MASKED,
    }
}

const SPIN: Spec = Spec { about: "a busy loop at CPL0", refuses: |_| None };

const USER: Spec = Spec {
    about: "a busy loop at CPL3",
    refuses: |route| match route.delivery {
        Delivery::Fixed | Delivery::Nmi | Delivery::HostIpi | Delivery::Restart => None,
        Delivery::Polled => Some(Refusal::Combination("the memory route's targets poll at CPL0", SPIN_OR_IPI)),
    },
};

const HALT: Spec = Spec {
    about: "halted (HLT at CPL0)",
    refuses: |route| match route.delivery {
        // What threads cannot be is in `natively`.
        Delivery::Fixed | Delivery::Nmi | Delivery::HostIpi | Delivery::Restart => None,
        Delivery::Polled => Some(Refusal::Combination("a halted processor polls nothing", SPIN_OR_IPI)),
    },
};

const MASKED: Spec = Spec {
    about: "a busy loop at CPL0 with IF clear: only an NMI gets through",
    refuses: |route| match route.delivery {
        Delivery::Nmi | Delivery::HostIpi | Delivery::Restart => None,
        Delivery::Fixed => Some(Refusal::Combination("an interrupt waits until the target sets IF", NMI_OR_SPIN)),
        Delivery::Polled => Some(Refusal::Combination("the memory route interrupts nobody", NMI_OR_SPIN)),
    },
};

const SPIN_OR_IPI: &[Change] = &[Change::TargetState(TargetState::Spin), Change::Route(Route::X2Apic)];
const NMI_OR_SPIN: &[Change] = &[Change::Route(Route::Nmi), Change::TargetState(TargetState::Spin)];
