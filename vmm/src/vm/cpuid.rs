//! What CPUID shows the guest: what KVM supports, with each vCPU's own APIC id.

use kvm_bindings::kvm_cpuid_entry2;

const FEATURES: u32 = 0x1;
const TOPOLOGY: u32 = 0xB;
const TOPOLOGY_V2: u32 = 0x1F;
/// CPUID.1:ECX, SDM Vol. 2A table 3-10.
const ECX_X2APIC: u32 = 1 << 21;

/// Whether the entries offer x2APIC mode.
pub(super) fn offers_x2apic(entries: &[kvm_cpuid_entry2]) -> bool {
    entries.iter().any(|entry| entry.function == FEATURES && entry.ecx & ECX_X2APIC != 0)
}

/// Puts `apic_id` where a processor shows its own: leaf 1 (its low eight bits) and the topology leaves. Adds leaf 0xB,
/// by which the guest's processors know themselves, where KVM does not offer it.
pub(super) fn set_apic_id(entries: &mut Vec<kvm_cpuid_entry2>, apic_id: u32) {
    for entry in entries.iter_mut() {
        match entry.function {
            FEATURES => entry.ebx = entry.ebx & 0x00FF_FFFF | (apic_id & 0xFF) << 24,
            TOPOLOGY | TOPOLOGY_V2 => entry.edx = apic_id,
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

/// Says that the local APIC's timer has TSC deadlines (CPUID.01H:ECX bit 24). KVM leaves that to whoever emulates it.
pub(super) fn offer_tsc_deadline(entries: &mut [kvm_cpuid_entry2]) {
    const TSC_DEADLINE: u32 = 1 << 24;
    entries.iter_mut().filter(|entry| entry.function == FEATURES).for_each(|entry| entry.ecx |= TSC_DEADLINE);
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
}
