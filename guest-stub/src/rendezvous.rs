//! The rendezvous of the broadcast call: publish, arrive, GO or ABORT, run, done. Atomics only.
//!
//! One [`Packet`] is shared by all; each processor has a [`Slot`]. Every word that passes between processors
//! carries the call's [`Generation`], so that a word left over from an earlier call can never be taken for one of
//! this call, and no word has to be cleared.
//!
//! The initiator: [`Packet::acquire`], [`Packet::publish`], [`Slot::request`] for each target, its send,
//! [`Slot::has_arrived`] of each target, [`Packet::go`] or [`Packet::abort`], its own worker,
//! [`Slot::is_done`] of each target, [`Packet::release`].
//!
//! A target, once its interrupt is taken: [`Slot::claim`], [`Slot::arrive`], [`Packet::decision`] until it is there,
//! the worker if it is [`Decision::Go`], [`Slot::complete`].

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// The number of a broadcast call. A multiple of four, so that [`Packet`]'s gate can carry the decision in the two
/// low bits; never zero, which stands for "no call yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u32);

impl Generation {
    /// The number as it is stored.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The generation that a stored number stands for.
    pub const fn from_stored(value: u32) -> Self {
        Self(value & !DECISION_MASK)
    }

    /// The generation after this one. Wraps past zero.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.wrapping_add(DECISION_MASK + 1) {
            0 => Self(DECISION_MASK + 1),
            value => Self(value),
        }
    }
}

const DECISION_MASK: u32 = 3;
const GO: u32 = 1;
const ABORT: u32 = 2;

/// What became of a call after its targets were asked to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Not decided yet.
    Pending,
    /// Everybody has arrived: run the worker.
    Go,
    /// Given up, or long over: do nothing.
    Abort,
}

/// What a call asks its participants to do. Written by the active initiator alone.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Packet {
    gate: AtomicU32,
    generation: AtomicU32,
    worker: AtomicUsize,
    argument: AtomicUsize,
    deadline: AtomicU64,
    owner: Owner,
}

/// The active initiator, on a line of its own: those who wait for it must not disturb those who wait at the gate.
#[repr(C, align(128))]
#[derive(Debug)]
struct Owner(AtomicU32);

/// One processor's side of the rendezvous: a line that the initiator writes, and one that the processor writes.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Slot {
    request: AtomicU32,
    padding: [u32; 15],
    arrived: AtomicU32,
    done: AtomicU32,
    result: AtomicUsize,
    served: AtomicU32,
}

/// Byte offsets for an interrupt entry in assembly.
impl Packet {
    /// Of the gate, 32 bits.
    pub const GATE: usize = offset_of!(Self, gate);
    /// Of the worker, a word.
    pub const WORKER: usize = offset_of!(Self, worker);
    /// Of the argument, a word.
    pub const ARGUMENT: usize = offset_of!(Self, argument);
    /// What an open gate holds, less the generation.
    pub const GO_MINUS_GENERATION: u32 = GO;
}

/// Byte offsets for an interrupt entry in assembly, of 32 bits where nothing else is said.
impl Slot {
    /// Of the request.
    pub const REQUEST: usize = offset_of!(Self, request);
    /// Of the generation claimed last.
    pub const SERVED: usize = offset_of!(Self, served);
    /// Of the arrival.
    pub const ARRIVED: usize = offset_of!(Self, arrived);
    /// Of the done word.
    pub const DONE: usize = offset_of!(Self, done);
    /// Of the result, a word.
    pub const RESULT: usize = offset_of!(Self, result);
}

impl Packet {
    /// A packet of no call, whose first generation will be the one after `last`.
    pub const fn new(last: Generation) -> Self {
        Self {
            gate: AtomicU32::new(last.0 | ABORT),
            generation: AtomicU32::new(last.0),
            worker: AtomicUsize::new(0),
            argument: AtomicUsize::new(0),
            deadline: AtomicU64::new(0),
            owner: Owner(AtomicU32::new(0)),
        }
    }

