//! Which cells cannot be measured on a platform. What holds on kipi's VMM, too, is as the VMM says it (its module `config`), which a
//! test there compares.

use guest_stub::abi::cell::{Call, CellId, Route};
use guest_stub::abi::{Destination, TargetState};
use guest_stub::logical_ids::LogicalIds;

/// What a platform offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// The local APICs have x2APIC mode.
    pub x2apic: bool,
    /// The local APICs of all processors that take part can be used in xAPIC mode: it is not locked out, and their ids are below 255.
    pub xapic: bool,
    /// Processors that could be started, the first one included.
    pub processors: u32,
}

/// vCPUs that the xAPIC's eight-bit ids can tell apart: 255 is its broadcast address (SDM Vol. 3A 12.6.2.1).
const XAPIC_VCPUS: usize = 255;

/// Why a cell cannot be measured; `None`: it can. What no platform could do is said before what this one cannot.
pub fn refuse(cell: &CellId, offers: Offers) -> Option<&'static str> {
    let route = match ImageRoute::of(cell.route) {
        Ok(route) => route,
        Err(reason) => return Some(reason),
    };
    by_away_state(cell.target_state)
        .or_else(|| match cell.call {
            Call::Broadcast => by_broadcast(cell.destination),
            Call::Ping => by_ping(cell, route),
        })
        .or_else(|| by_state(cell.target_state, route))
        .or_else(|| by_destination(cell, route))
        .or_else(|| by_ids(cell, route))
        .or_else(|| by_platform(cell, route, offers))
}

/// The routes that need nothing but processors and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageRoute {
    XApic,
    X2Apic,
    Memory,
    /// In x2APIC mode where there is one.
    Nmi,
}

impl ImageRoute {
    /// The route, or why the image has not got it.
    const fn of(route: Route) -> Result<Self, &'static str> {
        match route {
            Route::XApic => Ok(Self::XApic),
            Route::X2Apic => Ok(Self::X2Apic),
            Route::Memory => Ok(Self::Memory),
            Route::Nmi => Ok(Self::Nmi),
            Route::KvmPv | Route::HyperV => {
                Err("the image makes no hypercalls: it does the same under every hypervisor, and without one")
            }
            Route::Msi => Err("it is kipi's VMM that sends these messages"),
            Route::Host | Route::VmmHost => Err("it is kipi's VMM that makes these calls"),
            Route::VmmXApic | Route::VmmX2Apic => Err("these local APICs are kipi's VMM's"),
            Route::Native | Route::NativeRseq | Route::NativeFutex => Err("it is for threads of a Linux host"),
        }
    }
}

fn by_away_state(state: TargetState) -> Option<&'static str> {
    match state {
        TargetState::Preempted => Some("only kipi's VMM can take a target's CPU away"),
        TargetState::Out => Some("only kipi's VMM can keep a target out of the guest"),
        TargetState::Spin | TargetState::User | TargetState::Halt | TargetState::Masked => None,
    }
}

fn by_broadcast(destination: Destination) -> Option<&'static str> {
    match destination {
        Destination::AllButSelf | Destination::All | Destination::Unicast | Destination::Logical => None,
        Destination::Itself | Destination::SelfIpi => Some("a broadcast call is for every processor"),
        Destination::Mesh => Some("a broadcast call has one initiator"),
    }
}

fn by_ping(cell: &CellId, route: ImageRoute) -> Option<&'static str> {
    match route {
        ImageRoute::Memory => return Some("a ping is an interrupt, and the memory route sends none"),
        ImageRoute::Nmi => return Some("a ping is known by its vector, and an NMI has none"),
        ImageRoute::XApic | ImageRoute::X2Apic => {}
    }
    let (can_be, reason) = match cell.destination {
        Destination::AllButSelf | Destination::All | Destination::Logical => (false, "a ping has one target"),
        Destination::Unicast | Destination::Mesh => (cell.vcpus >= 2, "a ping of another vCPU needs two of them"),
        Destination::Itself => return ping_by_state(cell),
        // SDM Vol. 3A 12.12.11.
        Destination::SelfIpi => (route == ImageRoute::X2Apic, "only x2APIC mode has a self-IPI register"),
    };
    if can_be { ping_by_state(cell) } else { Some(reason) }
}

