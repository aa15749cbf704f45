//! Port output, each an exit to the VMM.

use core::arch::asm;

/// Writes `value` to `port`. The VMM may read and write the command page before this returns.
#[inline]
pub(crate) fn write(port: u16, value: u32) {
    // SAFETY: the ports of the ABI have no effect on the guest but through the command page, which is volatile; not
    // `nomem`, so that the compiler keeps what was written before the exit before it.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) };
}
