//! A busy loop at CPL0 with interrupts off: nothing but an NMI comes.

use super::spin;
use crate::cpu::flags::{self, RFLAGS_IF};
use crate::cpu::frame::Frame;
use crate::processor::Private;

pub(super) fn stay(private: &'static Private) {
    flags::disable_interrupts();
    spin::stay(private);
    // SAFETY: they were on before.
    unsafe { flags::enable_interrupts() };
}

/// The NMI found IF clear.
pub(super) fn is_evident(frame: &Frame) -> bool {
    frame.rflags & RFLAGS_IF == 0
}