fn ping_by_state(cell: &CellId) -> Option<&'static str> {
    let target_sends = match cell.destination {
        Destination::Itself | Destination::SelfIpi | Destination::Mesh => true,
        Destination::AllButSelf | Destination::All | Destination::Unicast | Destination::Logical => false,
    };
    match cell.target_state {
        TargetState::Masked => Some("a ping waits until the target sets IF"),
        TargetState::User | TargetState::Halt | TargetState::Preempted | TargetState::Out if target_sends => {
            Some("the target sends, too, and polls at CPL0 for the answer")
        }
        TargetState::Spin | TargetState::User | TargetState::Halt | TargetState::Preempted | TargetState::Out => None,
    }
}

fn by_state(state: TargetState, route: ImageRoute) -> Option<&'static str> {
    match (route, state) {
        (ImageRoute::Memory, TargetState::User) => Some("the memory route's targets poll at CPL0"),
        (ImageRoute::Memory, TargetState::Halt) => Some("a halted processor polls nothing"),
        (ImageRoute::Memory, TargetState::Masked) => Some("the memory route interrupts nobody"),
        (ImageRoute::XApic | ImageRoute::X2Apic, TargetState::Masked) => {
            Some("an interrupt waits until the target sets IF")
        }
        (ImageRoute::Memory, TargetState::Spin | TargetState::Preempted | TargetState::Out)
        | (
            ImageRoute::XApic | ImageRoute::X2Apic,
            TargetState::Spin | TargetState::User | TargetState::Halt | TargetState::Preempted | TargetState::Out,
        )
        | (
            ImageRoute::Nmi,
            TargetState::Spin
            | TargetState::User
            | TargetState::Halt
            | TargetState::Masked
            | TargetState::Preempted
            | TargetState::Out,
        ) => None,
    }
}

fn by_destination(cell: &CellId, route: ImageRoute) -> Option<&'static str> {
    match (cell.destination, route) {
        // SDM Vol. 3A table 12-3: the shorthand "all including self" goes with delivery mode fixed.
        (Destination::All, ImageRoute::Nmi) => {
            Some("the shorthand that includes the sender is for fixed interrupts only")
        }
        (Destination::All, ImageRoute::Memory) => Some("a sender does not poll its own line"),
        (Destination::Logical, ImageRoute::Memory) => Some("lines of memory have no logical ids"),
        (Destination::Logical, ImageRoute::XApic) => {
            LogicalIds::of(false, cell.vcpus).is_none().then_some("xAPIC mode has logical ids for 60 local APICs")
        }
        (Destination::All | Destination::Logical, ImageRoute::X2Apic)
        | (Destination::All, ImageRoute::XApic)
        | (Destination::Logical, ImageRoute::Nmi)
        | (
            Destination::AllButSelf
            | Destination::Unicast
            | Destination::Itself
            | Destination::SelfIpi
            | Destination::Mesh,
            ImageRoute::XApic | ImageRoute::X2Apic | ImageRoute::Memory | ImageRoute::Nmi,
        ) => None,
    }
}

fn by_ids(cell: &CellId, route: ImageRoute) -> Option<&'static str> {
    (route == ImageRoute::XApic && cell.vcpus > XAPIC_VCPUS)
        .then_some("xAPIC ids are eight bits wide and end at 254: use x2apic")
}

/// What another platform has.
fn by_platform(cell: &CellId, route: ImageRoute, offers: Offers) -> Option<&'static str> {
    if cell.vcpus > offers.processors as usize {
        return Some("this machine has not got so many processors");
    }
    match route {
        ImageRoute::X2Apic => (!offers.x2apic).then_some("this machine's local APICs have no x2APIC mode"),
        ImageRoute::XApic => {
            (!offers.xapic).then_some("xAPIC mode is locked out, or a processor's APIC id is 255 or more: use x2apic")
        }
        ImageRoute::Nmi if offers.x2apic => None,
        ImageRoute::Nmi if cell.vcpus > XAPIC_VCPUS => Some("more than 255 vCPUs need x2APIC mode"),
        ImageRoute::Nmi => (cell.destination == Destination::Logical && LogicalIds::of(false, cell.vcpus).is_none())
            .then_some("logical ids of more than 60 local APICs need x2APIC mode"),
        ImageRoute::Memory => None,
    }
}
