//! A spin lock with an IRQL: who takes it above that has interrupted, or could interrupt, its owner.

use crate::bugcheck;
use crate::cpu::irql;
use crate::processor;
use core::sync::atomic::{AtomicBool, Ordering};
use guest_stub::abi::{DISPATCH_LEVEL, Rule};

/// A spin lock of DISPATCH_LEVEL.
pub(crate) struct SpinLock(AtomicBool);

impl SpinLock {
    /// A lock that nobody holds.
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Runs `action` at DISPATCH_LEVEL while nobody else holds the lock. A caller above that ends in a bug check.
    pub(crate) fn with(&self, action: impl FnOnce()) {
        let before = irql::current();
        if before > DISPATCH_LEVEL.into() {
            bugcheck::broken_rule(Rule::LockAboveItsLevel, processor::current());
        }
        irql::set(DISPATCH_LEVEL.into());
        // Acquire pairs with the Release below: what the last owner did is visible.
        while self.0.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        action();
        self.0.store(false, Ordering::Release);
        irql::set(before);
    }
}
