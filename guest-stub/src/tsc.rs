//! Time stamps.

use crate::port;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};
use guest_stub::abi;

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

/// Busy until `cycles` have passed.
pub(crate) fn wait(cycles: u64) {
    let start = now();
    while now().wrapping_sub(start) < cycles {
        core::hint::spin_loop();
    }
}

/// Whether a wait that takes long gives the CPU away.
static YIELD: AtomicBool = AtomicBool::new(false);

/// Makes long waits give the CPU away. vCPU 0, before the others start.
pub(crate) fn yield_while_waiting() {
    YIELD.store(true, Ordering::Relaxed);
}

/// Polls eight times, with nothing in between.
#[inline]
pub(crate) fn eight_polls(condition: impl Fn() -> bool) -> bool {
    let soon = condition() || condition() || condition() || condition();
    soon || condition() || condition() || condition() || condition()
}

/// Polls until `condition` holds or the TSC has passed `until`; `false` for the latter. A condition that holds soon is
/// seen by the tightest loop there is: the clock is read only after many polls.
#[inline]
pub(crate) fn poll_until(until: u64, condition: impl Fn() -> bool) -> bool {
    let eight_polls = || eight_polls(&condition);
    loop {
        if eight_polls() {
            return true;
        }
        if YIELD.load(Ordering::Relaxed) {
            port::write(abi::PORT_YIELD, 0);
        } else if (0..32).any(|_| eight_polls()) {
            return true;
        }
        if now() > until {
            return condition();
        }
        core::hint::spin_loop();
    }
}
