//! What the guest does on purpose, for tests: stopping at each step, and doing it wrong.

use crate::port;
use core::sync::atomic::Ordering;
use guest_stub::abi::{self, CallStep, Fault};

/// Exits to the VMM, which may keep this processor for a while.
pub(crate) fn step(step: CallStep) {
    port::write(abi::PORT_STEP, step as u32);
}

/// Whom an interrupt for `target` goes to; `None`: to nobody.
pub(crate) fn redirect(fault: Fault, target: usize, is_last: bool, me: usize) -> Option<usize> {
    match fault {
        Fault::DropIpi if is_last => None,
        Fault::WrongTarget if is_last => Some(me),
        _ => Some(target),
    }
}

/// The fault of the current command, for workers.
pub(crate) fn current() -> Fault {
    Fault::from_wire(CURRENT.load(Ordering::Relaxed)).unwrap_or(Fault::Nothing)
}

/// Says what is to go wrong from now on. vCPU 0, before it announces a command.
pub(crate) fn set(fault: Fault) {
    CURRENT.store(fault as u32, Ordering::Relaxed);
}

static CURRENT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(Fault::Nothing as u32);
