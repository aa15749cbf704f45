//! What targets do when the interrupt arrives, as far as the host decides: which routes reach a target in that state.

use super::routes::{self, Delivery};
use guest_stub::abi::TargetState;

/// A target state.
#[derive(Debug)]
pub struct Spec {
    /// What it is, in one line for help texts.
    pub about: &'static str,
    /// Why a route does not reach targets in it; `None`: it does.
    pub refuses: fn(&routes::Spec) -> Option<&'static str>,
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
        Delivery::Fixed | Delivery::Nmi => None,
        Delivery::Polled => Some("the memory route's targets poll at CPL0"),
    },
};

const HALT: Spec = Spec {
    about: "halted (HLT at CPL0)",
    refuses: |route| match route.delivery {
        Delivery::Fixed | Delivery::Nmi => None,
        Delivery::Polled => Some("a halted processor polls nothing"),
    },
};

const MASKED: Spec = Spec {
    about: "a busy loop at CPL0 with IF clear: only an NMI gets through",
    refuses: |route| match route.delivery {
        Delivery::Nmi => None,
        Delivery::Fixed => Some("an interrupt waits until the target sets IF: use nmi"),
        Delivery::Polled => Some("the memory route interrupts nobody"),
    },
};
