//! What the threads of one machine share.

use super::futex::Alarm;
use crate::events::cpu_time::CpuClocks;
use guest_stub::rendezvous::{Generation, Generations, Packet, Slot};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

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
    /// What targets sleep on that are woken all at once.
    pub(super) alarm: Alarm,
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
    /// What it sleeps on where each target is woken by itself.
    pub(super) alarm: Alarm,
    /// When it last began to sleep, by the TSC.
    pub(super) slept: Line<AtomicU64>,
}

impl Shared {
    /// Wakes every thread that sleeps until it is called. The kernel has woken threads before, so that an error cannot be.
    pub(super) fn wake_everybody(&self) {
        for alarm in self.seats.iter().map(|seat| &seat.alarm).chain([&self.alarm]) {
            let _ = alarm.ring();
        }
    }

    pub(super) fn new(threads: usize) -> Self {
        Self {
            packet: Packet::new(),
            generations: Generations::new(Generation::from_stored(0)),
            seats: (0..threads).map(|_| Seat::default()).collect(),
            clocks: CpuClocks::new(threads),
            stop: Line::default(),
            interrupted: Line::default(),
            alarm: Alarm::default(),
            ended: Line::default(),
        }
    }
}
