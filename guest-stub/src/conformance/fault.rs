//! What goes wrong on purpose, to see whether somebody notices.

use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::Fault;

static CURRENT: AtomicU32 = AtomicU32::new(Fault::Nothing as u32);

/// Whom an interrupt for `target` goes to; `None`: to nobody.
pub(crate) fn redirect(fault: Fault, target: usize, is_last: bool, me: usize) -> Option<usize> {
    match fault {
        Fault::DropIpi if is_last => None,
        Fault::WrongTarget if is_last => Some(me),
        Fault::Nothing
        | Fault::DropIpi
        | Fault::DuplicateIpi
        | Fault::WrongTarget
        | Fault::WorkerTwice
        | Fault::SwapResult
        | Fault::EarlyGate
        | Fault::LostInit
        | Fault::LostSipi
        | Fault::RefusedHypercall => Some(target),
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
