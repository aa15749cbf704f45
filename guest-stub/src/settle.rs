//! Waiting until targets have been in their state for long enough.

use crate::cpu::tsc;
use crate::processor::{Private, UserWords};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// The first rounds tell how long it takes from the end of a wait to the send. The waits of later ones are shorter by that.
const MEASURED: u32 = 3;

/// What a block's initiator has to know to send when its targets have been in their state for a time: halted ones since their HLT,
/// others since it has seen that they are ready.
pub(crate) struct Settle {
    /// The time, in TSC cycles, at the send.
    asked: u64,
    is_halt: bool,
    /// The shortest time so far from the end of a wait to the send.
    preparation: u64,
    /// What is left of the time for a wait.
    left: u64,
    /// When the last wait ended.
    waited: u64,
}

impl Settle {
    pub(crate) fn new(asked: u64, is_halt: bool) -> Self {
        Self { asked, is_halt, preparation: u64::MAX, left: asked, waited: tsc::now() }
    }

    /// Waits before the send of `round`, for which all targets are ready: those of `targets` but this processor. Returns what time it
    /// is then.
    #[inline]
    pub(crate) fn wait(&mut self, private: &Private, targets: Range<usize>, round: u32) -> u64 {
        if round <= MEASURED {
            self.measure(private, round);
        }
        // Where the preparation takes as long, there is nothing to wait for.
        self.waited = if self.left == 0 { tsc::now() } else { self.wait_for_rest(private, targets) };
        self.waited
    }

    #[inline(never)]
    fn measure(&mut self, private: &Private, round: u32) {
        if round > 0 {
            let sent = private.recorded(round - 1).t0;
            self.preparation = self.preparation.min(sent.wrapping_sub(self.waited));
            self.left = self.asked.saturating_sub(self.preparation);
        }
    }

    #[inline(never)]
    fn wait_for_rest(&self, private: &Private, targets: Range<usize>) -> u64 {
        let since = if self.is_halt { self.halted_since(private.index, targets) } else { tsc::now() };
        tsc::wait_until(since.wrapping_add(self.left))
    }

    /// When the last target executed the HLT that it is ready in, by its own stamp, on this processor's clock. One from before the
    /// last send, or from the future, is as wrong as the estimate of an offset may be: then it is now that counts.
    fn halted_since(&self, me: usize, targets: Range<usize>) -> u64 {
        // Relaxed: the VMM writes it before the guest starts.
        let ahead = |processor| UserWords::of(processor).subtracted().load(Ordering::Relaxed);
        let now = tsc::now();
        let targets = targets.filter(|&processor| processor != me);
        // Relaxed: `ready`, which has been acquired, was stored after it.
        let halted = |target| UserWords::of(target).halted().load(Ordering::Relaxed).wrapping_sub(ahead(target));
        let last = targets.map(|target| halted(target).wrapping_add(ahead(me))).max();
        last.filter(|last| (self.waited..=now).contains(last)).unwrap_or(now)
    }
}
