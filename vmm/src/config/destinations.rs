//! How the targets of a call are addressed, as far as the host decides: which routes have such a destination. The sends
//! themselves are the guest's.

use super::refusal::{Change, Refusal};
use super::routes::{self, ApicMode, Delivery, Route};
use super::{HostOffers, Need};
use guest_stub::abi::Destination;
use guest_stub::logical_ids::LogicalIds;

/// A destination.
#[derive(Debug)]
pub struct Spec {
    /// What it is, in one line for help texts.
    pub about: &'static str,
    /// Why a route does not have it on a machine of so many vCPUs, on a host that offers this; `None`: it has.
    pub refuses: fn(&routes::Spec, usize, HostOffers) -> Option<Refusal>,
}

/// What the host knows about a destination: the list of them.
pub const fn of(destination: Destination) -> &'static Spec {
    match destination {
        Destination::AllButSelf => &ALL_BUT_SELF,
        Destination::All => &ALL,
        Destination::Unicast => &UNICAST,
        Destination::Logical => &LOGICAL,
        Destination::Itself => &ITSELF,
        Destination::SelfIpi => &SELF_IPI,
        Destination::Mesh => &MESH,
    }
}

const ALL_BUT_SELF: Spec =
    Spec { about: "all processors but the sender, by one send with a shorthand", refuses: |_, _, _| None };

const ALL: Spec = Spec {
    about: "all processors, the sender among them, by one send with a shorthand",
    refuses: |route, _, _| match route.delivery {
        // SDM Vol. 3A table 12-3: the shorthand "all including self" goes with delivery mode fixed.
        Delivery::Nmi => {
            Some(Refusal::Combination("the shorthand that includes the sender is for fixed interrupts only", ALL_BUT))
        }
        Delivery::Polled => Some(Refusal::Combination("a sender does not poll its own line", ALL_BUT)),
        Delivery::Fixed if route.is_host() => {
            Some(Refusal::Combination("the host is no vCPU: all-but-self is everybody", ALL_BUT))
        }
        Delivery::Fixed | Delivery::HostIpi | Delivery::Restart | Delivery::WakeUp => None,
    },
};

const ALL_BUT: &[Change] = &[Change::Destination(Destination::AllButSelf)];

// Which routes pings have is theirs to say ([`super::calls`]).

const ITSELF: Spec = Spec { about: "pings: the sender itself, by shorthand", refuses: |_, _, _| None };

const SELF_IPI: Spec =
    Spec { about: "pings: the sender itself, by the x2APIC's self-IPI register", refuses: |_, _, _| None };

const MESH: Spec = Spec { about: "pings: every processor sends to the next one, all at once", refuses: |_, _, _| None };

const UNICAST: Spec = Spec {
    about: "one send for each target, by its APIC id; a ping's target is the next vCPU",
    refuses: |_, _, _| None,
};

const LOGICAL: Spec = Spec {
    about: "one send for each cluster of local APICs, by their logical ids",
    refuses: |route, vcpus, offers| {
        if route.delivery == Delivery::Polled {
            return Some(Refusal::Combination("lines of memory have no logical ids", UNICAST_OR_IPI));
        }
        if route.makes_hypercalls() {
            return Some(Refusal::Combination("hypercalls have no logical ids", UNICAST_OR_IPI));
        }
        if !route.sends_ipis() {
            return Some(Refusal::Combination("the VMM's interrupt messages go to APIC ids", UNICAST_OR_IPI));
        }
        let too_many = LogicalIds::of(false, vcpus).is_none();
        match route.apic_mode {
            ApicMode::XApic if too_many => {
                Some(Refusal::Combination("xAPIC mode has logical ids for 60 local APICs", UNICAST_OR_IPI))
            }
            ApicMode::AsOffered if too_many && !offers.x2apic => Some(Refusal::Host(Need::X2Apic)),
            ApicMode::XApic | ApicMode::X2Apic | ApicMode::AsOffered | ApicMode::Either => None,
        }
    },
};

const UNICAST_OR_IPI: &[Change] = &[Change::Destination(Destination::Unicast), Change::Route(Route::X2Apic)];
