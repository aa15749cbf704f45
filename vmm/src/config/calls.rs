//! What a cell's rounds consist of, as far as the host decides: which routes, destinations and target states a call has.

use super::refusal::{Change, Refusal};
use super::routes::{self, Delivery, Route};
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
            Some(Refusal::Combination("a broadcast call is for every processor", PING_OR_ALL_BUT_SELF))
        }
        Destination::Mesh => Some(Refusal::Combination("a broadcast call has one initiator", PING_OR_ALL_BUT_SELF)),
    },
};

const PING_OR_ALL_BUT_SELF: &[Change] = &[Change::Call(Call::Ping), Change::Destination(Destination::AllButSelf)];

const PING: Spec = Spec {
    about: "one interrupt, which its handler acknowledges to the sender; nothing else",
    usual_destination: Destination::Unicast,
    refuses: |cell| {
        let route = routes::of(cell.route);
        by_route(route).or_else(|| by_destination(cell, route)).or_else(|| by_state(cell)).or_else(|| by_vantage(cell))
    },
};

fn by_route(route: &routes::Spec) -> Option<Refusal> {
    const IPI_OR_BROADCAST: &[Change] = &[Change::Route(Route::X2Apic), Change::Call(Call::Broadcast)];
    let reason = match route.delivery {
        Delivery::Polled => "a ping is an interrupt, and the memory route sends none",
        Delivery::Nmi => "a ping is known by its vector, and an NMI has none",
        Delivery::Fixed if route.is_host() => "a vCPU sends the ping, and sees it arrive",
        Delivery::Fixed | Delivery::HostIpi | Delivery::Restart | Delivery::WakeUp => return None,
    };
    Some(Refusal::Combination(reason, IPI_OR_BROADCAST))
}

fn by_destination(cell: &CellId, route: &routes::Spec) -> Option<Refusal> {
    let (can_be, reason, ways_out): (bool, _, &[Change]) = match cell.destination {
        // Nobody answers a bare interrupt: the kernel says when all have taken it.
        Destination::AllButSelf if route.delivery == Delivery::HostIpi => return None,
        Destination::AllButSelf | Destination::All | Destination::Logical => (
            false,
            "a ping has one target",
            &[Change::Destination(Destination::Unicast), Change::Call(Call::Broadcast)],
        ),
        Destination::Unicast | Destination::Mesh => (
            cell.vcpus >= 2,
            "a ping of another vCPU needs two of them",
            &[Change::Vcpus(2), Change::Destination(Destination::Itself)],
        ),
        Destination::Itself => (
            route.sends_ipis() || route.makes_hypercalls(),
            "the VMM's interrupt messages have no shorthands",
            &[Change::Destination(Destination::Unicast), Change::Route(Route::X2Apic)],
        ),
        // SDM Vol. 3A 12.12.11.
        Destination::SelfIpi => (
            route.is_x2apic(),
            "only x2APIC mode has a self-IPI register",
            &[Change::Route(Route::X2Apic), Change::Destination(Destination::Unicast)],
        ),
    };
    (!can_be).then_some(Refusal::Combination(reason, ways_out))
}

fn by_state(cell: &CellId) -> Option<Refusal> {
    match (cell.destination, cell.target_state) {
        (
            Destination::Itself | Destination::SelfIpi | Destination::Mesh,
            TargetState::User | TargetState::Halt | TargetState::Preempted | TargetState::Out,
        ) => Some(Refusal::Combination(
            "the target sends, too, and polls at CPL0 for the answer",
            &[Change::TargetState(TargetState::Spin), Change::Destination(Destination::Unicast)],
        )),
        (
            Destination::AllButSelf
            | Destination::All
            | Destination::Unicast
            | Destination::Logical
            | Destination::Itself
            | Destination::SelfIpi
            | Destination::Mesh,
            TargetState::Masked,
        ) => Some(Refusal::Combination(
            "a ping waits until the target sets IF",
            &[Change::TargetState(TargetState::Spin), Change::Call(Call::Broadcast)],
        )),
        (
            Destination::AllButSelf
            | Destination::All
            | Destination::Unicast
            | Destination::Logical
            | Destination::Itself
            | Destination::SelfIpi
            | Destination::Mesh,
            TargetState::Spin | TargetState::User | TargetState::Halt | TargetState::Preempted | TargetState::Out,
        ) => None,
    }
}

fn by_vantage(cell: &CellId) -> Option<Refusal> {
    match cell.observe {
        Observe::Guest => None,
        Observe::Exits => Some(Refusal::Combination(
            "a ping runs no worker that could begin with an exit",
            &[Change::Observe(Observe::Guest), Change::Call(Call::Broadcast)],
        )),
    }
}
