//! No interrupt: the targets poll a cache line, which the sender writes.

use super::{Arrival, Mode, Route, Sending};
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{Destination, MAX_VCPUS};
use guest_stub::destinations::To;
use guest_stub::rendezvous::Generation;

pub(crate) struct Memory(Generation);

impl Route for Memory {
    const MODE: Mode = Mode::Any;
    const ARRIVAL: Arrival = Arrival::Polling;

    fn prepare(call: &Sending) -> Self {
        Self(call.generation)
    }

    #[inline]
    fn send(&self, _: u8, to: To) {
        match to {
            To::AllButSelf | To::All => FOR_ALL.announce(self.0),
            To::One(index) => LINES[index].announce(self.0),
            // The VMM refuses it: lines have no logical ids.
            To::Logical(_) => {}
        }
    }
}

/// A line that targets poll.
#[repr(align(128))]
pub(crate) struct Line(AtomicU32);

/// The line of a broadcast, for all targets, and each target's own.
static FOR_ALL: Line = Line(AtomicU32::new(0));
static LINES: [Line; MAX_VCPUS] = [const { Line(AtomicU32::new(0)) }; MAX_VCPUS];

impl Line {
    /// The one that processor `index` has to poll.
    pub(crate) fn polled_by(index: usize, destination: Destination) -> &'static Self {
        if destination.is_shorthand() { &FOR_ALL } else { &LINES[index] }
    }

    #[inline]
    fn announce(&self, generation: Generation) {
        // Release pairs with `announced`: the packet and the request come first.
        self.0.store(generation.get(), Ordering::Release);
    }

    /// The generation that was announced last.
    #[inline]
    pub(crate) fn announced(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}
