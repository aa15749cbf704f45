//! The words through which a ping's sender and its target agree on which ping it is.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::MAX_VCPUS;
use guest_stub::rendezvous::Generation;

/// A target's line: what it is asked for, and what it has seen arrive. It has one sender at a time.
///
/// Both words hold the ping's generation, which no other ping has until it wraps: an interrupt that was sent for an earlier ping
/// marks what is marked already, or takes the next ping's place, and that one's own interrupt is then counted as a duplicate.
#[repr(C, align(128))]
pub(crate) struct Line {
    asked: AtomicU32,
    arrived: AtomicU32,
}

/// Each processor's line.
pub(crate) static LINES: [Line; MAX_VCPUS] =
    [const { Line { asked: AtomicU32::new(0), arrived: AtomicU32::new(0) } }; MAX_VCPUS];

impl Line {
    /// Byte offset of what is asked for, of 32 bits, for the entry.
    pub(super) const ASKED: usize = offset_of!(Self, asked);
    /// Byte offset of what has arrived, of 32 bits.
    pub(super) const ARRIVED: usize = offset_of!(Self, arrived);

    /// Sender: the next interrupt is this ping's.
    pub(super) fn ask(&self, generation: Generation) {
        // Relaxed: `apic::publish` comes before the send.
        self.asked.store(generation.get(), Ordering::Relaxed);
    }

    /// Whether the target has marked this ping.
    #[inline]
    pub(super) fn has_arrived(&self, generation: Generation) -> bool {
        // Acquire pairs with the entry's store, a MOV, which releases: its stamp comes first.
        self.arrived.load(Ordering::Acquire) == generation.get()
    }
}
