//! What a cell's rounds consist of, as far as the host decides: which routes, destinations and target states a call has.

use super::refusal::Refusal;
use super::routes::{self, Delivery};
use super::{CellId, Observe};
use guest_stub::abi::cell::Call;
use guest_stub::abi::{Destination, TargetState};

/// A call.
#[derive(Debug)]
pub struct Spec {
    /// What it is, in one line for help texts.
    pub about: &'static str,
    /// The destination where none is asked for.
    pub usual_destination: Destination,
    /// Why it cannot be made in such a cell; `None`: it can, as far as the call decides.
    pub refuses: fn(&CellId) -> Option<Refusal>,
}

/// What the host knows about a call: the list of them.
pub const fn of(call: Call) -> &'static Spec {
    match call {
        Call::Broadcast => &BROADCAST,
        Call::Ping => &PING,
    }
}

const BROADCAST: Spec = Spec {
    about: "every processor runs one function, all at the same time",
    usual_destination: Destination::AllButSelf,
    refuses: |cell| match cell.destination {
        Destination::AllButSelf | Destination::All | Destination::Unicast | Destination::Logical => None,
        Destination::Itself | Destination::SelfIpi => {
            Some(Refusal::Combination("a broadcast call is for every processor: use --call ping"))
        }
        Destination::Mesh => Some(Refusal::Combination("a broadcast call has one initiator: use --call ping")),
    },
};

const PING: Spec = Spec {
    about: "one interrupt, which its handler acknowledges to the sender; nothing else",
    usual_destination: Destination::Unicast,
    refuses: |cell| {
        let route = routes::of(cell.route);
        let reason = by_route(route).or_else(|| by_destination(cell, route)).or_else(|| by_state(cell));
        let observed = match cell.observe {
            Observe::Guest => None,
            Observe::Exits => Some("a ping runs no worker that could begin with an exit"),
        };
        reason.or(observed).map(Refusal::Combination)
    },
};

fn by_route(route: &routes::Spec) -> Option<&'static str> {
    match route.delivery {
        Delivery::Polled => Some("a ping is an interrupt, and the memory route sends none"),
        Delivery::Nmi => Some("a ping is known by its vector, and an NMI has none"),
        Delivery::Fixed => route.is_host().then_some("a vCPU sends the ping, and sees it arrive"),
    }
}

fn by_destination(cell: &CellId, route: &routes::Spec) -> Option<&'static str> {
    match cell.destination {
        Destination::AllButSelf | Destination::All | Destination::Logical => {
            Some("a ping has one target: use unicast, self or mesh")
        }
        Destination::Unicast | Destination::Mesh => {
            (cell.vcpus < 2).then_some("a ping of another vCPU needs two of them: use self")
        }
        Destination::Itself => (!route.sends_ipis()).then_some("the VMM's interrupt messages have no shorthands"),
        // SDM Vol. 3A 12.12.11.
        Destination::SelfIpi => (!route.is_x2apic()).then_some("only x2APIC mode has a self-IPI register"),
    }
}

fn by_state(cell: &CellId) -> Option<&'static str> {
    match (cell.destination, cell.target_state) {
        (Destination::Itself | Destination::SelfIpi | Destination::Mesh, TargetState::User | TargetState::Halt) => {
            Some("the target sends, too, and polls at CPL0 for the answer: state spin")
        }
        // The route refuses `masked`.
        (
            Destination::AllButSelf
            | Destination::All
            | Destination::Unicast
            | Destination::Logical
            | Destination::Itself
            | Destination::SelfIpi
            | Destination::Mesh,
            TargetState::Spin | TargetState::User | TargetState::Halt | TargetState::Masked,
        ) => None,
    }
}
