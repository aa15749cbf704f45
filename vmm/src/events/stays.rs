//! One vCPU's record of its stays in the guest: a preallocated ring with one writer and one reader.
//!
//! Recording takes no lock, no allocation and no system call: five stores for the stay, one to publish it, and one count.
//! When the ring is full, stays are dropped and counted.

use super::absences::Outs;
use super::exit::{Exit, ExitKind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use strum::{EnumCount, VariantArray};

/// One stay in the guest, and how it ended. Times are the host's TSC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Why KVM_RUN returned, or was not called.
    pub exit: Exit,
    /// Right before KVM_RUN; zero if it was not called.
    pub entered: u64,
    /// Right after it.
    pub returned: u64,
    /// When a user-space local APIC had served the exit, or the guest's stay out of it was over; without either, right after
    /// `returned`.
    pub served: u64,
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

/// A [`Stay`], field by field.
#[derive(Debug)]
struct Slot {
    entered: AtomicU64,
    returned: AtomicU64,
    served: AtomicU64,
    payload: AtomicU64,
    kind: AtomicU8,
}

/// The ring, and how often each kind of exit occurred.
#[derive(Debug)]
pub struct Ring {
    slots: Box<[Slot]>,
    /// Stays ever written; by the vCPU thread.
    written: AtomicU64,
    /// Stays ever read; by the reader.
    read: AtomicU64,
    dropped: AtomicU64,
    /// A [`Keep`]; by the reader, between two blocks.
    keep: AtomicU8,
    counts: [AtomicU64; ExitKind::COUNT],
    /// Whatever is kept besides.
    outs: Outs,
}

impl Ring {
    /// A ring for `capacity` stays between two reads.
    pub fn new(capacity: usize) -> Self {
        let slots = Box::new_zeroed_slice(capacity.max(1));
        Self {
            // SAFETY: a slot is numbers only, and zero is one. Nothing is written: a slot takes memory with its first stay.
            slots: unsafe { slots.assume_init() },
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            keep: AtomicU8::new(Keep::Observed as u8),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            outs: Outs::default(),
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

    /// vCPU thread: records a stay in the guest.
    #[inline]
    pub fn record(&self, stay: Stay) {
        let keep = self.keep.load(Ordering::Relaxed);
        if keep == Keep::Nothing as u8 {
            return;
        }
        let Exit { kind, payload } = stay.exit;
        let count = &self.counts[kind as usize];
        // Relaxed: this thread is the only writer.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let is_kept = match kind {
            ExitKind::Observe => true,
            ExitKind::Yield => false,
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
        slot.served.store(stay.served, Ordering::Relaxed);
        slot.payload.store(payload, Ordering::Relaxed);
        slot.kind.store(kind as u8, Ordering::Relaxed);
        // Release pairs with `drain`: the stay comes before its number.
        self.written.store(written + 1, Ordering::Release);
    }

    /// Reader: takes everything that was recorded, oldest first.
    pub fn drain(&self) -> Vec<Stay> {
        // Acquire pairs with `record`: all stays below this number are whole.
        let written = self.written.load(Ordering::Acquire);
        let read = self.read.load(Ordering::Relaxed);
        let stays = (read..written)
            .map(|number| {
                let slot = self.slot(number);
                let kind = ExitKind::from_stored(slot.kind.load(Ordering::Relaxed));
                Stay {
                    exit: Exit::with(kind, slot.payload.load(Ordering::Relaxed)),
                    entered: slot.entered.load(Ordering::Relaxed),
                    returned: slot.returned.load(Ordering::Relaxed),
                    served: slot.served.load(Ordering::Relaxed),
                }
            })
            .collect();
        // Release pairs with `record`: these slots may be written again.
        self.read.store(written, Ordering::Release);
        stays
    }

    /// When the vCPU was out of the guest in state `out`, which is recorded whatever the ring keeps.
    pub fn outs(&self) -> &Outs {
        &self.outs
    }

    /// Stays that found no room since the ring was made.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How often each kind of exit occurred since the ring was made.
    pub fn counts(&self) -> impl Iterator<Item = (ExitKind, u64)> {
        ExitKind::VARIANTS.iter().zip(&self.counts).map(|(&kind, count)| (kind, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// All of a stay follows from its number: a mixture of two is seen.
    fn stay(number: u64, kind: ExitKind) -> Stay {
        Stay { exit: Exit::with(kind, number), entered: number << 8, returned: number + 1, served: number + 2 }
    }

    fn count(ring: &Ring, kind: ExitKind) -> u64 {
        ring.counts().find(|&(counted, _)| counted == kind).map_or(0, |(_, count)| count)
    }

    #[test]
    fn what_does_not_fit_is_counted_not_lost_in_silence() {
        let ring = Ring::new(2);
        for number in 0..5 {
            ring.record(stay(number, ExitKind::Observe));
        }
        assert_eq!(ring.drain(), [0, 1].map(|number| stay(number, ExitKind::Observe)));
        assert_eq!(ring.dropped(), 3);
        assert_eq!(count(&ring, ExitKind::Observe), 5, "the count has them all");
    }

    #[test]
    fn a_ring_keeps_what_it_is_told_to() {
        let ring = Ring::new(8);
        let record = || {
            for kind in [ExitKind::Doorbell, ExitKind::Observe, ExitKind::Yield] {
                ring.record(stay(7, kind));
            }
            ring.drain()
        };
        assert_eq!(record(), [stay(7, ExitKind::Observe)], "at first, what is observed");
        ring.keep(Keep::Everything);
        assert_eq!(record(), [stay(7, ExitKind::Doorbell), stay(7, ExitKind::Observe)]);
        ring.keep(Keep::Nothing);
        assert_eq!(record(), []);
        assert_eq!(count(&ring, ExitKind::Yield), 2, "counted in the first two modes");
    }

    #[test]
    fn a_reader_sees_whole_stays_in_order_while_they_are_written() {
        const STAYS: u64 = 100_000;
        let ring = Ring::new(64);
        thread::scope(|scope| {
            scope.spawn(|| (0..STAYS).for_each(|number| ring.record(stay(number, ExitKind::Observe))));
            let mut seen = 0;
            let mut last = None;
            while seen + ring.dropped() < STAYS {
                for read in ring.drain() {
                    let number = read.exit.payload;
                    assert_eq!(read, stay(number, ExitKind::Observe), "a torn stay");
                    assert!(last < Some(number), "out of order");
                    last = Some(number);
                    seen += 1;
                }
            }
        });
    }
}
