//! The machine: processors whose local APIC is two bits each, and what has happened on it.

use crate::scenario::{CPUS, Set};
use guest_stub::rendezvous::{Delivery, Generations, Packet, Slot};
use std::array;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A scenario that takes longer hangs.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// What an initiator says about its call, and what it learns of it. All that is not the algorithm's is relaxed.
#[derive(Default)]
pub(crate) struct Order {
    pub(crate) generation: AtomicU32,
    pub(crate) participants: AtomicU32,
    pub(crate) meets: AtomicBool,
    pub(crate) ran: [AtomicU32; CPUS],
}

#[derive(Default)]
pub(crate) struct Cpu {
    pub(crate) slot: Slot,
    pub(crate) packet: Packet,
    pub(crate) irr: AtomicBool,
    pub(crate) nmi: AtomicBool,
    pub(crate) order: Order,
    /// The generation that this processor was last ready for.
    pub(crate) ready: AtomicU32,
    /// The generation that its worker last wrote.
    pub(crate) output: AtomicU32,
}

impl Cpu {
    pub(crate) fn bit(&self, by: Delivery) -> &AtomicBool {
        match by {
            Delivery::Interrupt => &self.irr,
            Delivery::Nmi => &self.nmi,
        }
    }

    pub(crate) fn interrupt(&self, by: Delivery) {
        self.bit(by).swap(true, Ordering::Relaxed);
    }
}

pub(crate) struct Machine {
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) generations: Generations,
    pub(crate) started: Instant,
    /// Processors that have calls to make.
    pub(crate) calling: AtomicUsize,
    pub(crate) failed: AtomicBool,
}

/// What has happened so far, in all scenarios: that the random ones are worth their time.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) done: AtomicUsize,
    pub(crate) aborted: AtomicUsize,
    pub(crate) overstayed: AtomicUsize,
    pub(crate) resent: AtomicUsize,
    pub(crate) came_late: AtomicUsize,
    pub(crate) came_for_nothing: AtomicUsize,
}

pub(crate) static TALLY: Tally = Tally {
    done: AtomicUsize::new(0),
    aborted: AtomicUsize::new(0),
    overstayed: AtomicUsize::new(0),
    resent: AtomicUsize::new(0),
    came_late: AtomicUsize::new(0),
    came_for_nothing: AtomicUsize::new(0),
};

pub(crate) fn count(event: &AtomicUsize) {
    event.fetch_add(1, Ordering::Relaxed);
}

/// What the worker of `generation` returns on `cpu`.
pub(crate) const fn result(cpu: usize, generation: u32) -> usize {
    generation as usize + cpu + 1
}

/// Nobody runs a call's worker when the call is over.
pub(crate) fn assert_ran_as_ordered(initiator: &Cpu) {
    let order = &initiator.order;
    let participants = Set::from_bits(order.participants.load(Ordering::Relaxed));
    let ran: [_; CPUS] = array::from_fn(|cpu| order.ran[cpu].load(Ordering::Relaxed));
    let expected: [_; CPUS] = array::from_fn(|cpu| u32::from(participants.contains(cpu)));
    assert!(ran == expected || ran == [0; CPUS], "{ran:?} of {expected:?}");
}
