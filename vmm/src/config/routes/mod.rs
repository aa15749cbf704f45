//! The ways an interrupt travels from the initiator to its targets: a file each, with all that follows from the route, and
//! one list of them.
//!
//! A new route is an id in [`guest_stub::abi::cell`], a file here, and a line in [`of`], which does not compile without it.
//! Nothing else matches on [`Route`]: whoever has to know something about a route asks its [`Spec`] for the property.

mod host;
mod hyperv;
mod kvm_pv;
mod memory;
mod msi;
mod native;
mod native_futex;
mod native_rseq;
mod nmi;
mod vmm_host;
mod vmm_x2apic;
mod vmm_xapic;
mod x2apic;
mod xapic;

use super::host_offers::{HostOffers, Need};
use super::refusal::Change;
use super::{Call, Interface, MachineSpec};
use crate::results::machine::LocalApics;
use guest_stub::abi::TargetState;

pub use guest_stub::abi::GuestRoute;
pub use guest_stub::abi::cell::Route;

/// All that follows from a route: the list of them.
pub const fn of(route: Route) -> &'static Spec {
    match route {
        Route::XApic => &xapic::XAPIC,
        Route::X2Apic => &x2apic::X2APIC,
        Route::Memory => &memory::MEMORY,
        Route::Nmi => &nmi::NMI,
        Route::KvmPv => &kvm_pv::KVM_PV,
        Route::HyperV => &hyperv::HYPERV,
        Route::Msi => &msi::MSI,
        Route::Host => &host::HOST,
        Route::VmmXApic => &vmm_xapic::VMM_XAPIC,
        Route::VmmX2Apic => &vmm_x2apic::VMM_X2APIC,
        Route::VmmHost => &vmm_host::VMM_HOST,
        Route::Native => &native::NATIVE,
        Route::NativeRseq => &native_rseq::NATIVE_RSEQ,
        Route::NativeFutex => &native_futex::NATIVE_FUTEX,
    }
}

/// The routes that `wanted` holds for, in the order of output.
pub fn those(wanted: impl Fn(&Spec) -> bool) -> impl Iterator<Item = Route> {
    Route::ALL.iter().copied().filter(move |&route| wanted(of(route)))
}

/// The IPI of KVM's local APIC in the mode that an operating system would choose on such a host: x2APIC if it is offered.
pub fn usual(offers: HostOffers) -> Route {
    let ipi = |route: &Spec| {
        route.decides_mode() && route.local_apics() == Some(LocalApics::Kernel) && route.lacks(offers).is_none()
    };
    those(ipi).max_by_key(|&route| of(route).is_x2apic()).unwrap_or(Route::XApic)
}

/// vCPUs that the xAPIC's eight-bit ids can tell apart: 255 is its broadcast address (SDM Vol. 3A 12.6.2.1).
pub const XAPIC_VCPUS: usize = 255;

/// A route: what it is, what it needs, and how it can be recognised.
#[derive(Debug)]
pub struct Spec {
    /// Its identity, in documents too.
    pub id: Route,
    /// What it is, in one line for help texts.
    pub about: &'static str,
    /// What the calls run on.
    pub runs: Runs,
    /// Who makes the call.
    pub initiator: Initiator,
    /// The mode of the guest's local APICs, and with it the width of the ids that address targets.
    pub apic_mode: ApicMode,
    /// How a target is told.
    pub delivery: Delivery,
    /// How the send shows outside of the guest.
    pub send: Send,
    /// What it needs of the host.
    pub needs: &'static [Need],
    /// The target state of the one call that proves that the route works.
    pub probe_state: TargetState,
}

/// What calls run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The vCPUs of a virtual machine.
    InGuest {
        /// Where its local APICs are.
        local_apics: LocalApics,
        /// What the guest does.
        route: GuestRoute,
    },
    /// Threads of this process on the host's own processors, each in a vCPU's place; there is no virtual machine.
    Natively,
}

/// Who makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// A vCPU, or the thread in its place, which takes part in its own call.
    Vcpu,
    /// A thread of the VMM: every vCPU is a target.
    Host,
}

