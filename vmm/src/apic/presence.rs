//! Where a vCPU's thread is, and whether it has to be told that something has been left for it: once, and never not at all.
//!
//! A sender leaves something in the vCPU's inbox, and then looks where the thread is ([`Presence::summon`]). The thread says
//! where it is going, and then looks into its inbox ([`Presence::go`]). All four accesses are sequentially consistent: there
//! is one order of them all, and whichever of the two comes second sees the other (Dekker). Of several senders one is told
//! to summon; what the others have left is found on the way out.

use super::atomics::{AtomicU32, Ordering};

/// Where a thread goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into the guest: whoever wants it out has to interrupt it.
    Guest,
    /// To sleep, for the processor is halted or waits to be started: whoever wants it has to wake it.
    Bed,
}

const OUTSIDE: u32 = 0;
const IN_GUEST: u32 = 1;
const IN_BED: u32 = 2;
const SUMMONED: u32 = 3;

/// Where one vCPU's thread is.
#[derive(Debug)]
pub struct Presence(AtomicU32);

impl Presence {
    /// Outside the guest, and awake.
    pub const fn new() -> Self {
        Self(AtomicU32::new(OUTSIDE))
    }

    /// Sender, after it has left something with a sequentially consistent write: from where the thread has to be fetched,
    /// if it has to be, and by this sender.
    #[inline]
    pub fn summon(&self) -> Option<Place> {
        let place = self.0.load(Ordering::SeqCst);
        let from = match place {
            IN_GUEST => Place::Guest,
            IN_BED => Place::Bed,
            // It is about to look, or another sender has been told.
            _ => return None,
        };
        self.0.compare_exchange(place, SUMMONED, Ordering::SeqCst, Ordering::Relaxed).ok().map(|_| from)
    }

    /// Thread: goes to `place` for as long as `stay` lasts, unless something has been left meanwhile. `is_empty` looks, with
    /// sequentially consistent loads.
    #[inline]
    pub fn go<C: ?Sized, T>(
        &self,
        place: Place,
        context: &mut C,
        is_empty: impl FnOnce(&C) -> bool,
        stay: impl FnOnce(&mut C) -> T,
    ) -> Option<T> {
        let place = match place {
            Place::Guest => IN_GUEST,
            Place::Bed => IN_BED,
        };
        self.0.store(place, Ordering::SeqCst);
        let stayed = is_empty(context).then(|| stay(context));
        // What was left before a summons is seen by the look that comes before the next stay, at the latest.
        self.0.store(OUTSIDE, Ordering::Relaxed);
        stayed
    }

    /// Thread, in bed: whether it has been woken on purpose.
    pub fn is_summoned(&self) -> bool {
        // Acquire pairs with `summon`.
        self.0.load(Ordering::Acquire) == SUMMONED
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_is_told_to_summon() {
        let presence = Presence::new();
        assert_eq!(presence.summon(), None, "it will look by itself");
        for place in [Place::Guest, Place::Bed] {
            let stayed = presence.go(
                place,
                &mut (),
                |()| true,
                |()| {
                    assert!(!presence.is_summoned());
                    let summons = [presence.summon(), presence.summon()];
                    assert!(presence.is_summoned());
                    summons
                },
            );
            assert_eq!(stayed, Some([Some(place), None]));
            assert_eq!(presence.summon(), None, "out again");
        }
    }

    #[test]
    fn nobody_stays_where_something_has_been_left() {
        let presence = Presence::new();
        assert_eq!(presence.go(Place::Guest, &mut (), |()| false, |()| ()), None);
        assert_eq!(presence.summon(), None);
    }
}
