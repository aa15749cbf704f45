//! The ways an interrupt travels from the initiator to its targets: what the guest does, and on which machine.

use super::LocalApics;
use guest_stub::abi;

pub use guest_stub::abi::cell::Route;

/// What follows from a route.
#[expect(clippy::wrong_self_convention, reason = "a route is a number")]
pub trait Rules {
    /// What the guest does.
    fn in_guest(self) -> abi::GuestRoute;

    /// Where the local APICs of its machine are.
    fn irqchip(self) -> LocalApics;

    /// Whether the guest's local APICs are in xAPIC mode, where ids end at 254.
    fn is_xapic(self) -> bool;

    /// Whether the guest's local APICs have to be in x2APIC mode.
    fn is_x2apic(self) -> bool;

    /// Whether the host is the initiator, and no vCPU.
    fn is_host(self) -> bool;

    /// Whether a vCPU sends an interrupt, or asks for one.
    fn sends_from_guest(self) -> bool;

    /// Whether a processor with interrupts off does not get it.
    fn is_maskable(self) -> bool;
}

impl Rules for Route {
    fn in_guest(self) -> abi::GuestRoute {
        match self {
            Self::XApic | Self::VmmXApic => abi::GuestRoute::XApic,
            Self::X2Apic | Self::VmmX2Apic => abi::GuestRoute::X2Apic,
            Self::Memory => abi::GuestRoute::Memory,
            Self::Nmi => abi::GuestRoute::Nmi,
            Self::Msi => abi::GuestRoute::Msi,
            Self::Host | Self::VmmHost => abi::GuestRoute::Host,
        }
    }

    fn irqchip(self) -> LocalApics {
        match self {
            Self::VmmXApic | Self::VmmX2Apic | Self::VmmHost => LocalApics::User,
            _ => LocalApics::Kernel,
        }
    }

    fn is_xapic(self) -> bool {
        matches!(self.in_guest(), abi::GuestRoute::XApic)
    }

    fn is_x2apic(self) -> bool {
        matches!(self.in_guest(), abi::GuestRoute::X2Apic)
    }

    fn is_host(self) -> bool {
        matches!(self, Self::Host | Self::VmmHost)
    }

    fn sends_from_guest(self) -> bool {
        !self.is_host() && !matches!(self, Self::Memory)
    }

    fn is_maskable(self) -> bool {
        !matches!(self, Self::Memory | Self::Nmi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vmms_own_local_apic_changes_nothing_for_the_guest() {
        assert_eq!(Route::VmmX2Apic.in_guest(), Route::X2Apic.in_guest());
        assert_ne!(Route::VmmX2Apic.irqchip(), Route::X2Apic.irqchip());
    }
}
