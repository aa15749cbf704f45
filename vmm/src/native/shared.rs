//! What the threads of one machine share.

use crate::events::cpu_time::CpuClocks;
use guest_stub::rendezvous::{Generation, Generations, Packet, Slot};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// Alone in its cache lines: the adjacent one is fetched along with it.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct Line<T>(T);

impl<T> Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The rendezvous's words, and those of the way to it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) packet: Packet,
    pub(super) generations: Generations,
    pub(super) seats: Box<[Seat]>,
    /// The threads' CPU clocks.
    pub(super) clocks: CpuClocks,
    /// Other than zero: nothing is called any more, and targets stop waiting.
    pub(super) stop: Line<AtomicU32>,
    /// The user wants to stop: the caller makes no further call.
    pub(super) interrupted: Line<AtomicBool>,
    /// How many rounds of bare interrupts have ended: their targets do not see the interrupt.
    pub(super) ended: Line<AtomicU32>,
}

/// A thread's own words.
#[derive(Debug, Default)]
pub(super) struct Seat {
    pub(super) slot: Slot,
    /// The round that it is ready for, counted from 1.
    pub(super) ready: Line<AtomicU32>,
    /// The CPU that it was on when it became ready.
    pub(super) cpu: Line<AtomicU32>,
}

impl Shared {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            packet: Packet::new(),
            generations: Generations::new(Generation::from_stored(0)),
            seats: (0..threads).map(|_| Seat::default()).collect(),
            clocks: CpuClocks::new(threads),
            stop: Line::default(),
            interrupted: Line::default(),
            ended: Line::default(),
        }
    }
}
