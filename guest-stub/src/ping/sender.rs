//! The sender's side: from the stamp before the send until the target's mark is seen.

use super::line::Line;
use super::way::{self, Way};
use crate::cpu::apic;
use crate::cpu::hypercall::{Vmcall, Vmmcall, is_vmmcall};
use crate::cpu::hyperv::is_one_bank;
use crate::cpu::tsc::{self, Stamp};
use crate::polling;
use guest_stub::abi::{Destination, GuestRoute};
use guest_stub::rendezvous::Generation;

/// One ping, prepared.
pub(super) struct Ping {
    pub(super) target: usize,
    pub(super) line: &'static Line,
    pub(super) generation: Generation,
    /// When it is sent again.
    pub(super) resend_at: u64,
    /// When it is given up.
    pub(super) deadline: u64,
}

/// The stamps of a ping, as the sender took them.
pub(super) struct Stamps {
    pub(super) t0: Stamp,
    pub(super) t1: Stamp,
    pub(super) t2: Stamp,
    /// It was sent a second time.
    pub(super) resent: bool,
    /// It has arrived.
    pub(super) arrived: bool,
}

/// The window of a way to send.
pub(super) type WindowFn = fn(&Ping) -> Stamps;

/// The window of a route and a destination; `None` for what the VMM refuses.
pub(super) fn window_of(route: GuestRoute, destination: Destination) -> Option<WindowFn> {
    match destination {
        Destination::Unicast | Destination::Mesh => match route {
            GuestRoute::XApic => Some(window::<way::XApic>),
            GuestRoute::X2Apic => Some(window::<way::X2Apic>),
            GuestRoute::Msi => Some(window::<way::Msi>),
            GuestRoute::KvmPv => Some(kvm_pv_window()),
            GuestRoute::HyperV => Some(hyperv_window()),
            GuestRoute::Memory | GuestRoute::Nmi | GuestRoute::Host => None,
        },
        Destination::Itself => match route {
            GuestRoute::XApic => Some(window::<way::XApicItself>),
            GuestRoute::X2Apic => Some(window::<way::X2ApicItself>),
            GuestRoute::KvmPv => Some(kvm_pv_window()),
            GuestRoute::HyperV => Some(hyperv_window()),
            GuestRoute::Msi | GuestRoute::Memory | GuestRoute::Nmi | GuestRoute::Host => None,
        },
        Destination::SelfIpi => match route {
            GuestRoute::X2Apic => Some(window::<way::SelfIpi>),
            GuestRoute::XApic
            | GuestRoute::Msi
            | GuestRoute::Memory
            | GuestRoute::Nmi
            | GuestRoute::Host
            | GuestRoute::KvmPv
            | GuestRoute::HyperV => None,
        },
        Destination::AllButSelf | Destination::All | Destination::Logical => None,
    }
}

/// A hypercall has no shorthand for the sender, and needs none.
fn kvm_pv_window() -> WindowFn {
    if is_vmmcall() { window::<way::KvmPv<Vmmcall>> } else { window::<way::KvmPv<Vmcall>> }
}

/// As little.
fn hyperv_window() -> WindowFn {
    if is_one_bank() { window::<way::HyperVMask> } else { window::<way::HyperVSet> }
}

/// Out of line, so that nothing of its callers adds to what it measures.
#[inline(never)]
fn window<W: Way>(ping: &Ping) -> Stamps {
    let way = W::prepare(ping.target);
    let &Ping { line, generation, .. } = ping;
    let has_arrived = || line.has_arrived(generation);
    apic::publish();
    let t0 = tsc::stamp();
    way.send();
    let t1 = tsc::stamp();
    let at_once = polling::eight_polls(has_arrived) || polling::eight_polls(has_arrived);
    let arrived = at_once || poll_longer(ping.resend_at, has_arrived);
    let t2 = tsc::stamp_after_loads();
    if arrived {
        return Stamps { t0, t1, t2, resent: false, arrived: true };
    }
    way.send();
    let arrived = poll_longer(ping.deadline, has_arrived);
    Stamps { t0, t1, t2: tsc::stamp_after_loads(), resent: true, arrived }
}

/// Kept apart, so that what it needs is not at hand where nobody has to wait for long.
#[inline(never)]
fn poll_longer(until: u64, has_arrived: impl Fn() -> bool) -> bool {
    polling::poll_until(until, has_arrived)
}
