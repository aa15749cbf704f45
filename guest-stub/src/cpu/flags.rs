//! RFLAGS.IF: whether maskable interrupts are taken.

use core::arch::asm;

/// RFLAGS bit 9 (SDM Vol. 1 figure 3-8).
pub(crate) const RFLAGS_IF: u64 = 1 << 9;

/// Whether IF is set.
#[inline]
pub(crate) fn interrupts_enabled() -> bool {
    let flags: u64;
    // SAFETY: reads RFLAGS.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & RFLAGS_IF != 0
}

/// Sets IF.
///
/// # Safety
/// The descriptor tables are loaded, and no code relies on interrupts being off.
#[inline]
pub(crate) unsafe fn enable_interrupts() {
    // SAFETY: the caller's promise. Not `nomem`: a handler may run right after the next instruction.
    unsafe { asm!("sti", options(nostack)) };
}

/// Clears IF. Whoever does so sets it again.
#[inline]
pub(crate) fn disable_interrupts() {
    // SAFETY: no memory is touched; handlers wait. Not `nomem`: it orders what they and this code share.
    unsafe { asm!("cli", options(nostack)) };
}
