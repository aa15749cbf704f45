//! A busy loop at CPL3, which has nothing to exit for, while the VMM has another thread compete for this processor's CPU.

use super::user;
use crate::cpu::frame::Frame;
use crate::processor::Private;

pub(super) fn stay(private: &'static Private) {
    user::stay(private);
}

/// That the interrupt came from CPL3, `user` sees; that the thread was off its CPU, the VMM does.
pub(super) fn is_evident(_: &Frame) -> bool {
    false
}
