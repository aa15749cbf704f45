//! A target's side of a block: it waits to be interrupted, and serves the call that it finds.

use super::block::{Block, Call, Taken};
use super::clock::{pause_for, poll_until, stamp, stamp_after_loads};
use super::membarrier::Barrier;
use super::rseq::Registered;
use super::shared::{Seat, Shared};
use super::switches::{self, Switches};
use guest_stub::rendezvous::{self, Delivery, Served, Slot, Target, Work};
use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::Ordering;

/// Serves each round of a block, or as many as are called. `sequences` are this thread's, where the block's calls restart them.
pub(super) fn serve(shared: &Shared, seat: &Seat, block: &Block, sequences: Option<&Registered>) -> Vec<Taken> {
    let mut rounds = Vec::with_capacity(block.rounds as usize);
    for number in 1..=block.rounds {
        let before = switches::of_this_thread();
        let found = match (block.barrier(), sequences) {
            (None, _) => until_called(shared, seat, block.call, || asleep(shared, seat, number, block.one_by_one)),
            (Some(Barrier::Rseq), Some(sequences)) => {
                until_called(shared, seat, block.call, || (in_sequence(shared, seat, number, sequences), None))
            }
            (Some(Barrier::Rseq), None) => unreachable!("`Threads::run` registers them before it calls"),
            (Some(Barrier::Plain), _) => in_loop(shared, seat, number),
        };
        let Some(taken) = found else { break };
        let left = switches::of_this_thread().since(before);
        rounds.push(Taken { was_switched: left != usual(block), ..taken });
    }
    rounds
}

/// How often a target leaves its CPU in a round that counts.
fn usual(block: &Block) -> Switches {
    Switches { voluntary: block.asleep.into(), involuntary: 0 }
}

/// Serves the call that ends `wait`, and waits again as often as something else ends it. `None`: nothing is called any more.
/// `wait` says when the target went on, and when it had begun to sleep.
fn until_called(
    shared: &Shared,
    seat: &Seat,
    call: Call,
    wait: impl Fn() -> (Option<u64>, Option<u64>),
) -> Option<Taken> {
    loop {
        let (a, slept) = wait();
        let serving = Serving { call, worker: Cell::new(None) };
        let served = match call {
            Call::Broadcast { .. } => rendezvous::serve(&serving, &seat.slot, Delivery::Interrupt),
            Call::Ping | Call::Bare => acknowledge(&seat.slot),
        };
        match served {
            Served::Ran(..) => return Some(Taken { a, slept, worker: serving.worker.get(), was_switched: false }),
            Served::Nothing | Served::Late if shared.stop.load(Ordering::Relaxed) != 0 => return None,
            // It was preempted or moved.
            Served::Nothing | Served::Late => {}
        }
    }
}

/// Waits in a restartable sequence, and says when the kernel ended it.
fn in_sequence(shared: &Shared, seat: &Seat, number: u32, sequences: &Registered) -> Option<u64> {
    // Relaxed: it is published by `ready`.
    seat.cpu.store(sequences.cpu(), Ordering::Relaxed);
    let known = seat.slot.served(Delivery::Interrupt).get();
    sequences.wait((&seat.ready, number), (request_word(&seat.slot), known), &shared.stop)
}

/// Sleeps until it is woken, and says when that was, and when it began to.
fn asleep(shared: &Shared, seat: &Seat, number: u32, by_itself: bool) -> (Option<u64>, Option<u64>) {
    let alarm = if by_itself { &seat.alarm } else { &shared.alarm };
    let known = alarm.rung();
    // Relaxed: `stop` is stored before the alarms ring for the last time. Who has seen that one sees `stop`, and it wakes the others.
    if shared.stop.load(Ordering::Relaxed) != 0 {
        return (None, None);
    }
    let slept = stamp();
    // Relaxed: it is published by `ready`.
    seat.slept.store(slept, Ordering::Relaxed);
    // Release pairs with the caller's acquire.
    seat.ready.store(number, Ordering::Release);
    (Some(alarm.sleep(known)), Some(slept))
}

/// Spins until the round has ended: nothing but the kernel sees the interrupt.
fn in_loop(shared: &Shared, seat: &Seat, number: u32) -> Option<Taken> {
    // Release pairs with the caller's acquire: this thread is in its loop, up to the next instructions.
    seat.ready.store(number, Ordering::Release);
    loop {
        // Acquire pairs with the release in `Threads::run`: after the last round, `ended` says so.
        let is_over = shared.stop.load(Ordering::Acquire) != 0;
        if shared.ended.load(Ordering::Relaxed) >= number {
            return Some(Taken { a: None, slept: None, worker: None, was_switched: false });
        }
        if is_over {
            return None;
        }
        spin_loop();
    }
}

/// A ping is answered by its arrival alone.
fn acknowledge(slot: &Slot) -> Served {
    slot.claim(Delivery::Interrupt).map_or(Served::Nothing, |generation| {
        slot.arrive(generation);
        Served::Ran(generation, 0)
    })
}

struct Serving {
    call: Call,
    worker: Cell<Option<[u64; 2]>>,
}

impl Target for Serving {
    /// A thread has no IRQL.
    fn raise(&self) {}

    fn wait(&self, deadline: u64, holds: impl Fn() -> bool) -> bool {
        poll_until(deadline, holds)
    }

    fn work(&self, _: Work) -> usize {
        self.worker.set(Some(work(self.call)));
        0
    }
}

/// Runs the worker, and says when it began and ended.
#[inline]
pub(super) fn work(call: Call) -> [u64; 2] {
    let start = stamp_after_loads();
    match call {
        Call::Broadcast { busy: 0 } | Call::Ping | Call::Bare => {}
        Call::Broadcast { busy } => pause_for(busy),
    }
    [start, stamp_after_loads()]
}

/// The word of a slot that holds the generation that its target is asked to join.
fn request_word(slot: &Slot) -> *const u32 {
    (&raw const *slot).wrapping_byte_add(Slot::REQUEST).cast()
}
