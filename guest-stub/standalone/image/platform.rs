//! What the machine says of itself: processor, hypervisor, modes of the local APIC.

use crate::cpu::{self, HYPERVISOR};
use core::arch::x86_64::CpuidResult;

/// A name of CPUID's: up to 48 bytes of ASCII.
pub(crate) struct Name {
    bytes: [u8; 48],
}

impl Name {
    fn of(words: impl Iterator<Item = u32>) -> Self {
        let mut bytes = [0; 48];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self { bytes }
    }

    /// The text, without what pads it; empty where it is none.
    pub(crate) fn text(&self) -> &str {
        let end = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(self.bytes.len());
        core::str::from_utf8(&self.bytes[..end]).unwrap_or_default().trim()
    }
}

/// The processor's brand string (SDM Vol. 2A, CPUID leaves 80000002H to 80000004H).
pub(crate) fn brand() -> Name {
    const FIRST: u32 = 0x8000_0002;
    let leaves = (FIRST..FIRST + 3).map(|leaf| cpu::cpuid(leaf, 0));
    Name::of(leaves.flat_map(|CpuidResult { eax, ebx, ecx, edx }| [eax, ebx, ecx, edx]))
}

/// The hypervisor's signature; empty on bare metal (CPUID.1:ECX bit 31).
pub(crate) fn hypervisor() -> Name {
    if !is_virtual() {
        return Name::of(core::iter::empty());
    }
    let CpuidResult { ebx, ecx, edx, .. } = cpu::cpuid(HYPERVISOR, 0);
    Name::of([ebx, ecx, edx].into_iter())
}

/// Whether there is a hypervisor.
pub(crate) fn is_virtual() -> bool {
    cpu::cpuid(1, 0).ecx & 1 << 31 != 0
}

/// Whether the local APIC has an x2APIC mode (CPUID.1:ECX bit 21).
pub(crate) fn has_x2apic() -> bool {
    cpu::cpuid(1, 0).ecx & 1 << 21 != 0
}

/// Whether the local APIC has an xAPIC mode: firmware can lock it into x2APIC mode (IA32_XAPIC_DISABLE_STATUS; SDM Vol. 4, MSR
/// BDH, which IA32_ARCH_CAPABILITIES bit 21 tells of).
pub(crate) fn has_xapic() -> bool {
    const IA32_ARCH_CAPABILITIES: u32 = 0x10A;
    const XAPIC_DISABLE_STATUS: u64 = 1 << 21;
    const IA32_XAPIC_DISABLE_STATUS: u32 = 0xBD;
    const LEGACY_XAPIC_DISABLED: u64 = 1;
    let has_capabilities = cpu::cpuid(7, 0).edx & 1 << 29 != 0;
    let can_be_locked = has_capabilities && cpu::read_msr(IA32_ARCH_CAPABILITIES) & XAPIC_DISABLE_STATUS != 0;
    !(can_be_locked && cpu::read_msr(IA32_XAPIC_DISABLE_STATUS) & LEGACY_XAPIC_DISABLED != 0)
}

/// This processor's APIC id: the x2APIC's where CPUID has it (leaf 0BH), else the initial one (leaf 1).
pub(crate) fn apic_id() -> u32 {
    const TOPOLOGY: u32 = 0xB;
    let topology = cpu::cpuid(TOPOLOGY, 0);
    if topology.ebx != 0 { topology.edx } else { cpu::cpuid(1, 0).ebx >> 24 }
}
