//! Interrupts that disturb calls: a device's, the local APIC timer's, one above IPI_LEVEL that sends, one that lets a lower
//! one wait.

use crate::cpu::apic;
use crate::cpu::{irql, tsc};
use crate::interrupts::{self, leave};
use crate::processor::Private;
use crate::shared;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_stub::abi::{VECTOR_DEVICE, VECTOR_WAKE};
use guest_stub::icr::{self, To};

interrupts::entries! {
    device_entry => device,
    sender_entry => sender,
    masker_entry => masker,
}

/// What every processor's local APIC timer does during an operation. Its interrupt is a device's.
#[derive(Clone, Copy)]
pub(crate) struct Timer {
    /// Its period in ticks; zero: it is not periodic.
    pub(crate) period: u32,
    /// TSC cycles from each interrupt to the next, where each is armed by TSC deadline; zero: none is.
    pub(crate) deadline: u64,
}

/// [`Timer::deadline`] of the operation that is under way.
static DEADLINE: AtomicU64 = AtomicU64::new(0);

impl Timer {
    /// Starts this processor's.
    pub(crate) fn start(self, private: &Private) {
        // Every processor stores the same.
        DEADLINE.store(self.deadline, Ordering::Relaxed);
        if self.deadline != 0 {
            private.apic.start_deadline_timer(VECTOR_DEVICE, tsc::now().wrapping_add(self.deadline));
        } else if self.period != 0 {
            private.apic.start_timer(VECTOR_DEVICE, self.period);
        }
    }

    /// Stops this processor's.
    pub(crate) fn stop(self, private: &Private) {
        if self.deadline != 0 || self.period != 0 {
            private.apic.stop_timer();
        }
    }
}

/// A device's: counts. It comes between workers, never within one.
extern "sysv64" fn device(private: &'static Private) {
    private.count(|tally| &mut tally.device);
    let deadline = DEADLINE.load(Ordering::Relaxed);
    if deadline != 0 {
        apic::arm_timer(tsc::now().wrapping_add(deadline));
    }
    if private.in_worker() {
        private.count(|tally| &mut tally.device_in_worker);
    }
    leave(private);
}

/// Sends this processor an interrupt that does nothing.
fn wake_itself(private: &Private) {
    let to = To::One(shared::apic_id(private.index));
    private.apic.send(icr::fixed(VECTOR_WAKE, to), to);
}

/// One above IPI_LEVEL, whose handler sends: whatever this processor was sending must still go where it was meant to.
extern "sysv64" fn sender(private: &'static Private) {
    private.count(|tally| &mut tally.sender);
    wake_itself(private);
    leave(private);
}

/// Lets a lower interrupt wait for its TPR, and lowers that while it is still in service itself: the lower one has to wait
/// on, for the EOI.
extern "sysv64" fn masker(private: &'static Private) {
    private.count(|tally| &mut tally.masker);
    let before = irql::current();
    irql::set(irql::IPI);
    wake_itself(private);
    irql::set(before);
    leave(private);
}
