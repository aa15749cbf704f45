//! The words through which a processor, its state's loop and vCPU 0 talk.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64};
use guest_stub::abi::{self, UserPage, area};

/// The words of a processor's user page.
#[derive(Clone, Copy)]
pub(crate) struct UserWords(pub(super) *mut UserPage);

impl UserWords {
    /// The user page of processor `index`.
    pub(crate) fn of(index: usize) -> Self {
        debug_assert!(index < abi::MAX_VCPUS);
        Self((abi::vcpu_area(index) + area::USER) as *mut UserPage)
    }

    /// Those of processors in a row.
    pub(crate) fn row(processors: Range<usize>) -> Row {
        let next = (abi::vcpu_area(processors.start) + area::USER) as *mut UserPage;
        Row { next, end: next.wrapping_byte_add(processors.len() * abi::VCPU_STRIDE as usize) }
    }

    pub(crate) fn address(self) -> *mut UserPage {
        self.0
    }

    pub(crate) fn handled(self) -> &'static AtomicU32 {
        // SAFETY: the page is mapped for the guest's life and aligned; the word is only accessed atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).handled) }
    }

    pub(crate) fn stop(self) -> &'static AtomicU32 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).stop) }
    }

    pub(crate) fn ready(self) -> &'static AtomicU32 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).ready) }
    }

    pub(crate) fn halted(self) -> &'static AtomicU64 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0).halted) }
    }

    pub(crate) fn subtracted(self) -> &'static AtomicU64 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0).subtracted) }
    }

    pub(crate) fn parked_while(self) -> &'static AtomicU32 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).parked_while) }
    }

    pub(crate) fn ping(self) -> &'static AtomicU64 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0).ping) }
    }

    pub(crate) fn pong(self) -> &'static AtomicU64 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0).pong) }
    }

    pub(crate) fn last_run(self) -> &'static AtomicU32 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).last_run) }
    }

    pub(crate) fn last_setup(self) -> &'static AtomicU32 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).last_setup) }
    }

    pub(crate) fn away_since(self) -> &'static AtomicU64 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0).away_since) }
    }

    pub(crate) fn away_until(self) -> &'static AtomicU64 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.0).away_until) }
    }

    pub(crate) fn out_cycles(self) -> &'static AtomicU32 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).out_cycles) }
    }

    pub(crate) fn asked(self) -> &'static AtomicU32 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).asked) }
    }
}

/// The words of processors in a row, one after the other: an address is all that a look at many of them has to keep.
#[derive(Clone)]
pub(crate) struct Row {
    next: *mut UserPage,
    end: *mut UserPage,
}

impl Iterator for Row {
    type Item = UserWords;

    #[inline]
    fn next(&mut self) -> Option<UserWords> {
        let words = self.next;
        if words == self.end {
            return None;
        }
        self.next = words.wrapping_byte_add(abi::VCPU_STRIDE as usize);
        Some(UserWords(words))
    }
}
