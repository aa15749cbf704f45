//! The number that tells one call from another, and where it comes from.

use crate::atomics::{AtomicU32, Ordering};

/// The number of a broadcast call. A multiple of four, so that [`Packet`](super::Packet)'s gate can carry the decision in
/// the two low bits; never zero, which stands for "no call yet".
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub(super) u32);

impl Generation {
    /// The number as it is stored.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The generation that a stored number stands for.
    pub const fn from_stored(value: u32) -> Self {
        Self(value & !DECISION_MASK)
    }
}

/// The bits that a generation leaves to a decision.
pub(super) const DECISION_MASK: u32 = 3;
/// From one generation to the next.
const STEP: u32 = DECISION_MASK + 1;

impl Generation {
    /// The next one of those that [`Generations::issue_row`] has issued together.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(STEP))
    }
}

/// Where generations come from. One source for all initiators: two calls never have the same number, until it wraps
/// after 2^30. A processor that nobody calls for exactly as many calls would take the next one for one that it has served.
#[derive(Debug)]
pub struct Generations(AtomicU32);

impl Generations {
    /// A source whose first generation is the one after `last`.
    pub const fn new(last: Generation) -> Self {
        Self(AtomicU32::new(last.0))
    }

    /// The next generation. Wraps past zero.
    pub fn issue(&self) -> Generation {
        self.issue_row(1)
    }

    /// The first of the next `count` generations, which go to one initiator together: of the second and the later ones each is the
    /// [`next`](Generation::next) of the one before.
    pub fn issue_row(&self, count: u32) -> Generation {
        loop {
            // Relaxed: only that no two get the same number counts.
            let last = self.0.fetch_add(count * STEP, Ordering::Relaxed);
            // Zero is not among them, or others are taken.
            if count * STEP < last.wrapping_neg() || last == 0 {
                return Generation(last.wrapping_add(STEP));
            }
        }
    }

    /// Goes on after `last`. While no call is under way.
    pub fn restart_after(&self, last: Generation) {
        self.0.store(last.0, Ordering::Relaxed);
    }
}
