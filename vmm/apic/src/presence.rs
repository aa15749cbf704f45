//! Where a vCPU's thread is, and who has to kick it: a thread in the guest or parked does not look into its inbox by itself.
//!
//! A sender writes to the vCPU's inbox, and then reads where the thread is ([`Presence::kick`]). The thread writes where it is
//! going, and then reads its inbox ([`Presence::go`]). All four accesses are sequentially consistent, so that they have one
//! order, and the later of the two reads sees the other side's write (Dekker). Of several senders one is told to kick; the
//! thread finds what the others have written on its way out.

use super::atomics::{AtomicU32, Ordering};

/// Where a thread goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into the guest: whoever wants it out has to interrupt it.
    Guest,
    /// Asleep, since the processor is halted or in wait-for-SIPI: whoever wants it has to wake it.
    Parked,
}

const OUTSIDE: u32 = 0;
const IN_GUEST: u32 = 1;
const PARKED: u32 = 2;
const KICKED: u32 = 3;

/// Where one vCPU's thread is.
#[derive(Debug)]
pub struct Presence(AtomicU32);

impl Presence {
    /// Outside the guest, and awake.
    pub const fn new() -> Self {
        Self(AtomicU32::new(OUTSIDE))
    }

    /// Sender, after a sequentially consistent write to what the thread reads: where this sender has to kick the thread
    /// out of. `None`: the thread reads by itself, or another sender kicks it.
    #[inline]
    pub fn kick(&self) -> Option<Place> {
        let place = self.0.load(Ordering::SeqCst);
        let from = match place {
            IN_GUEST => Place::Guest,
            PARKED => Place::Parked,
            // Outside: it is about to read. Kicked: another sender has been told.
            _ => return None,
        };
        self.0.compare_exchange(place, KICKED, Ordering::SeqCst, Ordering::Relaxed).ok().map(|_| from)
    }

    /// Thread: goes to `place` for as long as `stay` lasts, unless `is_empty`, which reads the inbox with sequentially
    /// consistent loads, finds something there.
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
            Place::Parked => PARKED,
        };
        self.0.store(place, Ordering::SeqCst);
        let stayed = is_empty(context).then(|| stay(context));
        // What came with a kick is seen, at the latest, by the reads before the next stay.
        self.0.store(OUTSIDE, Ordering::Relaxed);
        stayed
    }

    /// Thread, parked: whether a sender has kicked it.
    pub fn is_kicked(&self) -> bool {
        // Acquire pairs with `kick`.
        self.0.load(Ordering::Acquire) == KICKED
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
    fn one_sender_is_told_to_kick() {
        let presence = Presence::new();
        assert_eq!(presence.kick(), None, "it reads by itself");
        for place in [Place::Guest, Place::Parked] {
            let stayed = presence.go(
                place,
                &mut (),
                |()| true,
                |()| {
                    assert!(!presence.is_kicked());
                    let kicks = [presence.kick(), presence.kick()];
                    assert!(presence.is_kicked());
                    kicks
                },
            );
            assert_eq!(stayed, Some([Some(place), None]));
            assert_eq!(presence.kick(), None, "out again");
        }
    }

    #[test]
    fn no_thread_goes_where_its_inbox_holds_something() {
        let presence = Presence::new();
        assert_eq!(presence.go(Place::Guest, &mut (), |()| false, |()| ()), None);
        assert_eq!(presence.kick(), None);
    }
}
