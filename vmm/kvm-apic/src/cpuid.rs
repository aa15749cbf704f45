//! What CPUID shows the guest of its local APIC: what KVM supports, with each vCPU's own APIC id, and without what needs a local
//! APIC of KVM's.

use crate::error::{Error, Operation};
use kipi_apic::capabilities::{Capabilities, DeliveryStatus};
use kvm_bindings::{CpuId, kvm_cpuid_entry2};

const FEATURES: u32 = 0x1;
const TOPOLOGY: u32 = 0xB;
const TOPOLOGY_V2: u32 = 0x1F;
const ADDRESS_SIZES: u32 = 0x8000_0008;
/// AMD's extended APIC id, in EAX, and its extended topology, with the id in EDX (APM Vol. 3, appendix E.4).
const EXTENDED_APIC_ID: u32 = 0x8000_001E;
const EXTENDED_TOPOLOGY: u32 = 0x8000_0026;
/// Where a hypervisor's leaves may begin: Hyper-V's come first, and KVM's then lie behind them.
const HYPERVISORS: std::ops::Range<u32> = 0x4000_0000..0x4001_0000;
/// CPUID.1:ECX, SDM Vol. 2A table 3-10.
const ECX_X2APIC: u32 = 1 << 21;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
/// What KVM does with local APICs of its own alone (KVM documentation, cpuid.rst): asynchronous page faults, PV EOI, unhalt,
/// asynchronous page faults as VM exits, send IPI, sched yield, asynchronous page faults by interrupt, extended destination ids.
const NEEDS_KERNEL_APICS: u32 = 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14 | 1 << 15;

/// Makes KVM's supported CPUID that of a vCPU with this APIC id, whose local APIC is in user space and has TSC deadlines or not.
pub(crate) fn adapt(entries: &mut Vec<kvm_cpuid_entry2>, apic_id: u32, tsc_deadline: bool) {
    set_apic_id(entries, apic_id);
    let paravirtual = paravirtual_leaf(entries);
    for entry in entries {
        match entry.function {
            FEATURES if tsc_deadline => entry.ecx |= ECX_TSC_DEADLINE,
            FEATURES => entry.ecx &= !ECX_TSC_DEADLINE,
            leaf if Some(leaf) == paravirtual => entry.eax &= !NEEDS_KERNEL_APICS,
            _ => {}
        }
    }
}

/// KVM_CPUID_FEATURES, behind the leaf with KVM's signature.
fn paravirtual_leaf(entries: &[kvm_cpuid_entry2]) -> Option<u32> {
    let signature = [b"KVMK", b"VMKV", b"M\0\0\0"].map(|text| u32::from_le_bytes(*text));
    let is_kvms = |entry: &&kvm_cpuid_entry2| {
        HYPERVISORS.contains(&entry.function) && [entry.ebx, entry.ecx, entry.edx] == signature
    };
    entries.iter().find(is_kvms).map(|entry| entry.function + 1)
}

/// The entries as KVM_SET_CPUID2 takes them.
///
/// # Errors
/// If there are more than KVM takes.
pub fn to_kvm(entries: &[kvm_cpuid_entry2]) -> Result<CpuId, Error> {
    CpuId::from_entries(entries).map_err(|_| Error { operation: Operation::SetCpuid2, errno: libc::E2BIG })
}

/// What a local APIC of a vCPU with these entries has.
pub(crate) fn capabilities(entries: &[kvm_cpuid_entry2]) -> Capabilities {
    /// A processor without the leaf has as many.
    const FEWEST_ADDRESS_BITS: u32 = 36;
    let leaf = |function| entries.iter().find(|entry| entry.function == function);
    let features = leaf(FEATURES).map_or(0, |entry| entry.ecx);
    Capabilities {
        address_bits: leaf(ADDRESS_SIZES).map_or(FEWEST_ADDRESS_BITS, |entry| entry.eax & 0xFF),
        x2apic: features & ECX_X2APIC != 0,
        tsc_deadline: features & ECX_TSC_DEADLINE != 0,
        icr_delivery_status: if is_amd(entries) { DeliveryStatus::Reserved } else { DeliveryStatus::Ignored },
    }
}

/// Whether the processor follows AMD's manual, where that differs from Intel's.
fn is_amd(entries: &[kvm_cpuid_entry2]) -> bool {
    let vendor = entries.iter().find(|entry| entry.function == 0).map(|entry| {
        let [a, b, c] = [entry.ebx, entry.edx, entry.ecx].map(u32::to_le_bytes);
        [a, b, c].concat()
    });
    vendor.is_some_and(|vendor| [b"AuthenticAMD", b"HygonGenuine"].iter().any(|name| name[..] == vendor))
}

/// Whether the instruction of hypercalls is VMMCALL (APM Vol. 3) and not VMCALL (SDM Vol. 3C 31.3).
pub fn has_vmmcall(entries: &[kvm_cpuid_entry2]) -> bool {
    is_amd(entries)
}

/// Whether there is IA32_TSC_ADJUST (CPUID.07H.0:EBX bit 1).
pub(crate) fn has_tsc_adjust(entries: &[kvm_cpuid_entry2]) -> bool {
    entries.iter().any(|entry| (entry.function, entry.index) == (7, 0) && entry.ebx & 1 << 1 != 0)
}