/// The mode of the guest's local APICs (SDM Vol. 3A 12.4 and 12.12). It decides how wide APIC ids are: eight bits in xAPIC
/// mode, 32 in x2APIC mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApicMode {
    /// xAPIC.
    XApic,
    /// x2APIC.
    X2Apic,
    /// x2APIC where the host offers it, xAPIC elsewhere.
    AsOffered,
    /// Either: the route addresses nobody by APIC id.
    Either,
}

/// How a target is told that it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A fixed interrupt, which waits until the target sets IF.
    Fixed,
    Nmi,
    /// It reads a cache line in a loop; nothing interrupts it.
    Polled,
    /// The host's kernel interrupts its thread's CPU; neither the thread nor anything else of ours sees it.
    HostIpi,
    /// As [`Delivery::HostIpi`], and the thread goes on where its restartable sequence says.
    Restart,
    /// Its thread sleeps, and the host's kernel wakes it.
    WakeUp,
}

/// How a send shows outside of the guest; `None`: not at all, to whoever looks there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send {
    /// The exit to the VMM.
    pub exit: Option<SendExit>,
    /// The tracepoint of KVM's.
    pub tracepoint: Option<SendTracepoint>,
}

/// An exit to the VMM that is a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendExit {
    /// A write to the ICR of a local APIC in user space, by its page or its MSR.
    IcrWrite,
    /// A message that is asked for at a port ([`guest_stub::abi::PORT_MSI`]).
    Message,
}

/// A tracepoint of KVM's that is a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendTracepoint {
    /// `kvm_apic_ipi`: a write to the ICR of KVM's local APIC.
    Ipi,
    /// `kvm_hypercall` or `kvm_hv_hypercall`: a hypercall of KVM's interface, or of Hyper-V's.
    Hypercall,
    /// `kvm_msi_set_irq`: a message (KVM_SIGNAL_MSI).
    Message,
}

/// Why APIC ids end at 254 on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdLimit {
    /// The route uses xAPIC mode.
    XApicMode,
    /// The host offers no x2APIC mode.
    NoX2Apic,
    /// The ids of KVM's local APICs cannot be made wide.
    NoWideIds,
}

impl IdLimit {
    /// What to say of a cell that has more vCPUs.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::XApicMode => "xAPIC ids are eight bits wide and end at 254: use x2apic",
            Self::NoX2Apic => "more than 255 vCPUs need x2APIC mode, which this KVM's CPUID does not offer",
            Self::NoWideIds => "more than 255 vCPUs need 32-bit APIC ids, and this KVM has no KVM_CAP_X2APIC_API",
        }
    }

    /// Changes of which each takes the limit away, on this host.
    pub const fn ways_out(self) -> &'static [Change] {
        match self {
            Self::XApicMode => &[Change::Route(Route::X2Apic), Change::Vcpus(XAPIC_VCPUS)],
            Self::NoX2Apic | Self::NoWideIds => &[Change::Vcpus(XAPIC_VCPUS)],
        }
    }

    /// Whether it is the host's limit and not the route's.
    pub const fn is_the_hosts(self) -> bool {
        match self {
            Self::XApicMode => false,
            Self::NoX2Apic | Self::NoWideIds => true,
        }
    }
}

impl Spec {
    /// Whether the host makes the calls.
    pub fn is_host(&self) -> bool {
        self.initiator == Initiator::Host
    }

    /// Whether it needs no virtual machine.
    pub fn is_native(&self) -> bool {
        self.runs == Runs::Natively
    }

