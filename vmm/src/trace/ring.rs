//! One vCPU's record of KVM_RUN's returns: a preallocated ring with one writer and one reader.
//!
//! Recording takes no lock, no allocation and no system call: two stores for the event, one to publish it, and one
//! count. When the ring is full, events are dropped and counted.

use crate::vcpu::exit::Exit;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// One return of KVM_RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The host's TSC right after the return.
    pub tsc: u64,
    /// Index into [`Exit::REASONS`].
    pub reason: usize,
    /// [`Exit::payload`].
    pub payload: u32,
}

#[derive(Debug)]
struct Slot {
    tsc: AtomicU64,
    reason: AtomicUsize,
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
    counts: [AtomicU64; Exit::REASONS.len()],
}

impl Ring {
    /// A ring for `capacity` events between two reads.
    pub fn new(capacity: usize) -> Self {
        let empty = || Slot { tsc: AtomicU64::new(0), reason: AtomicUsize::new(0), payload: AtomicU32::new(0) };
        Self {
            slots: (0..capacity.max(1)).map(|_| empty()).collect(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn slot(&self, number: u64) -> &Slot {
        let capacity = self.slots.len() as u64;
        &self.slots[usize::try_from(number % capacity).unwrap_or(0)]
    }

    /// vCPU thread: records that KVM_RUN returned at `tsc` because of `exit`. Yields are only counted: there is no end of
    /// them, and nobody asks when they were.
    #[inline]
    pub fn record(&self, tsc: u64, exit: Exit) {
        let count = &self.counts[exit.reason()];
        // Relaxed: this thread is the only writer.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if exit == Exit::Yield {
            return;
        }
        let written = self.written.load(Ordering::Relaxed);
        // Acquire pairs with `drain`: the reader is done with the slot.
        if written - self.read.load(Ordering::Acquire) == self.slots.len() as u64 {
            self.dropped.store(self.dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return;
        }
        let slot = self.slot(written);
        slot.tsc.store(tsc, Ordering::Relaxed);
        slot.reason.store(exit.reason(), Ordering::Relaxed);
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
                    tsc: slot.tsc.load(Ordering::Relaxed),
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

    #[test]
    fn what_does_not_fit_is_counted_not_lost_in_silence() {
        let ring = Ring::new(2);
        for tsc in 0..5 {
            ring.record(tsc, Exit::Observe(9));
        }
        let tscs: Vec<u64> = ring.drain().iter().map(|event| event.tsc).collect();
        assert_eq!((tscs, ring.dropped()), (vec![0, 1], 3));
        assert_eq!(ring.counts()[Exit::Observe(0).reason()], 5, "the count has them all");
        ring.record(7, Exit::Doorbell);
        assert_eq!(ring.drain(), [Event { tsc: 7, reason: 0, payload: 0 }]);
    }

    #[test]
    fn a_reader_sees_whole_events_in_order_while_they_are_written() {
        const EVENTS: u32 = 100_000;
        let ring = Ring::new(64);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..EVENTS {
                    ring.record(u64::from(number) << 8, Exit::Observe(number));
                }
            });
            let mut seen = 0;
            let mut last = None;
            while seen + ring.dropped() < u64::from(EVENTS) {
                for event in ring.drain() {
                    assert_eq!(event.tsc, u64::from(event.payload) << 8, "a torn event");
                    assert!(last < Some(event.payload), "out of order");
                    last = Some(event.payload);
                    seen += 1;
                }
            }
        });
    }
}
