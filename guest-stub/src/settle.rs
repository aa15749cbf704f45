//! Waiting until targets have been in their state for long enough.

use crate::away::Away;
use crate::cpu::tsc;
use crate::processor::{Private, UserWords};
use core::ops::Range;
use core::sync::atomic::Ordering;
use guest_stub::abi::TargetState;

/// The first rounds tell how long it takes from the end of a wait to the send. The waits of later ones are shorter by that.
const MEASURED: u32 = 3;

/// What a block's initiator has to know to send when its targets have been in their state for a time.
pub(crate) struct Settle {
    /// The time, in TSC cycles, at the send.
    asked: u64,
    since: Since,
    /// The shortest time so far from the end of a wait to the send.
    preparation: u64,
    /// What is left of the time for a wait.
    left: u64,
    /// When the last wait ended.
    waited: u64,
}

/// What the time counts from.
enum Since {
    /// The initiator has seen that the targets are ready.
    Ready,
    /// The last target's HLT.
    Halted,
    /// The last target's thread was kept from the guest.
    Away(Away),
}

impl Settle {
    /// `deadline` is that of a call.
    pub(crate) fn new(asked: u64, state: TargetState, deadline: u64) -> Self {
        let since = match state {
            TargetState::Spin | TargetState::User | TargetState::Masked => Since::Ready,
            TargetState::Halt => Since::Halted,
            TargetState::Preempted | TargetState::Out => Since::Away(Away::new(deadline)),
        };
        let mut settle = Self { asked, since, preparation: u64::MAX, left: 0, waited: tsc::now() };
        settle.leave(asked);
        settle
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
            self.leave(self.asked.saturating_sub(self.preparation));
        }
    }

    /// Leaves so much of the time for a wait, without which nobody would look whether targets are away.
    fn leave(&mut self, time: u64) {
        self.left = match self.since {
            Since::Ready | Since::Halted => time,
            Since::Away(_) => time.max(1),
        };
    }

    #[inline(never)]
    fn wait_for_rest(&mut self, private: &Private, targets: Range<usize>) -> u64 {
        let since = match &mut self.since {
            Since::Ready => tsc::now(),
            Since::Halted => self.halted_since(private.index, targets),
            Since::Away(away) => return away.wait(private.index, targets, self.waited, self.left),
        };
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
