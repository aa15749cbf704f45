//! What KVM offers, asked at its device: for the doctor's document, and, with what the kernel offers without it, as routes need it.

use super::Hypervisor;
use super::device::{self, Error};
use crate::config::routes::{self, Route};
use crate::config::{HostOffers, Need};
use crate::native::membarrier::Barrier;
use crate::results::doctor::{GuestCpuid, Offer};
use kipi_kvm_apic::cpuid;
use kvm_bindings::{
    CpuId, KVM_CAP_BINARY_STATS_FD, KVM_CAP_GET_TSC_KHZ, KVM_CAP_HALT_POLL, KVM_CAP_HYPERV_SEND_IPI,
    KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_IRQCHIP, KVM_CAP_MAX_VCPU_ID, KVM_CAP_MAX_VCPUS, KVM_CAP_NR_VCPUS,
    KVM_CAP_SIGNAL_MSI, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_TSC_CONTROL, KVM_CAP_TSC_DEADLINE_TIMER,
    KVM_CAP_VCPU_ATTRIBUTES, KVM_CAP_X2APIC_API, KVM_CAP_X86_USER_SPACE_MSR, KVM_MAX_CPUID_ENTRIES,
    KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK, KVM_X2APIC_API_USE_32BIT_IDS, kvm_cpuid_entry2,
};
use kvm_ioctls::Kvm;
use std::path::Path;

/// KVM_CAP_X2APIC_API's flags that make APIC ids of 32 bits, and 255 an id like any other.
pub(super) const WIDE_APIC_IDS: u32 = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;

/// A capability, as KVM_CHECK_EXTENSION knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// Its name without `KVM_CAP_`.
    pub name: &'static str,
    number: u32,
}

