//! A busy loop at CPL0.

use crate::cpu::frame::Frame;
use crate::processor::Private;
use core::sync::atomic::Ordering;

pub(super) fn stay(private: &'static Private) {
    let words = private.user_page();
    while words.stop().load(Ordering::Relaxed) == 0 {
        words.ready().store(words.handled().load(Ordering::Relaxed), Ordering::Release);
        core::hint::spin_loop();
    }
}

/// There is nothing to see but that the processor was in no other state.
pub(super) fn is_evident(_: &Frame) -> bool {
    false
}
