//! The ways an interrupt travels from the initiator to its targets: what the guest does, and on which machine.

use super::LocalApics;
use guest_stub::abi;

/// How the interrupt travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// A write to the memory-mapped ICR of KVM's local APIC.
    XApic,
    /// A write to the ICR's MSR of KVM's local APIC.
    X2Apic,
    /// No interrupt: the targets poll a cache line.
    Memory,
    /// A write to the ICR with delivery mode NMI, in x2APIC mode where there is one.
    Nmi,
    /// A message that the VMM sends for the guest (KVM_SIGNAL_MSI), which asks for it at a port.
    Msi,
    /// No vCPU calls: the host does, by interrupt messages (KVM_SIGNAL_MSI).
    Host,
    /// As [`Route::XApic`], but the local APIC is this VMM's: the write exits, and the broadcast service delivers.
    VmmXApic,
    /// As [`Route::X2Apic`], but with this VMM's local APIC.
    VmmX2Apic,
    /// As [`Route::Host`], but with this VMM's local APIC: a message is put into the targets' IRRs.
    VmmHost,
}

impl Route {
    /// Every route.
    pub const ALL: &[Self] = &[
        Self::XApic,
        Self::X2Apic,
        Self::Memory,
        Self::Nmi,
        Self::Msi,
        Self::Host,
        Self::VmmXApic,
        Self::VmmX2Apic,
        Self::VmmHost,
    ];

    /// The name in output and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XApic => "xapic",
            Self::X2Apic => "x2apic",
            Self::Memory => "memory",
            Self::Nmi => "nmi",
            Self::Msi => "msi",
            Self::Host => "host",
            Self::VmmHost => "vmm-host",
            Self::VmmXApic => "vmm-xapic",
            Self::VmmX2Apic => "vmm",
        }
    }

    /// What the guest does.
    pub const fn in_guest(self) -> abi::Route {
        match self {
            Self::XApic | Self::VmmXApic => abi::Route::XApic,
            Self::X2Apic | Self::VmmX2Apic => abi::Route::X2Apic,
            Self::Memory => abi::Route::Memory,
            Self::Nmi => abi::Route::Nmi,
            Self::Msi => abi::Route::Msi,
            Self::Host | Self::VmmHost => abi::Route::Host,
        }
    }

    /// Where the local APICs of its machine are.
    pub const fn irqchip(self) -> LocalApics {
        match self {
            Self::VmmXApic | Self::VmmX2Apic | Self::VmmHost => LocalApics::User,
            _ => LocalApics::Kernel,
        }
    }

    /// Whether the guest's local APICs are in xAPIC mode, where ids end at 254.
    pub const fn is_xapic(self) -> bool {
        matches!(self.in_guest(), abi::Route::XApic)
    }

    /// Whether the guest's local APICs have to be in x2APIC mode.
    pub const fn is_x2apic(self) -> bool {
        matches!(self.in_guest(), abi::Route::X2Apic)
    }

    /// Whether the host is the initiator, and no vCPU.
    pub const fn is_host(self) -> bool {
        matches!(self, Self::Host | Self::VmmHost)
    }

    /// Whether a vCPU sends an interrupt, or asks for one.
    pub const fn sends_from_guest(self) -> bool {
        !self.is_host() && !matches!(self, Self::Memory)
    }

    /// Whether a processor with interrupts off does not get it.
    pub const fn is_maskable(self) -> bool {
        !matches!(self, Self::Memory | Self::Nmi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_route_has_its_own_name() {
        assert_eq!(Route::ALL.iter().map(|route| route.name()).collect::<BTreeSet<_>>().len(), Route::ALL.len());
    }

    #[test]
    fn the_vmms_own_local_apic_changes_nothing_for_the_guest() {
        assert_eq!(Route::VmmX2Apic.in_guest(), Route::X2Apic.in_guest());
        assert_ne!(Route::VmmX2Apic.irqchip(), Route::X2Apic.irqchip());
    }
}