    /// Tries to become the active initiator. `false`: somebody else is; serve its interrupts and try again.
    pub fn acquire(&self, processor: u32) -> bool {
        let owner = &self.owner.0;
        // Acquire pairs with `release`: the last call's reads and writes of the packet are over.
        owner.load(Ordering::Relaxed) == 0
            && owner.compare_exchange(0, processor + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Hands the packet to the next initiator. Only after every requested slot is done, or after an abort.
    pub fn release(&self) {
        self.owner.0.store(0, Ordering::Release);
    }

    /// Opens a new generation with a closed gate. The caller is the active initiator.
    pub fn publish(&self, worker: usize, argument: usize, deadline: u64) -> Generation {
        let generation = self.generation().next();
        self.worker.store(worker, Ordering::Relaxed);
        self.argument.store(argument, Ordering::Relaxed);
        self.deadline.store(deadline, Ordering::Relaxed);
        self.gate.store(generation.0, Ordering::Relaxed);
        // Release pairs with a polling target's load in `generation`; an interrupted one pairs with `request`.
        self.generation.store(generation.0, Ordering::Release);
        generation
    }

    /// The last published generation.
    #[inline]
    pub fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// The worker and its argument. Stable from a claim until that claim's completion.
    #[inline]
    pub fn work(&self) -> (usize, usize) {
        // Relaxed: the claim's Acquire load has ordered these behind `publish`.
        (self.worker.load(Ordering::Relaxed), self.argument.load(Ordering::Relaxed))
    }

    /// When the call is to be given up, in the caller's unit of time.
    pub fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Relaxed)
    }

    /// Whether `generation` is still to be decided, and how it was.
    #[inline]
    pub fn decision(&self, generation: Generation) -> Decision {
        // Acquire pairs with `go`: what the initiator saw before it opened the gate, the worker sees.
        let gate = self.gate.load(Ordering::Acquire);
        if gate == generation.0 {
            Decision::Pending
        } else if gate == generation.0 | GO {
            Decision::Go
        } else {
            Decision::Abort
        }
    }

    /// Opens the gate. `false`: a target has given the call up before.
    pub fn go(&self, generation: Generation) -> bool {
        self.decide(generation, GO)
    }

    /// Gives the call up. `false`: it was decided before.
    pub fn abort(&self, generation: Generation) -> bool {
        self.decide(generation, ABORT)
    }

