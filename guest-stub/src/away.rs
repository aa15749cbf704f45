//! Waiting until the VMM keeps every target's thread from the guest: states `preempted` and `out`.

use crate::cpu::tsc;
use crate::processor::UserWords;
use core::ops::Range;
use core::sync::atomic::Ordering;
use guest_stub::patience::Patience;

/// How long a block's initiator waits for that. All times are TSC cycles.
pub(crate) struct Away {
    patience: Patience,
}

impl Away {
    /// `deadline` is that of a call.
    pub(crate) fn new(deadline: u64) -> Self {
        Self { patience: Patience::new(deadline) }
    }

    /// Waits until each of `targets` but processor `me` has been away for `time`, in an absence that began after `sent`, when the
    /// last call was sent; or in vain: the round is made all the same, and does not count. Returns what time it is then, as `sent` is on this processor's clock.
    pub(crate) fn wait(&mut self, me: usize, targets: Range<usize>, sent: u64, time: u64) -> u64 {
        // Relaxed: the VMM writes it before the guest starts.
        let ahead = UserWords::of(me).subtracted().load(Ordering::Relaxed);
        let start = tsc::now();
        loop {
            let now = tsc::now();
            let common = now.wrapping_sub(ahead);
            let are_away = targets.clone().filter(|&target| target != me).all(|target| {
                let words = UserWords::of(target);
                // Acquire pairs with the VMM's Release: the end is that of this absence, or later.
                let since = words.away_since().load(Ordering::Acquire);
                since > sent.wrapping_sub(ahead)
                    && common >= since.wrapping_add(time)
                    && common <= words.away_until().load(Ordering::Relaxed)
            });
            if are_away || self.patience.is_over(now.wrapping_sub(start)) {
                self.patience.learn(are_away);
                return now;
            }
            core::hint::spin_loop();
        }
    }
}
