//! Sleeping until a word changes, as futex(2) does it.

use super::gathering::Gathering;
use super::generation::Generation;
use super::packet::Packet;
use crate::atomics::{AtomicU32, Ordering};

/// How a participant sleeps, and wakes others.
pub trait Sleeper {
    /// Sleeps while `word` holds `value`, and may return earlier. To look at the word and to fall asleep is one step to whoever
    /// changes the word and then calls [`Sleeper::wake`]: that wake-up is not lost.
    fn sleep(&self, word: &AtomicU32, value: u32);

    /// Wakes all who sleep for `word`, which has been changed.
    fn wake(&self, word: &AtomicU32);

    /// Whether it is later than `deadline`.
    fn is_late(&self, deadline: u64) -> bool;
}

impl Packet {
    /// Target: sleeps until the call is decided. `false`: it was not before its deadline.
    pub fn sleep_until_decided(&self, generation: Generation, sleeper: &impl Sleeper) -> bool {
        let pending = generation.get() + Self::PENDING_MINUS_GENERATION;
        sleep_until(self.deadline(), sleeper, self.gate(), |gate| gate != pending)
    }

    /// Target, which has completed the call: sleeps until it is over for all, and its initiator closes the gate. However long that
    /// takes: the initiator sees to an end.
    pub fn sleep_until_closed(&self, generation: Generation, sleeper: &impl Sleeper) {
        sleep_until(u64::MAX, sleeper, self.gate(), |gate| gate != generation.get());
    }
}

impl Gathering {
    /// Initiator: sleeps until all have come. `false`: one has not before `deadline`.
    pub fn sleep_until_complete(&self, generation: Generation, deadline: u64, sleeper: &impl Sleeper) -> bool {
        sleep_until(deadline, sleeper, self.word(), |complete| complete == generation.get())
    }

    /// Target: has come, and wakes the initiator if it is the last.
    pub fn come_and_wake(&self, generation: Generation, sleeper: &impl Sleeper) {
        if self.come(generation) {
            sleeper.wake(self.word());
        }
    }
}

/// The clock is read only after a sleep that has not brought what was waited for.
fn sleep_until(deadline: u64, sleeper: &impl Sleeper, word: &AtomicU32, holds: impl Fn(u32) -> bool) -> bool {
    let mut slept = false;
    loop {
        // Acquire pairs with the Release of whoever changes the word: `Packet::go`, or the last to come.
        let value = word.load(Ordering::Acquire);
        if holds(value) {
            return true;
        }
        if slept && sleeper.is_late(deadline) {
            return false;
        }
        sleeper.sleep(word, value);
        slept = true;
    }
}
