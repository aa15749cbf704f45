//! Time stamps.

use core::arch::asm;

/// A TSC value as RDTSC leaves it, in two halves: they are put together when nobody waits.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    low: u32,
    high: u32,
}

impl Stamp {
    /// The whole value.
    #[inline]
    pub(crate) fn value(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    /// Stores the value, half by half.
    ///
    /// # Safety
    /// `to` may be written.
    #[inline]
    pub(crate) unsafe fn write(self, to: *mut u64) {
        let halves = to.cast::<u32>();
        // SAFETY: the caller's promise; x86 is little-endian.
        unsafe {
            halves.write(self.low);
            halves.add(1).write(self.high);
        }
    }
}

/// The TSC, unordered: for a place where the instructions before it are known to be over (SDM Vol. 2B, RDTSC).
#[inline]
pub(crate) fn stamp() -> Stamp {
    let (low, high);
    // SAFETY: CR4.TSD is clear. Not `nomem`: the compiler must not move memory accesses across it.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    Stamp { low, high }
}

/// The TSC, read after every earlier load has its value (SDM Vol. 2B, RDTSC: LFENCE before it).
#[inline]
pub(crate) fn stamp_after_loads() -> Stamp {
    let (low, high);
    // SAFETY: as in `stamp`; an LFENCE has no effect but order.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    Stamp { low, high }
}

/// [`stamp`]'s value.
#[inline]
pub(crate) fn now() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: as in `stamp`. The upper halves of both registers are cleared.
    unsafe { asm!("rdtsc", out("rax") low, out("rdx") high, options(nostack, preserves_flags)) };
    high << 32 | low
}

/// Busy until the TSC has reached `time`; returns what time it is then.
#[inline]
pub(crate) fn wait_until(time: u64) -> u64 {
    loop {
        let now = now();
        if now >= time {
            return now;
        }
        core::hint::spin_loop();
    }
}

/// Busy until `cycles` have passed; returns what time it is then.
#[inline]
pub(crate) fn wait(cycles: u64) -> u64 {
    wait_until(now().wrapping_add(cycles))
}
