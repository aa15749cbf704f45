//! HLT.

use crate::cpu::frame::Frame;
use crate::halting;
use crate::processor::Private;

pub(super) fn stay(private: &'static Private) {
    halting::halt_until_stopped(private.user_page());
}

/// The interrupt returns behind the HLT.
pub(super) fn is_evident(frame: &Frame) -> bool {
    halting::is_halt(frame.rip)
}