/// Version information, which is in EDX after a reset (CPUID.01H:EAX).
pub(crate) fn signature(entries: &[kvm_cpuid_entry2]) -> u32 {
    entries.iter().find(|entry| entry.function == FEATURES).map_or(0, |entry| entry.eax)
}

/// Whether the entries offer x2APIC mode.
pub fn offers_x2apic(entries: &[kvm_cpuid_entry2]) -> bool {
    entries.iter().any(|entry| entry.function == FEATURES && entry.ecx & ECX_X2APIC != 0)
}

/// Puts `apic_id` where a processor shows its own: leaf 1 (its low eight bits) and the topology leaves of both vendors. Adds leaf 0xB,
/// by which the guest's processors know themselves, where KVM does not offer it.
pub fn set_apic_id(entries: &mut Vec<kvm_cpuid_entry2>, apic_id: u32) {
    for entry in entries.iter_mut() {
        match entry.function {
            FEATURES => entry.ebx = entry.ebx & 0x00FF_FFFF | (apic_id & 0xFF) << 24,
            TOPOLOGY | TOPOLOGY_V2 | EXTENDED_TOPOLOGY => entry.edx = apic_id,
            EXTENDED_APIC_ID => entry.eax = apic_id,
            _ => {}
        }
    }
    if !entries.iter().any(|entry| entry.function == TOPOLOGY && entry.index == 0) {
        const KVM_CPUID_FLAG_SIGNIFCANT_INDEX: u32 = 1;
        entries.push(kvm_cpuid_entry2 {
            function: TOPOLOGY,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            edx: apic_id,
            ..kvm_cpuid_entry2::default()
        });
        raise_limit(entries);
    }
}

/// Makes leaf 0 announce leaf 0xB.
fn raise_limit(entries: &mut [kvm_cpuid_entry2]) {
    for entry in entries.iter_mut().filter(|entry| entry.function == 0) {
        entry.eax = entry.eax.max(TOPOLOGY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, ebx: u32::MAX, ..kvm_cpuid_entry2::default() }
    }

    #[test]
    fn each_place_gets_the_id() {
        let mut entries = vec![entry(0), entry(1), entry(TOPOLOGY), entry(TOPOLOGY_V2)];
        set_apic_id(&mut entries, 0x12C);
        assert_eq!(entries[1].ebx, 0x2CFF_FFFF);
        assert_eq!((entries[2].edx, entries[3].edx), (0x12C, 0x12C));
        assert_eq!(entries.len(), 4);
    }

    #[test]
    fn a_missing_topology_leaf_is_added() {
        let mut entries = vec![entry(0), entry(1)];
        set_apic_id(&mut entries, 7);
        assert_eq!((entries[2].function, entries[2].edx), (TOPOLOGY, 7));
        assert_eq!(entries[0].eax, TOPOLOGY);
    }

    #[test]
    fn x2apic_is_bit_21_of_leaf_1() {
        let mut features = entry(1);
        assert!(!offers_x2apic(&[features]));
        features.ecx = 0x20_0000;
        assert!(offers_x2apic(&[features]));
    }
    #[test]
    fn what_needs_a_local_apic_of_kvms_is_taken_out() {
        let text = |text: &[u8; 4]| u32::from_le_bytes(*text);
        let (ebx, ecx, edx) = (text(b"KVMK"), text(b"VMKV"), text(b"M\0\0\0"));
        let features = |function| kvm_cpuid_entry2 { eax: u32::MAX, ..entry(function) };
        let mut entries = vec![entry(0), entry(1), features(0x4000_0101), features(0x4000_0001)];
        entries.push(kvm_cpuid_entry2 { ebx, ecx, edx, ..entry(0x4000_0100) });
        entries[1].ecx = ECX_X2APIC;
        adapt(&mut entries, 3, true);
        let send_ipi = 1 << 11;
        let steal_time = 1 << 5;
        assert_eq!(entries[2].eax & (send_ipi | steal_time), steal_time);
        assert_eq!(entries[3].eax, u32::MAX, "another hypervisor's");
        assert_eq!(entries[1].ecx, ECX_X2APIC | ECX_TSC_DEADLINE);
        adapt(&mut entries, 3, false);
        assert_eq!(entries[1].ecx, ECX_X2APIC);
    }

    #[test]
    fn capabilities_follow_the_vendor_and_the_leaves() {
        let text = |name: &[u8]| u32::from_le_bytes(name.try_into().unwrap());
        let vendor = |name: &[u8; 12]| kvm_cpuid_entry2 {
            ebx: text(&name[..4]),
            edx: text(&name[4..8]),
            ecx: text(&name[8..]),
            ..entry(0)
        };
        let sizes = kvm_cpuid_entry2 { eax: 0x3030, ..entry(ADDRESS_SIZES) };
        let amd = capabilities(&[vendor(b"AuthenticAMD"), sizes]);
        assert_eq!(
            (amd.icr_delivery_status, amd.address_bits, amd.x2apic, amd.tsc_deadline),
            (DeliveryStatus::Reserved, 48, false, false)
        );
        let features = kvm_cpuid_entry2 { ecx: ECX_X2APIC | ECX_TSC_DEADLINE, ..entry(FEATURES) };
        let intel = capabilities(&[vendor(b"GenuineIntel"), features]);
        assert_eq!(
            (intel.icr_delivery_status, intel.address_bits, intel.x2apic, intel.tsc_deadline),
            (DeliveryStatus::Ignored, 36, true, true)
        );
    }
}
