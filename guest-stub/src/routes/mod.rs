//! What the guest does to get an interrupt to its targets: a file a route, and one list of them.

#![deny(clippy::wildcard_enum_match_arm)]

mod host;
pub(crate) mod memory;
mod msi;
mod nmi;
mod x2apic;
mod xapic;

pub(crate) use host::Host;
pub(crate) use memory::Memory;
pub(crate) use msi::Msi;
pub(crate) use nmi::Nmi;
pub(crate) use x2apic::X2Apic;
pub(crate) use xapic::XApic;

use crate::processor::Private;
use crate::shared;
use guest_stub::abi::GuestRoute;
use guest_stub::destinations::To;
use guest_stub::icr;
use guest_stub::rendezvous::{Delivery, Generation};

/// A route. What it does is inlined into the measured window, one for each route and destination
/// ([`crate::call::everybody`]): no choice is left to be made there.
pub(crate) trait Route: Sized {
    /// Which mode it needs the local APICs in.
    const MODE: Mode;

    /// How its interrupt comes to a target.
    const ARRIVAL: Arrival = Arrival::Interrupt;

    /// All that can be done before the measured window of a call.
    fn prepare(call: &Sending) -> Self;

    /// One send, of a fixed interrupt on `vector` where the route has vectors. In the measured window.
    fn send(&self, vector: u8, to: To);
}

/// The call that is being sent.
pub(crate) struct Sending {
    pub(crate) private: &'static Private,
    pub(crate) generation: Generation,
}

/// A mode of the local APICs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    XApic,
    X2Apic,
    /// x2APIC mode where there is one.
    Best,
    /// Whichever it is.
    Any,
}

impl Mode {
    /// Brings this processor's local APIC into it.
    pub(crate) fn enter(self, private: &Private) {
        match self {
            Self::XApic => private.apic.set_mode(false),
            Self::X2Apic => private.apic.set_mode(true),
            Self::Best => private.apic.set_mode(shared::boot().x2apic != 0),
            Self::Any => {}
        }
    }
}

/// How a call comes to its targets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// By an interrupt that IF and IRQL can hold back.
    Interrupt,
    Nmi,
    /// By polling: the sender is interrupted by nothing, either.
    Polling,
}

impl Arrival {
    /// Which of a slot's requests it is made by.
    pub(crate) const fn delivery(self) -> Delivery {
        match self {
            Self::Interrupt | Self::Polling => Delivery::Interrupt,
            Self::Nmi => Delivery::Nmi,
        }
    }
}

/// The list of routes: `with_route!(route, R => expression)` is the expression with the route's own type as `R`.
macro_rules! with_route {
    ($route:expr, $R:ident => $generic:expr) => {
        $crate::routes::with_route!(@ $route, $R, $generic, XApic X2Apic Memory Nmi Msi Host)
    };
    (@ $route:expr, $R:ident, $generic:expr, $($name:ident)+) => {
        match $route {
            $(guest_stub::abi::GuestRoute::$name => {
                type $R = $crate::routes::$name;
                $generic
            })+
        }
    };
}
pub(crate) use with_route;

/// [`Route::MODE`].
pub(crate) fn mode(route: GuestRoute) -> Mode {
    with_route!(route, R => <R as Route>::MODE)
}

/// [`Route::ARRIVAL`].
pub(crate) fn arrival(route: GuestRoute) -> Arrival {
    with_route!(route, R => <R as Route>::ARRIVAL)
}

/// One send of a call, on a vector.
pub(crate) type Send = fn(&Sending, u8, To);

/// [`Route::send`], for what is not measured.
pub(crate) fn send(route: GuestRoute) -> Send {
    with_route!(route, R => |call, vector, to| R::prepare(call).send(vector, to))
}

#[inline]
fn icr_destination(to: To) -> icr::To {
    match to {
        To::AllButSelf => icr::To::AllButSelf,
        To::All => icr::To::All,
        To::One(index) => icr::To::One(shared::apic_id(index)),
        To::Logical(address) => icr::To::Logical(address),
    }
}
