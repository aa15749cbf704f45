//! Instructions: ports, MSRs, CR3, the time-stamp counter.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

/// Reads a byte from a port.
pub(crate) fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: callers name ports whose reads change nothing but the device's own state.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Reads 32 bits from a port.
pub(crate) fn inl(port: u16) -> u32 {
    let value;
    // SAFETY: as in `inb`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a byte to a port.
pub(crate) fn outb(port: u16, value: u8) {
    // SAFETY: callers name devices that do not reach into memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}

/// Writes bytes to a port one after the other, by one instruction: a hypervisor takes them in one exit.
pub(crate) fn outsb(port: u16, bytes: &[u8]) {
    // SAFETY: as in `outb`; DS is flat, and the direction flag is clear.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _, inout("rcx") bytes.len() => _,
            options(readonly, nostack, preserves_flags));
    }
}

/// Writes 32 bits to a port.
pub(crate) fn outl(port: u16, value: u32) {
    // SAFETY: as in `outb`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) };
}

/// Reads an MSR that exists: #GP has no handler here.
pub(crate) fn read_msr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading has no effect.
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes an MSR that exists.
#[expect(clippy::cast_possible_truncation, reason = "a register's two halves")]
pub(crate) fn write_msr(msr: u32, value: u64) {
    // SAFETY: callers name registers that take such a value; not `nomem`, since some tell a hypervisor where to write.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// The time-stamp counter, read after all that precedes it.
pub(crate) fn tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// A leaf of CPUID; zeroes where there is none.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let last = __cpuid(leaf & 0xFFFF_0000).eax;
    // A hypervisor's range is told by its signature, which its reader looks at.
    if leaf > last && leaf & 0xFFFF_0000 != HYPERVISOR {
        return CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
    __cpuid_count(leaf, subleaf)
}

/// The first leaf of a hypervisor's.
pub(crate) const HYPERVISOR: u32 = 0x4000_0000;

/// Stops this processor for good.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: nothing runs here any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
