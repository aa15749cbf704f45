//! Time stamps.

use core::arch::asm;

/// A TSC value as RDTSC leaves it, in two halves: they are put together when nobody waits.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    low: u32,
    high: u32,
}

impl Stamp {
    /// Not a time.
    pub(crate) const ZERO: Self = Self { low: 0, high: 0 };

    /// The whole value.
    #[inline]
    pub(crate) fn value(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
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
    stamp().value()
}

/// Busy until the TSC has reached `time`; returns what time it is then.
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
pub(crate) fn wait(cycles: u64) -> u64 {
    let start = now();
    loop {
        let now = now();
        if now.wrapping_sub(start) >= cycles {
            return now;
        }
        core::hint::spin_loop();
    }
}
