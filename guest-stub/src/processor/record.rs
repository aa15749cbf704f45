//! Where a sample is written, stamp by stamp.

use crate::cpu::tsc::Stamp;
use guest_stub::abi::{Sample, sample_flags};
use guest_stub::rendezvous::Generation;

/// A place in this processor's ring of samples. What is measured goes there as it is taken: nothing is left to be copied.
///
/// No access is volatile: the VMM reads the samples after the block, behind a Release store of this processor and the doorbell,
/// across which no store moves.
#[derive(Clone, Copy)]
pub(crate) struct Record(*mut Sample);

/// A method for each stamp.
macro_rules! stamps {
    ($($(#[$doc:meta])* $stamp:ident),+ $(,)?) => {
        $(
            $(#[$doc])*
            #[inline]
            pub(crate) fn $stamp(self, stamp: Stamp) {
                // SAFETY: the promise of `at`.
                unsafe { stamp.write(&raw mut (*self.0).$stamp) };
            }
        )+
    };
}

impl Record {
    stamps! {
        /// Initiator: before the send.
        t0,
        /// Initiator: after the send.
        t1,
        /// Initiator: every completion seen.
        t2,
    }

    /// # Safety
    /// A sample of this processor's ring lies there. Its own code and its handlers do not write the same one at once.
    pub(super) unsafe fn at(sample: *mut Sample) -> Self {
        Self(sample)
    }

    /// The place after this one.
    ///
    /// # Safety
    /// It is used only if it is in the ring, too.
    #[inline]
    pub(crate) unsafe fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The initiator's sample of a call, with what is known before its send. Each of its stamps follows.
    #[inline]
    pub(crate) fn open(self, generation: Generation) {
        // SAFETY: the promise of `at`.
        let sample = unsafe { &mut *self.0 };
        sample.generation = generation.get();
        sample.flags = sample_flags::INITIATOR;
    }

    /// The initiator's own interrupt came at the time `a`.
    #[inline]
    pub(crate) fn own_interrupt(self, a: u64) {
        // SAFETY: the promise of `at`.
        unsafe { (*self.0).a = a };
    }

    /// Where it is, for code in assembly.
    #[inline]
    pub(crate) fn address(self) -> *mut Sample {
        self.0
    }

    /// The call is sent again.
    pub(crate) fn resent(self) {
        // SAFETY: the promise of `at`.
        unsafe { (*self.0).flags |= sample_flags::RESENT };
    }

    /// Whether it was.
    pub(crate) fn is_resent(self) -> bool {
        self.get().flags & sample_flags::RESENT != 0
    }

    /// Stores a whole sample.
    #[inline]
    pub(crate) fn set(self, sample: Sample) {
        // SAFETY: the promise of `at`.
        unsafe { self.0.write(sample) };
    }

    /// What is there.
    #[inline]
    pub(crate) fn get(self) -> Sample {
        // SAFETY: the promise of `at`.
        unsafe { self.0.read() }
    }
}