    /// What takes part in its calls.
    pub fn participant(&self) -> &'static str {
        if self.is_native() { "thread" } else { "vCPU" }
    }

    /// Where the local APICs of its virtual machine are, if it has one.
    pub fn local_apics(&self) -> Option<LocalApics> {
        match self.runs {
            Runs::InGuest { local_apics, .. } => Some(local_apics),
            Runs::Natively => None,
        }
    }

    /// What the guest does, if there is one.
    pub fn in_guest(&self) -> Option<GuestRoute> {
        match self.runs {
            Runs::InGuest { route, .. } => Some(route),
            Runs::Natively => None,
        }
    }

    /// What its guest finds that it runs on. Machines for other routes do not have Hyper-V's: what KVM does for a guest that has seen
    /// it might not be what it does for others.
    pub fn interface(&self) -> Interface {
        match self.in_guest() {
            Some(GuestRoute::HyperV) => Interface::HyperV,
            Some(
                GuestRoute::XApic
                | GuestRoute::X2Apic
                | GuestRoute::Memory
                | GuestRoute::Nmi
                | GuestRoute::Msi
                | GuestRoute::Host
                | GuestRoute::KvmPv,
            )
            | None => Interface::Kvm,
        }
    }

    /// The number that the guest knows it by; zero, which the guest refuses, where there is none.
    pub fn number_in_guest(&self) -> u32 {
        self.in_guest().map_or(0, |route| route as u32)
    }

    /// Whether a target that is a vCPU is interrupted.
    pub fn interrupts(&self) -> bool {
        match self.delivery {
            Delivery::Fixed | Delivery::Nmi => true,
            Delivery::Polled | Delivery::HostIpi | Delivery::Restart | Delivery::WakeUp => false,
        }
    }

    /// Whether a vCPU sends an interrupt, or asks for one.
    pub fn sends_from_guest(&self) -> bool {
        self.interrupts() && !self.is_host()
    }

    /// Whether a vCPU makes a hypercall that sends.
    pub fn makes_hypercalls(&self) -> bool {
        self.send.tracepoint == Some(SendTracepoint::Hypercall)
    }

    /// Whether a vCPU writes an ICR: KVM sends, or the VMM's broadcast service.
    pub fn sends_ipis(&self) -> bool {
        self.sends_from_guest() && self.send.exit != Some(SendExit::Message) && !self.makes_hypercalls()
    }

    /// What the call is that proves that the route works: a broadcast call where there is one.
    pub fn probe_call(&self) -> Call {
        match self.delivery {
            Delivery::Fixed | Delivery::Nmi | Delivery::Polled | Delivery::Restart | Delivery::WakeUp => {
                Call::Broadcast
            }
            Delivery::HostIpi => Call::Ping,
        }
    }

    /// Whether the local APICs have to be in x2APIC mode.
    pub fn is_x2apic(&self) -> bool {
        self.apic_mode == ApicMode::X2Apic
    }

    /// Whether its local APICs are in x2APIC mode, in a guest that has it or has not.
    pub fn is_in_x2apic(&self, has_x2apic: bool) -> bool {
        match self.apic_mode {
            ApicMode::XApic => false,
            ApicMode::X2Apic => true,
            // A guest that is to use neither stays in the mode that it boots in.
            ApicMode::AsOffered | ApicMode::Either => has_x2apic,
        }
    }

    /// Whether it is there to measure one mode of the local APIC, and runs in no other.
    pub fn decides_mode(&self) -> bool {
        match self.apic_mode {
            ApicMode::XApic | ApicMode::X2Apic => true,
            ApicMode::AsOffered | ApicMode::Either => false,
        }
    }

    /// The first need that the host does not meet.
    pub fn lacks(&self, offers: HostOffers) -> Option<Need> {
        self.needs.iter().copied().find(|need| !need.is_met(offers))
    }

    /// Why the route reaches at most [`XAPIC_VCPUS`] vCPUs on a host that meets its needs; `None`: it reaches more.
    pub fn id_limit(&self, offers: HostOffers) -> Option<IdLimit> {
        match self.apic_mode {
            ApicMode::XApic => Some(IdLimit::XApicMode),
            ApicMode::AsOffered if !offers.x2apic => Some(IdLimit::NoX2Apic),
            ApicMode::X2Apic | ApicMode::AsOffered => {
                let narrow = self.local_apics() == Some(LocalApics::Kernel) && !offers.wide_apic_ids;
                narrow.then_some(IdLimit::NoWideIds)
            }
            ApicMode::Either => None,
        }
    }

    /// The machine of `vcpus` vCPUs that it is measured on.
    pub fn machine(&self, vcpus: usize) -> MachineSpec {
        MachineSpec { vcpus, local_apics: self.local_apics(), interface: self.interface() }
    }
}

#[cfg(test)]
mod tests;
