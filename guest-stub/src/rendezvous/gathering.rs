//! Targets that come to a point one by one, and one who sleeps until the last of them is there.

use super::generation::Generation;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};

/// Counts the targets of a call that are still to come. The last one says so in a word of its own, which nobody else writes: who
/// sleeps for that word is woken once a call, by the last one.
#[derive(Debug)]
pub struct Gathering {
    /// The call's generation, and in the lower half how many are still to come.
    missing: AtomicU64,
    /// The last generation whose targets have all come.
    complete: AtomicU32,
}

impl Gathering {
    /// That expects nobody.
    pub const fn new() -> Self {
        Self { missing: AtomicU64::new(0), complete: AtomicU32::new(0) }
    }

    /// Expects so many. The packet's initiator only, before it requests the call `generation`.
    pub fn expect(&self, generation: Generation, targets: u32) {
        // Relaxed: [`Slot::request`](super::Slot::request) makes it visible.
        self.missing.store(u64::from(generation.0) << 32 | u64::from(targets), Ordering::Relaxed);
    }

    /// Target: has come. `true`: it is the last of this call, and wakes who sleeps for [`Self::word`].
    ///
    /// A latecomer counts for nothing: the word holds another generation, or none is missing.
    pub fn come(&self, generation: Generation) -> bool {
        let complete = u64::from(generation.0) << 32;
        let mut missing = self.missing.load(Ordering::Relaxed);
        loop {
            if missing <= complete || missing - complete > u64::from(u32::MAX) {
                return false;
            }
            // AcqRel: the last one publishes, by `complete`, what each of the others did before it came.
            match self.missing.compare_exchange(missing, missing - 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => missing = now,
            }
        }
        let is_last = missing - 1 == complete;
        if is_last {
            // Release pairs with the load of whoever sleeps until it has changed.
            self.complete.store(generation.0, Ordering::Release);
        }
        is_last
    }

    /// What changes when the last one comes.
    pub fn word(&self) -> &AtomicU32 {
        &self.complete
    }
}

impl Default for Gathering {
    fn default() -> Self {
        Self::new()
    }
}
