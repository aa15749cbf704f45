//! IRQL, which is CR8: bits 7:4 of the local APIC's TPR (SDM Vol. 3A 12.8.6).

use core::arch::asm;

/// Devices wait, another initiator's IPI does not: what a caller of the broadcast runs at while it waits.
pub(crate) const BELOW_IPI: u64 = guest_stub::abi::IPI_LEVEL as u64 - 1;
/// What workers run at.
pub(crate) const IPI: u64 = guest_stub::abi::IPI_LEVEL as u64;

/// The processor's IRQL.
#[inline]
pub(crate) fn current() -> u64 {
    let irql: u64;
    // SAFETY: reading CR8 at CPL0 has no effect.
    unsafe { asm!("mov {}, cr8", out(reg) irql, options(nomem, nostack, preserves_flags)) };
    irql
}

/// Sets the IRQL, up or down. An interrupt that this unmasks is taken when IF allows it.
#[inline]
pub(crate) fn set(irql: u64) {
    // SAFETY: 0 to 15 are all valid; callers pass one of the constants here or what `current` returned. Not `nomem`:
    // an interrupt handler may run right after it.
    unsafe { asm!("mov cr8, {}", in(reg) irql, options(nostack, preserves_flags)) };
}
