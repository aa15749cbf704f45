//! The caller's side of a block.

use super::Error;
use super::block::{Block, Call, Sent, Silent};
use super::clock::{pause_for, poll_until, stamp, stamp_after_loads};
use super::membarrier::{Barrier, interrupt_one};
use super::shared::{Seat, Shared};
use super::target::work;
use crate::events::cpu_time::CpuTimes;
use guest_stub::rendezvous::{self, Delivery, Generation, Initiator, Outcome, Packet, Slot, Targets, Until, Work};
use std::cell::{Cell, OnceCell};
use std::hint::spin_loop;
use std::sync::atomic::Ordering;

/// The calls of a block.
pub(super) struct Calls {
    /// Those that were completed.
    pub(super) sent: Vec<Sent>,
    /// As [`Rounds::cpu`](super::Rounds::cpu).
    pub(super) cpu: Option<CpuTimes>,
    /// Why there is no further one.
    pub(super) silent: Option<Silent>,
}

/// Makes the calls of a block whose deadline is so many TSC cycles, up to the first one that has to be given up.
pub(super) fn call(shared: &Shared, block: &Block, deadline: u64) -> Result<Calls, Error> {
    let called = Called { seats: block.targets.iter().map(|&target| &shared.seats[target]).collect() };
    let mut rounds = Vec::with_capacity(block.rounds as usize);
    let mut opened = None;
    let given_up = |sent, silent| Ok(Calls { sent, cpu: None, silent: Some(silent) });
    let participants = u32::try_from(block.targets.len()).map_or(u32::MAX, |targets| targets + 1);
    shared.packet.prepare(Work { worker: 0, argument: 0, participants, deadline: 0 });
    for seat in &called.seats {
        // SAFETY: the packet lies in the same allocation as the slots, and every thread holds a share of that while it serves.
        unsafe { seat.slot.set_packet_address((&raw const shared.packet).addr()) };
    }
    for number in 1..=block.rounds {
        // Relaxed: nothing else is published by it.
        if shared.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if number > block.counted_from && opened.is_none() {
            opened = Some(shared.clocks.open());
        }
        if let Some(thread) = called.not_ready(block, number, deadline) {
            return given_up(rounds, silent(block, thread, "become ready"));
        }
        called.settle(block);
        match block.call {
            Call::Broadcast { .. } | Call::Ping => match round(shared, block, &called, deadline)? {
                Ok(sent) => rounds.push(sent),
                Err(silent) => return given_up(rounds, silent),
            },
            Call::Bare => rounds.push(bare_round(shared, number)?),
        }
    }
    Ok(Calls { sent: rounds, cpu: opened.map(|opened| shared.clocks.close(&opened)), silent: None })
}

/// One call that its targets see.
fn round(shared: &Shared, block: &Block, called: &Called<'_>, deadline: u64) -> Result<Result<Sent, Silent>, Error> {
    let generation = shared.generations.issue();
    let start = stamp();
    let limits = Limits { resend: start.wrapping_add(deadline / 2), deadline: start.wrapping_add(deadline) };
    shared.packet.open(generation, limits.deadline);
    called.seats.iter().for_each(|seat| seat.slot.request_again(generation, Delivery::Interrupt));
    let (stamps, refused) = (Cell::default(), OnceCell::new());
    let initiator = Caller { block, shared, called, limits, stamps: &stamps, refused: &refused };
    let (outcome, resent) = match block.call {
        Call::Ping => ping(&initiator, generation),
        Call::Broadcast { .. } | Call::Bare => rendezvous::call(initiator, &shared.packet, generation, called),
    };
    let t2 = stamp_after_loads();
    if let Some(error) = refused.into_inner() {
        return Err(error);
    }
    let Stamps { send: [t0, t1], worker } = stamps.get();
    Ok(match outcome {
        Outcome::Done => Ok(Sent { generation: generation.get(), t0, t1, t2, worker, resent }),
        Outcome::Aborted => Err(called.first_without(block, "arrive", |slot| slot.has_arrived(generation))),
        Outcome::Overstayed => Err(called.first_without(block, "end its worker", |slot| slot.is_done(generation))),
    })
}

/// One call that only the kernel sees: it is over when the kernel says so.
fn bare_round(shared: &Shared, number: u32) -> Result<Sent, Error> {
    let generation = shared.generations.issue().get();
    let t0 = stamp();
    Barrier::Plain.interrupt_all()?;
    let t1 = stamp_after_loads();
    // Relaxed: the targets only count rounds by it.
    shared.ended.store(number, Ordering::Relaxed);
    Ok(Sent { generation, t0, t1, t2: t1, worker: None, resent: false })
}

