//! What an initiator calls with: what to do, and whether to do it.

use super::gathering::Gathering;
use super::generation::Generation;
use crate::atomics::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::mem::offset_of;

/// What the gate holds besides the generation. GO is nothing, so that who waits compares with the generation that it has at hand.
const GO: u32 = 0;
const PENDING: u32 = 1;
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

/// What a call asks its participants to do. Written by the one initiator whose it is.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Packet {
    gate: AtomicU32,
    participants: AtomicU32,
    worker: AtomicUsize,
    argument: AtomicUsize,
    deadline: AtomicU64,
    counts: NextLine,
    barrier: Barrier,
    arrivals: Gathering,
    ends: Gathering,
}

/// What follows starts a cache line: it changes while others wait at the gate.
#[repr(align(64))]
#[derive(Debug)]
struct NextLine;

/// Passages of the phases' barriers.
#[derive(Debug)]
struct Barrier(AtomicU32);

/// Byte offsets for an interrupt entry in assembly.
impl Packet {
    /// Of the gate, 32 bits.
    pub const GATE: usize = offset_of!(Self, gate);
    /// Of the worker, a word.
    pub const WORKER: usize = offset_of!(Self, worker);
    /// Of the argument, a word.
    pub const ARGUMENT: usize = offset_of!(Self, argument);
    /// What the gate of a call that is not decided holds, less the generation. An open gate holds the generation.
    pub const PENDING_MINUS_GENERATION: u32 = PENDING - GO;
}

/// One call's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// The worker, as the caller's kind of number.
    pub worker: usize,
    /// Its argument.
    pub argument: usize,
    /// How many run it, the initiator included if it does.
    pub participants: u32,
    /// When the call is to be given up, in the caller's unit of time.
    pub deadline: u64,
}

impl Packet {
    /// A packet of no call.
    pub const fn new() -> Self {
        Self {
            gate: AtomicU32::new(ABORT),
            participants: AtomicU32::new(0),
            worker: AtomicUsize::new(0),
            argument: AtomicUsize::new(0),
            deadline: AtomicU64::new(0),
            counts: NextLine,
            barrier: Barrier(AtomicU32::new(0)),
            arrivals: Gathering::new(),
            ends: Gathering::new(),
        }
    }

    /// Opens a new generation with a closed gate. The packet's initiator only, between two calls.
    pub fn publish(&self, generation: Generation, work: Work) {
        self.prepare(work);
        self.open(generation, work.deadline);
    }

    /// What the next generations have in common: everything but the deadline. Workers that [`Self::meet`] need it before each. The
    /// packet's initiator only, between two calls.
    pub fn prepare(&self, work: Work) {
        // Relaxed, as in `open`.
        self.barrier.0.store(0, Ordering::Relaxed);
        self.worker.store(work.worker, Ordering::Relaxed);
        self.argument.store(work.argument, Ordering::Relaxed);
        self.participants.store(work.participants, Ordering::Relaxed);
    }

    /// Opens another generation like the last one, with a closed gate. The packet's initiator only, between two calls.
    #[inline]
    pub fn open(&self, generation: Generation, deadline: u64) {
        // Relaxed: [`Slot::request`] makes all of it visible. A target that still waits for the last call may read a mixture
        // of both calls here, and does nothing with it: the gate no longer has its generation, which it takes for an abort.
        self.deadline.store(deadline, Ordering::Relaxed);
        self.gate.store(generation.0 + PENDING, Ordering::Relaxed);
    }

    /// Has the targets of a call counted, where participants sleep: so many are to arrive, and to end. The packet's initiator only,
    /// before it opens the call.
    pub fn count_targets(&self, generation: Generation, targets: u32) {
        self.arrivals.expect(generation, targets);
        self.ends.expect(generation, targets);
    }

    /// Who is still to arrive, where participants sleep.
    pub fn arrivals(&self) -> &Gathering {
        &self.arrivals
    }

    /// Whose worker is still to end, where participants sleep.
    pub fn ends(&self) -> &Gathering {
        &self.ends
    }

    /// What changes when the call is decided, and when it is over.
    pub fn gate(&self) -> &AtomicU32 {
        &self.gate
    }

    /// The generation of the packet's last call.
    pub fn generation(&self) -> Generation {
        Generation::from_stored(self.gate.load(Ordering::Relaxed))
    }

    /// What to do. Stable for a participant from GO until its done bit.
    #[inline]
    pub fn work(&self) -> Work {
        Work {
            worker: self.worker.load(Ordering::Relaxed),
            argument: self.argument.load(Ordering::Relaxed),
            participants: self.participants.load(Ordering::Relaxed),
            deadline: self.deadline(),
        }
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
        if gate == generation.0 + GO {
            Decision::Go
        } else if gate == generation.0 + PENDING {
            Decision::Pending
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

    /// The call is over: every participant is done. No processor is in its worker any more.
    pub fn close(&self, generation: Generation) {
        // Relaxed: who has completed the call does not look at its gate again.
        self.gate.store(generation.0 + ABORT, Ordering::Relaxed);
    }

    fn decide(&self, generation: Generation, decision: u32) -> bool {
        let (pending, decided) = (generation.0 + PENDING, generation.0 + decision);
        // Release publishes to `decision`; Acquire lets an aborted initiator see what the aborting target wrote.
        self.gate.compare_exchange(pending, decided, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A participant's worker has come to the barrier after phase `phase`, counted from one. `wait` polls until the
    /// others have, too, or returns that it took too long.
    pub fn meet(&self, phase: u32, wait: impl FnOnce(&dyn Fn() -> bool) -> bool) -> bool {
        let everybody = phase * self.participants.load(Ordering::Relaxed);
        // AcqRel: each passage publishes what came before it, and sees what came before the earlier ones.
        self.barrier.0.fetch_add(1, Ordering::AcqRel);
        // Acquire pairs with the others' passages.
        wait(&|| self.barrier.0.load(Ordering::Acquire) >= everybody)
    }
}

impl Default for Packet {
    fn default() -> Self {
        Self::new()
    }
}
