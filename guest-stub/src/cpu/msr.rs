//! Model-specific registers.

use core::arch::asm;

/// The time-stamp counter (SDM Vol. 3B 19.17.3).
pub(crate) const IA32_TSC: u32 = 0x10;
/// Where the local APIC is, and in which mode (SDM Vol. 3A 12.4.4).
pub(crate) const IA32_APIC_BASE: u32 = 0x1B;
/// By how much software has moved the time-stamp counter (SDM Vol. 3B 19.17.3).
pub(crate) const IA32_TSC_ADJUST: u32 = 0x3B;
/// When the local APIC's timer expires (SDM Vol. 3A 12.5.4.1).
pub(crate) const IA32_TSC_DEADLINE: u32 = 0x6E0;

/// Writes an MSR. Its callers name registers that the guest's own modes make exist, with values that the SDM allows.
#[inline]
pub(crate) fn write(msr: u32, value: u64) {
    // SAFETY: the callers' promise. Not `nomem`: an interrupt may follow from the write.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Reads an MSR that exists wherever there is a local APIC.
pub(crate) fn read(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: as in `write`.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}
