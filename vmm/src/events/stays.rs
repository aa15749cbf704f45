//! One vCPU's record of its stays in the guest: a preallocated ring with one writer and one reader.
//!
//! Recording takes no lock, no allocation and no system call: five stores for the event, one to publish it, and one
//! count. When the ring is full, events are dropped and counted.

use crate::events::exit::{Exit, Stay};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// One stay in the guest, from KVM_RUN's entry to its return. Times are the host's TSC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Right before KVM_RUN; zero if the thread was to leave before it got there.
    pub entered: u64,
    /// Right after it.
    pub returned: u64,
    /// When a user-space local APIC had served the exit; without one, right after `returned`.
    pub served: u64,
    /// Index into [`Exit::REASONS`].
    pub reason: u32,
    /// [`Exit::payload`].
    pub payload: u32,
}

/// What a ring keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Keep {
    /// Nothing, not even counts.
    Nothing,
    /// Counts, and the workers' observed exits.
    Observed,
    /// Counts, and every stay but those that end with a yield: there is no end of them, and nobody asks when they were.
    Everything,
}

#[derive(Debug)]
struct Slot {
    entered: AtomicU64,
    returned: AtomicU64,
    served: AtomicU64,
    reason: AtomicU32,
    payload: AtomicU32,
}

/// The ring, and how often each reason occurred.
#[derive(Debug)]
pub struct Ring {
    slots: Box<[Slot]>,
    /// Events ever written; by the vCPU thread.
    written: AtomicU64,
    /// Events ever read; by the reader.
    read: AtomicU64,
    dropped: AtomicU64,
    /// A [`Keep`]; by the reader, between two blocks.
    keep: AtomicU8,
    counts: [AtomicU64; Exit::REASONS.len()],
}

impl Ring {
    /// A ring for `capacity` events between two reads.
    pub fn new(capacity: usize) -> Self {
        let slots = Box::new_zeroed_slice(capacity.max(1));
        Self {
            // SAFETY: a slot is numbers only, and zero is one. Nothing is written: a slot takes memory with its first event.
            slots: unsafe { slots.assume_init() },
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            keep: AtomicU8::new(Keep::Observed as u8),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn slot(&self, number: u64) -> &Slot {
        let capacity = self.slots.len() as u64;
        &self.slots[usize::try_from(number % capacity).unwrap_or(0)]
    }

    /// Reader: from now on, keep this.
    pub fn keep(&self, keep: Keep) {
        // Relaxed: the vCPU thread hears of the next block by a channel, after this.
        self.keep.store(keep as u8, Ordering::Relaxed);
    }

    /// vCPU thread: records a stay in the guest whose exit was served at `served`.
    #[inline]
    pub fn record(&self, stay: Stay, served: u64) {
        let keep = self.keep.load(Ordering::Relaxed);
        if keep == Keep::Nothing as u8 {
            return;
        }
        let exit = stay.exit;
        let count = &self.counts[exit.reason()];
        // Relaxed: this thread is the only writer.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let is_kept = match exit {
            Exit::Observe(_) => true,
            Exit::Yield => false,
            _ => keep == Keep::Everything as u8,
        };
        if !is_kept {
            return;
        }
        let written = self.written.load(Ordering::Relaxed);
        // Acquire pairs with `drain`: the reader is done with the slot.
        if written - self.read.load(Ordering::Acquire) == self.slots.len() as u64 {
            self.dropped.store(self.dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return;
        }
        let slot = self.slot(written);
        slot.entered.store(stay.entered, Ordering::Relaxed);
        slot.returned.store(stay.returned, Ordering::Relaxed);
        slot.served.store(served, Ordering::Relaxed);
        slot.reason.store(u32::try_from(exit.reason()).unwrap_or(u32::MAX), Ordering::Relaxed);
        slot.payload.store(exit.payload(), Ordering::Relaxed);
        // Release pairs with `drain`: the event comes before its number.
        self.written.store(written + 1, Ordering::Release);
    }

    /// Reader: takes everything that was recorded, oldest first.
    pub fn drain(&self) -> Vec<Event> {
        let written = self.written.load(Ordering::Acquire);
        let read = self.read.load(Ordering::Relaxed);
        let events = (read..written)
            .map(|number| {
                let slot = self.slot(number);
                Event {
                    entered: slot.entered.load(Ordering::Relaxed),
                    returned: slot.returned.load(Ordering::Relaxed),
                    served: slot.served.load(Ordering::Relaxed),
                    reason: slot.reason.load(Ordering::Relaxed),
                    payload: slot.payload.load(Ordering::Relaxed),
                }
            })
            .collect();
        self.read.store(written, Ordering::Release);
        events
    }

    /// Events that found no room since the ring was made.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How often each of [`Exit::REASONS`] occurred since the ring was made.
    pub fn counts(&self) -> [u64; Exit::REASONS.len()] {
        std::array::from_fn(|reason| self.counts[reason].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn stay(tsc: u64, exit: Exit) -> Stay {
        Stay { exit, entered: tsc, returned: tsc + 1 }
    }

    #[test]
    fn what_does_not_fit_is_counted_not_lost_in_silence() {
        let ring = Ring::new(2);
        for tsc in 0..5 {
            ring.record(stay(tsc, Exit::Observe(9)), 0);
        }
        let entries: Vec<u64> = ring.drain().iter().map(|event| event.entered).collect();
        assert_eq!((entries, ring.dropped()), (vec![0, 1], 3));
        assert_eq!(ring.counts()[Exit::Observe(0).reason()], 5, "the count has them all");
    }

    #[test]
    fn a_ring_keeps_what_it_is_told_to() {
        let ring = Ring::new(8);
        let record = || {
            for exit in [Exit::Doorbell, Exit::Observe(3), Exit::Yield] {
                ring.record(stay(7, exit), 9);
            }
            ring.drain()
        };
        let event = |reason, payload| Event { entered: 7, returned: 8, served: 9, reason, payload };
        assert_eq!(record(), [event(1, 3)], "at first, what is observed");
        ring.keep(Keep::Everything);
        assert_eq!(record(), [event(0, 0), event(1, 3)]);
        ring.keep(Keep::Nothing);
        assert_eq!(record(), []);
        assert_eq!(ring.counts()[Exit::Yield.reason()], 2, "counted in the first two modes");
    }

    #[test]
    fn a_reader_sees_whole_events_in_order_while_they_are_written() {
        const EVENTS: u32 = 100_000;
        let ring = Ring::new(64);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..EVENTS {
                    ring.record(stay(u64::from(number) << 8, Exit::Observe(number)), u64::from(number));
                }
            });
            let mut seen = 0;
            let mut last = None;
            while seen + ring.dropped() < u64::from(EVENTS) {
                for event in ring.drain() {
                    assert_eq!(event.entered, u64::from(event.payload) << 8, "a torn event");
                    assert_eq!((event.returned, event.served), (event.entered + 1, event.payload.into()), "torn");
                    assert!(last < Some(event.payload), "out of order");
                    last = Some(event.payload);
                    seen += 1;
                }
            }
        });
    }
}
