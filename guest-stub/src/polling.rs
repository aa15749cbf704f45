//! Polling until something holds, or until a time.

use crate::cpu::{port, tsc};
use core::sync::atomic::{AtomicBool, Ordering};
use guest_stub::abi;

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
        if tsc::now() > until {
            return condition();
        }
        core::hint::spin_loop();
    }
}
