//! Waiting until halted targets have been in HLT for long enough.

use crate::cpu::tsc;
use crate::processor::{Private, UserWords};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// The first rounds tell how long it takes from the end of a wait to the send. The waits of later ones are shorter by that.
const MEASURED: u32 = 3;

/// What a block's initiator has to know to send when its targets have been in HLT for a time.
pub(crate) struct HaltSettle {
    /// The time, in TSC cycles, at the send.
    asked: u64,
    /// The shortest time so far from the end of a wait to the send.
    preparation: u64,
    /// When the last wait ended.
    waited: u64,
}

impl HaltSettle {
    pub(crate) fn new(asked: u64) -> Self {
        Self { asked, preparation: u64::MAX, waited: tsc::now() }
    }

    /// Waits before the send of `round`, for which all targets are ready: every other processor. Returns what time it is then.
    pub(crate) fn wait(&mut self, private: &Private, processors: usize, round: u32) -> u64 {
        self.wait_for(private, 0..processors, round)
    }

    /// As [`Self::wait`], where the targets are those of `targets` but this processor. Out of line: rounds of other states have
    /// nothing to do with it.
    #[inline(never)]
    pub(crate) fn wait_for(&mut self, private: &Private, targets: Range<usize>, round: u32) -> u64 {
        if (1..=MEASURED).contains(&round) {
            let sent = private.recorded(round - 1).t0;
            self.preparation = self.preparation.min(sent.wrapping_sub(self.waited));
        }
        let preparation = if round == 0 { 0 } else { self.preparation };
        let since = self.halted_since(private.index, targets);
        self.waited = tsc::wait_until(since.wrapping_add(self.asked.saturating_sub(preparation)));
        self.waited
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
