//! The words through which a processor, its state's loop and vCPU 0 talk.

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

    pub(crate) fn asked(self) -> &'static AtomicU32 {
        // SAFETY: as in `handled`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.0).asked) }
    }
}