    fn decide(&self, generation: Generation, decision: u32) -> bool {
        let decided = generation.0 | decision;
        // Release publishes to `decision`; Acquire lets an aborted initiator see what the aborting target wrote.
        self.gate.compare_exchange(generation.0, decided, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Slot {
    /// A slot that has seen no call.
    pub const fn new() -> Self {
        Self {
            request: AtomicU32::new(0),
            padding: [0; 15],
            arrived: AtomicU32::new(0),
            done: AtomicU32::new(0),
            result: AtomicUsize::new(0),
            served: AtomicU32::new(0),
        }
    }

    /// Initiator: asks this processor to take part. Before the send.
    pub fn request(&self, generation: Generation) {
        // Release pairs with `claim`: who sees the request sees the packet.
        self.request.store(generation.0, Ordering::Release);
    }

    /// Target: the call that this processor is asked to join, or `None` if it has served it already: the interrupt
    /// was spurious, came twice, or came late. Each generation is claimed once.
    #[inline]
    pub fn claim(&self) -> Option<Generation> {
        let requested = self.request.load(Ordering::Acquire);
        // Relaxed: `served` is this processor's own.
        if requested == self.served.load(Ordering::Relaxed) {
            return None;
        }
        self.served.store(requested, Ordering::Relaxed);
        Some(Generation(requested))
    }

    /// Target: the generation it claimed last.
    pub fn served(&self) -> Generation {
        Generation(self.served.load(Ordering::Relaxed))
    }

    /// Target: ready to run the worker.
    #[inline]
    pub fn arrive(&self, generation: Generation) {
        // Release pairs with `has_arrived`: what the target did before, the initiator sees.
        self.arrived.store(generation.0, Ordering::Release);
    }

    /// Initiator: has this processor arrived?
    #[inline]
    pub fn has_arrived(&self, generation: Generation) -> bool {
        self.arrived.load(Ordering::Acquire) == generation.0
    }

    /// Target: the worker has returned `result`. The packet is not touched after this.
    #[inline]
    pub fn complete(&self, generation: Generation, result: usize) {
        self.result.store(result, Ordering::Relaxed);
        // Release pairs with `is_done`: the result, and all that the worker wrote, come first.
        self.done.store(generation.0, Ordering::Release);
    }

    /// Initiator: has this processor's worker returned?
    #[inline]
    pub fn is_done(&self, generation: Generation) -> bool {
        self.done.load(Ordering::Acquire) == generation.0
    }

    /// Initiator, after [`Slot::is_done`]: what the worker returned.
    pub fn result(&self) -> usize {
        self.result.load(Ordering::Relaxed)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::thread;
    use std::vec::Vec;

    const FIRST: Generation = Generation(0);

    #[test]
    fn generations_are_never_zero_and_leave_room_for_a_decision() {
        let mut generation = Generation(u32::MAX - 7);
        for _ in 0..5 {
            generation = generation.next();
            assert_ne!(generation.get(), 0);
            assert_eq!(generation.get() & DECISION_MASK, 0);
        }
        assert_eq!(Generation(u32::MAX - 3).next(), Generation(4));
    }

    #[test]
    fn a_request_is_claimed_once() {
        let (packet, slot) = (Packet::new(FIRST), Slot::new());
        assert_eq!(slot.claim(), None, "nobody asked");
        let generation = packet.publish(1, 2, 3);
        slot.request(generation);
        assert_eq!(slot.claim(), Some(generation));
        assert_eq!(slot.claim(), None, "a duplicate has nothing to do");
    }

    #[test]
    fn one_decision_wins_and_a_latecomer_sees_an_abort() {
        let packet = Packet::new(FIRST);
        let first = packet.publish(1, 2, 3);
        assert_eq!(packet.decision(first), Decision::Pending);
        assert!(packet.abort(first));
        assert!(!packet.go(first), "GO xor ABORT");
        assert_eq!(packet.decision(first), Decision::Abort);
        let second = packet.publish(1, 2, 3);
        assert!(packet.go(second));
        assert_eq!(packet.decision(second), Decision::Go);
        assert_eq!(packet.decision(first), Decision::Abort, "a latecomer of the first call does nothing");
    }

    #[test]
    fn the_packet_has_one_owner() {
        let packet = Packet::new(FIRST);
        assert!(packet.acquire(0));
        assert!(!packet.acquire(1));
        packet.release();
        assert!(packet.acquire(1));
    }

    /// Three processors take turns as initiator; the generations wrap on the way. Polling stands in for interrupts.
    #[test]
    fn every_participant_runs_once_a_call_and_none_before_all_arrived() {
        const PROCESSORS: usize = 3;
        const CALLS: usize = 300;
        let packet = Packet::new(Generation(u32::MAX - 403));
        let slots: Vec<Slot> = (0..PROCESSORS).map(|_| Slot::new()).collect();
        let arrived = AtomicUsize::new(0);
        let runs = AtomicUsize::new(0);
        let finished = AtomicUsize::new(0);
        let serve = |me: usize| {
            if let Some(generation) = slots[me].claim() {
                arrived.fetch_add(1, Ordering::SeqCst);
                slots[me].arrive(generation);
                while packet.decision(generation) == Decision::Pending {
                    thread::yield_now();
                }
                assert_eq!(packet.decision(generation), Decision::Go);
                assert_eq!(arrived.load(Ordering::SeqCst) % (PROCESSORS - 1), 0, "started before all arrived");
                runs.fetch_add(1, Ordering::SeqCst);
                slots[me].complete(generation, packet.work().1 + me);
            }
        };
        thread::scope(|scope| {
            for me in 0..PROCESSORS {
                let (packet, slots, serve, runs, finished) = (&packet, &slots, &serve, &runs, &finished);
                let owner = u32::try_from(me).expect("three processors");
                scope.spawn(move || {
                    for call in 0..CALLS {
                        while !packet.acquire(owner) {
                            serve(me);
                            thread::yield_now();
                        }
                        // A request published while this processor became the owner was served before its release.
                        let before = runs.load(Ordering::SeqCst);
                        let generation = packet.publish(7, call, 0);
                        let others = || (0..PROCESSORS).filter(|&other| other != me);
                        others().for_each(|other| slots[other].request(generation));
                        while !others().all(|other| slots[other].has_arrived(generation)) {
                            thread::yield_now();
                        }
                        assert!(packet.go(generation));
                        while !others().all(|other| slots[other].is_done(generation)) {
                            thread::yield_now();
                        }
                        assert_eq!(runs.load(Ordering::SeqCst), before + PROCESSORS - 1);
                        for other in others() {
                            assert_eq!(slots[other].result(), call + other);
                        }
                        packet.release();
                    }
                    finished.fetch_add(1, Ordering::SeqCst);
                    while finished.load(Ordering::SeqCst) < PROCESSORS {
                        serve(me);
                        thread::yield_now();
                    }
                });
            }
        });
        assert_eq!(runs.load(Ordering::SeqCst), PROCESSORS * CALLS * (PROCESSORS - 1));
    }
}
