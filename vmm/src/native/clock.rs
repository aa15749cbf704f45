//! Time stamps, as the guest takes them: the same instructions in the same order, so that what they cost is alike.

/// The TSC, unordered.
pub(super) use crate::events::clock::host_tsc as stamp;

use core::arch::x86_64::_mm_lfence;
use std::hint::spin_loop;

/// The TSC, read after every earlier load has its value (SDM Vol. 2B, RDTSC: LFENCE before it).
#[inline]
pub(super) fn stamp_after_loads() -> u64 {
    // SAFETY: LFENCE is SSE2's, which every x86-64 processor has.
    unsafe { _mm_lfence() };
    stamp()
}

/// Differences of two stamps in a row: what a stamp costs.
pub(super) fn differences(count: usize) -> Vec<i64> {
    let difference = |_| {
        let first = stamp();
        stamp().wrapping_sub(first).cast_signed()
    };
    (0..count).map(difference).collect()
}

/// Polls until `holds`; `false` if it did not before the TSC was at `deadline`. As tight a loop as the guest's: the clock is read
/// only after many polls.
#[inline]
pub(super) fn poll_until(deadline: u64, holds: impl Fn() -> bool) -> bool {
    const POLLS: u32 = 256;
    loop {
        if (0..POLLS).any(|_| holds()) {
            return true;
        }
        if stamp() > deadline {
            return holds();
        }
        spin_loop();
    }
}

/// Lets so many TSC cycles pass.
#[inline]
pub(super) fn pause_for(cycles: u64) {
    let start = stamp();
    while stamp().wrapping_sub(start) < cycles {
        spin_loop();
    }
}