/// Declares the capabilities by the kernel's names.
macro_rules! capabilities {
    ($($(#[$meta:meta])* $name:ident = $number:ident),+ $(,)?) => {
        impl Capability {
            $(
                $(#[$meta])*
                pub const $name: Self = Self { name: stringify!($name), number: $number };
            )+

            /// Every capability that is asked for.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

capabilities! {
    /// An interrupt controller in the kernel.
    IRQCHIP = KVM_CAP_IRQCHIP,
    /// The local APICs in the kernel, the rest in user space.
    SPLIT_IRQCHIP = KVM_CAP_SPLIT_IRQCHIP,
    /// APIC ids of 32 bits; the value is a set of flags.
    X2APIC_API = KVM_CAP_X2APIC_API,
    /// The VMM can send MSIs.
    SIGNAL_MSI = KVM_CAP_SIGNAL_MSI,
    /// Guests can send IPIs by Hyper-V's hypercall.
    HYPERV_SEND_IPI = KVM_CAP_HYPERV_SEND_IPI,
    /// MSR accesses can exit to the VMM; the value is a set of flags.
    X86_USER_SPACE_MSR = KVM_CAP_X86_USER_SPACE_MSR,
    /// Halt polling can be set for each VM.
    HALT_POLL = KVM_CAP_HALT_POLL,
    /// The guest's TSC frequency can be set.
    TSC_CONTROL = KVM_CAP_TSC_CONTROL,
    /// The guest's TSC frequency can be read.
    GET_TSC_KHZ = KVM_CAP_GET_TSC_KHZ,
    /// The local APIC's timer has a TSC deadline mode.
    TSC_DEADLINE_TIMER = KVM_CAP_TSC_DEADLINE_TIMER,
    /// vCPUs have attributes, the TSC offset among them.
    VCPU_ATTRIBUTES = KVM_CAP_VCPU_ATTRIBUTES,
    /// Statistics of each vCPU through a file descriptor.
    BINARY_STATS_FD = KVM_CAP_BINARY_STATS_FD,
    /// KVM_RUN can be told to return at once.
    IMMEDIATE_EXIT = KVM_CAP_IMMEDIATE_EXIT,
    /// The number of vCPUs that KVM recommends at most.
    NR_VCPUS = KVM_CAP_NR_VCPUS,
    /// The number of vCPUs that KVM allows at most.
    MAX_VCPUS = KVM_CAP_MAX_VCPUS,
    /// One more than the highest vCPU id that KVM allows.
    MAX_VCPU_ID = KVM_CAP_MAX_VCPU_ID,
}

/// Opens the device and asks KVM for everything that it offers.
///
/// # Errors
/// When the device cannot be opened, is not KVM's, or speaks another version.
pub fn ask(device: &Path) -> Result<Offer, Error> {
    let kvm = device::open(device)?;
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).ok();
    Ok(offer(&kvm, cpuid.as_ref().map(CpuId::as_slice)))
}

fn offer(kvm: &Kvm, cpuid: Option<&[kvm_cpuid_entry2]>) -> Offer {
    let answer =
        |capability: &Capability| (capability.name.to_owned(), kvm.check_extension_raw(capability.number.into()));
    Offer {
        api_version: kvm.get_api_version(),
        capabilities: Capability::ALL.iter().map(answer).collect(),
        cpuid: cpuid.map(guest_cpuid),
    }
}

impl Hypervisor {
    /// What this host offers to routes.
    pub fn offers(&self) -> HostOffers {
        HostOffers { hypercalls: self.hypercalls_reach_kvm(), ..self.offers_untried() }
    }

    /// The same for some routes: what none of these needs is not tried out, which takes its time.
    pub fn offers_to(&self, routes: &[Route]) -> HostOffers {
        let needs_hypercalls = |&route: &Route| routes::of(route).needs.contains(&Need::Hypercalls);
        if routes.iter().any(needs_hypercalls) { self.offers() } else { self.offers_untried() }
    }

    fn offers_untried(&self) -> HostOffers {
        to_routes(&offer(&self.kvm, Some(&self.cpuid)))
    }
}

/// What a host offers to routes without KVM: what its kernel does.
pub fn without_kvm() -> HostOffers {
    HostOffers {
        kernel_local_apics: false,
        x2apic: false,
        wide_apic_ids: false,
        signal_msi: false,
        pv_send_ipi: false,
        hyperv_send_ipi: false,
        hypercalls: false,
        user_space_msrs: false,
        membarrier: Barrier::Plain.is_offered(),
        membarrier_rseq: Barrier::Rseq.is_offered(),
    }
}

/// An offer as routes need it, and what the running kernel offers to native ones. Where KVM did not say what its CPUID has, x2APIC
/// mode may be there; and hypercalls, which nobody has tried yet, may reach it.
pub fn to_routes(offer: &Offer) -> HostOffers {
    let flags = u32::try_from(offer.value(Capability::X2APIC_API.name)).unwrap_or(0);
    HostOffers {
        kernel_local_apics: offer.has(Capability::IRQCHIP.name),
        x2apic: offer.cpuid.is_none_or(|cpuid| cpuid.x2apic),
        wide_apic_ids: flags & WIDE_APIC_IDS == WIDE_APIC_IDS,
        signal_msi: offer.has(Capability::SIGNAL_MSI.name),
        pv_send_ipi: offer.cpuid.is_none_or(|cpuid| cpuid.pv_send_ipi),
        hyperv_send_ipi: offer.has(Capability::HYPERV_SEND_IPI.name),
        hypercalls: true,
        user_space_msrs: offer.has(Capability::X86_USER_SPACE_MSR.name),
        ..without_kvm()
    }
}

fn guest_cpuid(cpuid: &[kvm_cpuid_entry2]) -> GuestCpuid {
    let leaf = |function| cpuid.iter().find(|entry| entry.function == function);
    let features = leaf(1).map_or(0, |entry| entry.ecx);
    let paravirtual = leaf(0x4000_0001).map_or(0, |entry| entry.eax);
    GuestCpuid {
        x2apic: cpuid::offers_x2apic(cpuid),
        tsc_deadline: features & (1 << 24) != 0,
        pv_send_ipi: paravirtual & (1 << 11) != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn cpuid_bits_are_taken_from_their_leaves() {
        let features = kvm_cpuid_entry2 { function: 1, ecx: 1 << 21, eax: 1 << 11, ..Default::default() };
        let paravirtual = kvm_cpuid_entry2 { function: 0x4000_0001, eax: 1 << 11, ..Default::default() };
        let bits = |entries: &[kvm_cpuid_entry2]| guest_cpuid(entries);
        assert_eq!(bits(&[features]), GuestCpuid { x2apic: true, tsc_deadline: false, pv_send_ipi: false });
        assert_eq!(bits(&[features, paravirtual]), GuestCpuid { x2apic: true, tsc_deadline: false, pv_send_ipi: true });
        assert_eq!(bits(&[]), GuestCpuid { x2apic: false, tsc_deadline: false, pv_send_ipi: false });
    }

    #[test]
    fn an_error_code_is_no_offer() {
        let capabilities = BTreeMap::from([("IRQCHIP".to_owned(), -22), ("SIGNAL_MSI".to_owned(), 1)]);
        let offer = Offer { api_version: 12, capabilities, cpuid: None };
        assert!(!offer.has(Capability::IRQCHIP.name));
        assert!(offer.has(Capability::SIGNAL_MSI.name));
        assert!(!offer.has(Capability::HALT_POLL.name), "not asked for");
    }

    #[test]
    fn one_flag_makes_no_wide_ids() {
        let wide = |answer| {
            let capabilities = BTreeMap::from([(Capability::X2APIC_API.name.to_owned(), answer)]);
            to_routes(&Offer { api_version: 12, capabilities, cpuid: None }).wide_apic_ids
        };
        assert!(wide(3) && wide(15));
        assert!(![-22, 0, 1, 2].into_iter().any(wide), "255 would still be KVM's broadcast address");
    }
}
