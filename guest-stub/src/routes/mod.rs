//! What the guest does to get an interrupt to its targets: a file a route, and one list of them.

#![deny(clippy::wildcard_enum_match_arm)]

mod host;
pub(crate) mod hyperv;
pub(crate) mod kvm_pv;
pub(crate) mod memory;
pub(crate) mod message;
mod msi;
mod x2apic;
mod xapic;

pub(crate) use host::Host;
pub(crate) use hyperv::{HyperVMask, HyperVSet};
pub(crate) use kvm_pv::KvmPv;
pub(crate) use memory::Memory;
pub(crate) use msi::Msi;
pub(crate) use x2apic::X2Apic;
pub(crate) use xapic::XApic;

use crate::processor::Private;
use crate::shared;
use guest_stub::abi::GuestRoute;
use guest_stub::destinations::{Kind, Sender, To};
use guest_stub::rendezvous::{Delivery, Generation};

/// A route. What it does is inlined into the measured window, one for each route and destination
/// ([`crate::call::everybody`]): no choice is left to be made there.
///
/// A call is sent in this order: [`before`](Self::before), the stamp t0, [`send`](Self::send), then
/// [`between`](Self::between) and [`send`](Self::send) for each further send, the stamp t1, [`after`](Self::after).
pub(crate) trait Route: Copy {
    /// Which mode it needs the local APICs in.
    const MODE: Mode;

    /// How its interrupt comes to a target.
    const ARRIVAL: Arrival = Arrival::Interrupt;

    /// What [`send`](Self::send) takes for the one send to `to`, the same for every call; `None`: the route has no such send. Of
    /// a fixed interrupt on `vector`, where the route has vectors.
    fn encode(vector: u8, to: To) -> Option<u32>;

    /// Encodes all that has to be sent to reach `to`, which by default is one send; what is too large for a word goes to this
    /// processor's page, and its address is the word. Not for the measured window.
    fn encode_all(private: &'static Private, sender: Sender, vector: u8, to: To, add: &mut dyn FnMut(u32)) {
        let _ = (private, sender);
        Self::encode(vector, to).into_iter().for_each(add);
    }

    /// The route, for sends of a call on `vector`, all of one kind.
    fn prepare(generation: Generation, vector: u8, kind: Kind) -> Self;

    /// Right before the measured window, with interrupts on. They may be off from here to [`after`](Self::after).
    #[inline]
    fn before(&self) {}

    /// Makes a send that [`encode`](Self::encode) has encoded. In the measured window.
    fn send(&self, encoded: u32);

    /// What the next send of the call has to wait for. In the measured window.
    #[inline]
    fn between(&self) {}

    /// When all is sent.
    #[inline]
    fn after(&self) {}
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
            Self::Best => private.apic.set_mode(has_x2apic()),
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
///
/// An NMI is sent in the mode that the local APICs of this machine are in at their best, a hypercall of KVM's by the instruction of
/// its processor's vendor, one of Hyper-V's with parameters that fit the machine's size: which, is known before a call.
macro_rules! with_route {
    ($route:expr, $R:ident => $generic:expr) => {
        $crate::routes::with_route!(@ $route, $R, $generic,
            XApic => $crate::routes::XApic<$crate::routes::message::Fixed>;
            X2Apic => $crate::routes::X2Apic<$crate::routes::message::Fixed>;
            Memory => $crate::routes::Memory;
            Nmi if $crate::routes::has_x2apic() => $crate::routes::X2Apic<$crate::routes::message::Nmi>;
            Nmi => $crate::routes::XApic<$crate::routes::message::Nmi>;
            Msi => $crate::routes::Msi;
            Host => $crate::routes::Host;
            KvmPv if $crate::cpu::hypercall::is_vmmcall() => $crate::routes::KvmPv<$crate::cpu::hypercall::Vmmcall>;
            KvmPv => $crate::routes::KvmPv<$crate::cpu::hypercall::Vmcall>;
            HyperV if $crate::cpu::hyperv::is_one_bank() => $crate::routes::HyperVMask;
            HyperV => $crate::routes::HyperVSet;
        )
    };
    (@ $route:expr, $R:ident, $generic:expr, $($name:ident $(if $condition:expr)? => $type:ty;)+) => {
        match $route {
            $(guest_stub::abi::GuestRoute::$name $(if $condition)? => {
                type $R = $type;
                $generic
            })+
        }
    };
}
pub(crate) use with_route;

/// Whether the local APICs have the x2APIC mode.
pub(crate) fn has_x2apic() -> bool {
    shared::boot().x2apic != 0
}

/// [`Route::MODE`].
pub(crate) fn mode(route: GuestRoute) -> Mode {
    with_route!(route, R => <R as Route>::MODE)
}

/// [`Route::ARRIVAL`].
pub(crate) fn arrival(route: GuestRoute) -> Arrival {
    with_route!(route, R => <R as Route>::ARRIVAL)
}

/// [`Route::encode_all`].
pub(crate) fn encode_all(route: GuestRoute) -> fn(&'static Private, Sender, u8, To, &mut dyn FnMut(u32)) {
    with_route!(route, R => <R as Route>::encode_all)
}

/// One send of a call, on a vector.
pub(crate) type Send = fn(Generation, u8, To);

/// A send by itself, for what is not measured.
pub(crate) fn send(route: GuestRoute) -> Send {
    with_route!(route, R => |generation, vector, to| {
        let Some(encoded) = R::encode(vector, to) else { return };
        let route = R::prepare(generation, vector, to.kind());
        route.before();
        route.send(encoded);
        route.after();
    })
}
