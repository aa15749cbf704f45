//! The target of a route whose targets poll.

use super::{parked, target};
use crate::cpu::{flags, tsc};
use crate::processor::Private;
use crate::routes::memory::Line;
use core::sync::atomic::Ordering;
use guest_stub::abi::{Destination, Wait};
use guest_stub::rendezvous::{Delivery, Served};

/// Polls this processor's line at CPL0 until it is told to stop, and serves what is announced there, as an interrupt would.
pub(crate) fn stay(private: &'static Private, destination: Destination, wait: Wait) {
    match wait {
        Wait::Spin => poll(private, destination, serve_announced),
        Wait::Park => poll(private, destination, parked::serve_announced),
    }
}

#[inline]
fn poll(private: &'static Private, destination: Destination, serve: impl Fn(&'static Private)) {
    let line = Line::polled_by(private.index, destination);
    let words = private.user_page();
    let mut seen = line.announced();
    words.ready().store(words.handled().load(Ordering::Relaxed), Ordering::Release);
    loop {
        let announced = line.announced();
        if announced != seen {
            seen = announced;
            serve(private);
            words.ready().store(words.handled().load(Ordering::Relaxed), Ordering::Release);
        } else if words.stop().load(Ordering::Relaxed) != 0 {
            return;
        }
    }
}

/// Serves what has been announced, if this processor is asked for. Interrupts are on: [`stay`] and
/// [`broadcast`](super::initiator::broadcast) see to it.
pub(super) fn serve_announced(private: &'static Private) {
    let a = tsc::stamp().value();
    match target::serve(private, Delivery::Interrupt) {
        (Served::Ran(generation, result), [w, x]) => private.record_served(generation, [a, w, x], result, 0),
        (Served::Late, _) => {}
        (Served::Nothing, _) => return,
    }
    // SAFETY: they were on before.
    unsafe { flags::enable_interrupts() };
}
