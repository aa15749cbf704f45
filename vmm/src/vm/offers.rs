//! What KVM offers on this host, as routes ask for it.

use super::Hypervisor;
use crate::config::HostOffers;
use kvm_bindings::{KVM_CAP_X2APIC_API, KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, KVM_X2APIC_API_USE_32BIT_IDS};
use kvm_ioctls::Cap;

/// KVM_CAP_X2APIC_API's flags that make APIC ids of 32 bits, and 255 an id like any other.
pub(super) const WIDE_APIC_IDS: u32 = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;

impl Hypervisor {
    /// What this host offers to routes.
    pub fn offers(&self) -> HostOffers {
        let flags = self.kvm.check_extension_raw(KVM_CAP_X2APIC_API.into());
        HostOffers {
            kernel_local_apics: self.kvm.check_extension(Cap::Irqchip),
            x2apic: self.offers_x2apic(),
            wide_apic_ids: has_wide_ids(flags),
            signal_msi: self.kvm.check_extension(Cap::SignalMsi),
            user_space_msrs: self.kvm.check_extension(Cap::X86UserSpaceMsr),
        }
    }
}

/// Whether KVM_CHECK_EXTENSION's answer for KVM_CAP_X2APIC_API has both flags; a negative answer is an error.
pub fn has_wide_ids(answer: i32) -> bool {
    u32::try_from(answer).is_ok_and(|flags| flags & WIDE_APIC_IDS == WIDE_APIC_IDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flag_makes_no_wide_ids() {
        assert!(has_wide_ids(3));
        assert!(
            [-22, 0, 1, 2].iter().all(|&answer| !has_wide_ids(answer)),
            "255 would still be KVM's broadcast address"
        );
    }
}