/// One interrupt, until its target says that it has come: [`rendezvous::call`] would have it wait at a gate.
fn ping(caller: &Caller<'_>, generation: Generation) -> (Outcome, bool) {
    let slot = &caller.called.seats[0].slot;
    let arrives = |until| caller.wait(until, || slot.has_arrived(generation));
    caller.send();
    if arrives(Until::Resend) {
        return (Outcome::Done, false);
    }
    caller.send_again();
    (if arrives(Until::Deadline) { Outcome::Done } else { Outcome::Aborted }, true)
}

fn silent(block: &Block, thread: usize, what: &'static str) -> Silent {
    Silent { thread, what, deadline: block.deadline }
}

/// The threads that a block calls.
#[derive(Clone)]
struct Called<'a> {
    seats: Vec<&'a Seat>,
}

impl Called<'_> {
    /// Waits until each of them is ready for round `number`. `Some`: the first that was not in time.
    fn not_ready(&self, block: &Block, number: u32, deadline: u64) -> Option<usize> {
        let limit = stamp().wrapping_add(deadline);
        // Acquire pairs with the target's store to `ready`.
        let is_ready = |seat: &Seat| poll_until(limit, || seat.ready.load(Ordering::Acquire) == number);
        self.seats.iter().zip(&block.targets).find_map(|(seat, &thread)| (!is_ready(seat)).then_some(thread))
    }

    /// Lets them settle, who are all ready: time passes from now on, or since the last one has begun to sleep.
    fn settle(&self, block: &Block) {
        if !block.asleep {
            return pause_for(block.settle);
        }
        // Relaxed: the targets' stores were published by `ready`.
        let last = self.seats.iter().map(|seat| seat.slept.load(Ordering::Relaxed)).max().unwrap_or(0);
        while stamp() < last.saturating_add(block.settle) {
            spin_loop();
        }
    }

    /// The first of them that has not done its part; where all have by now, the last one, which was late.
    fn first_without(&self, block: &Block, what: &'static str, has: impl Fn(&Slot) -> bool) -> Silent {
        let missing = self.seats.iter().position(|seat| !has(&seat.slot));
        silent(block, block.targets[missing.unwrap_or(self.seats.len() - 1)], what)
    }
}

impl Targets for Called<'_> {
    fn all<'s>(&'s self, mut holds: impl FnMut(&'s Slot) -> bool) -> bool {
        self.seats.iter().all(|seat| holds(&seat.slot))
    }
}

/// When a call is sent again, and when it is given up, by the TSC.
#[derive(Debug, Clone, Copy)]
struct Limits {
    resend: u64,
    deadline: u64,
}

/// The stamps of a call that is being made.
#[derive(Debug, Clone, Copy, Default)]
struct Stamps {
    send: [u64; 2],
    worker: Option<[u64; 2]>,
}

/// The calling thread as the rendezvous's initiator.
#[derive(Clone)]
struct Caller<'a> {
    block: &'a Block,
    shared: &'a Shared,
    called: &'a Called<'a>,
    limits: Limits,
    stamps: &'a Cell<Stamps>,
    /// Why the kernel did not interrupt or wake them; then nobody is waited for.
    refused: &'a OnceCell<Error>,
}

impl Caller<'_> {
    fn interrupt(&self) {
        let mut seats = self.called.seats.iter();
        let sent = match (self.block.asleep, self.block.one_by_one) {
            (true, true) => seats.try_for_each(|seat| seat.alarm.ring()),
            (true, false) => self.shared.alarm.ring(),
            // Relaxed: the target's store was published by `ready`.
            (false, true) => seats.try_for_each(|seat| interrupt_one(seat.cpu.load(Ordering::Relaxed))),
            (false, false) => Barrier::Rseq.interrupt_all(),
        };
        if let Err(error) = sent {
            // The first one tells why.
            let _ = self.refused.set(error);
        }
    }
}

impl Initiator for Caller<'_> {
    /// The targets see the requests: membarrier(2) is a full barrier before the kernel interrupts anybody, and a thread that is woken
    /// has seen the alarm ring.
    fn send(&self) {
        let t0 = stamp();
        self.interrupt();
        let t1 = stamp();
        self.stamps.set(Stamps { send: [t0, t1], worker: None });
    }

    fn send_again(&self) {
        self.interrupt();
    }

    /// It sends itself none.
    fn takes_own_interrupt(&self, _: Until) -> bool {
        true
    }

    /// A thread has no IRQL.
    fn raise(&self) {}

    fn lower(&self) {}

    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool {
        let limit = match until {
            Until::Resend => self.limits.resend,
            Until::Deadline => self.limits.deadline,
        };
        self.refused.get().is_none() && poll_until(limit, holds)
    }

    fn start(&self, packet: &Packet, generation: Generation) -> bool {
        if !packet.go(generation) {
            return false;
        }
        let worker = Some(work(self.block.call));
        self.stamps.set(Stamps { worker, ..self.stamps.get() });
        true
    }
}
