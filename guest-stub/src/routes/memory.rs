//! No interrupt: the targets poll a cache line, which the sender writes.

use super::{Arrival, Mode, Route};
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{Destination, MAX_VCPUS};
use guest_stub::destinations::{Kind, To};
use guest_stub::rendezvous::Generation;

#[derive(Clone, Copy)]
pub(crate) struct Memory(Generation);

impl Route for Memory {
    const MODE: Mode = Mode::Any;
    const ARRIVAL: Arrival = Arrival::Polling;

    /// The line's place in [`LINES`].
    #[inline]
    fn encode(_: u8, to: To) -> Option<u32> {
        match to {
            To::AllButSelf | To::All => Some(FOR_ALL as u32),
            To::One(index) => Some(index as u32),
            // The VMM refuses it: lines have no logical ids.
            To::Logical(_) => None,
        }
    }

    #[inline]
    fn prepare(generation: Generation, _: u8, _: Kind) -> Self {
        Self(generation)
    }

    #[inline]
    fn send(&self, line: u32) {
        // SAFETY: `encode` has made the number, of a processor or of the line after theirs.
        let line = unsafe { LINES.get_unchecked(line as usize) };
        // Release pairs with `announced`: the packet and the request come first.
        line.0.store(self.0.get(), Ordering::Release);
    }
}

/// A line that targets poll.
#[repr(align(128))]
pub(crate) struct Line(AtomicU32);

/// Each target's own line, by its index, then the one of a broadcast, for all targets.
static LINES: [Line; MAX_VCPUS + 1] = [const { Line(AtomicU32::new(0)) }; MAX_VCPUS + 1];
const FOR_ALL: usize = MAX_VCPUS;

impl Line {
    /// The one that processor `index` has to poll.
    pub(crate) fn polled_by(index: usize, destination: Destination) -> &'static Self {
        &LINES[if destination.is_shorthand() { FOR_ALL } else { index }]
    }

    /// The generation that was announced last.
    #[inline]
    pub(crate) fn announced(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}
