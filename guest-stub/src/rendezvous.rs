//! The broadcast call's algorithm: own, publish, arrive, GO or ABORT, run, done. Atomics only: no CPU, no KVM.
//!
//! Each processor has a [`Slot`], where it is called, and a [`Packet`], with which it calls. Every word that passes
//! between processors carries the call's [`Generation`], so that a word left over from an earlier call can never be
//! taken for one of this call, and no word has to be cleared.
//!
//! An initiator owns the slots of its participants for the time of a call ([`acquire`], in rising order, its own among
//! them: whoever waits holds only lower ones, and so no two wait for each other). Calls on disjoint sets run side by
//! side; calls whose sets meet run one after the other. [`call`] is the initiator's side, [`serve`] a target's; the
//! interrupt entry in assembly does what [`serve`] does.

use super::atomics::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::mem::offset_of;
use core::ptr::null_mut;

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
}

const DECISION_MASK: u32 = 3;
const GO: u32 = 1;
const ABORT: u32 = 2;

/// Where generations come from. One source for all initiators: two calls never have the same number, until it wraps
/// after 2^30. A processor that nobody calls for exactly as many calls would take the next one for one that it has served.
#[derive(Debug)]
pub struct Generations(AtomicU32);

impl Generations {
    /// A source whose first generation is the one after `last`.
    pub const fn new(last: Generation) -> Self {
        Self(AtomicU32::new(last.0))
    }

    /// The next generation. Wraps past zero.
    pub fn issue(&self) -> Generation {
        const STEP: u32 = DECISION_MASK + 1;
        loop {
            // Relaxed: only that no two get the same number counts.
            let generation = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
            if generation != 0 {
                return Generation(generation);
            }
        }
    }

    /// Goes on after `last`. While no call is under way.
    pub fn restart_after(&self, last: Generation) {
        self.0.store(last.0, Ordering::Relaxed);
    }
}

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

/// How a target is called. The two have requests of their own: an NMI may come while an interrupt is being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// By an interrupt that IF and IRQL can hold back.
    Interrupt,
    /// By an NMI.
    Nmi,
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
    barrier: Barrier,
}

/// Passages of the phases' barriers, on a line of its own: it changes while others wait at the gate.
#[repr(C, align(64))]
#[derive(Debug)]
struct Barrier(AtomicU32);

/// What follows starts a cache line.
#[repr(align(64))]
#[derive(Debug)]
struct NextLine;

/// One processor's side of the rendezvous: a line that initiators write, and one that the processor writes.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Slot {
    owner: AtomicU32,
    request: AtomicU32,
    nmi_request: AtomicU32,
    packet: AtomicPtr<Packet>,
    next_line: NextLine,
    arrived: AtomicU32,
    done: AtomicU32,
    result: AtomicUsize,
    served: AtomicU32,
    nmi_served: AtomicU32,
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
    /// Of the packet's address, a word.
    pub const PACKET: usize = offset_of!(Self, packet);
    /// Of the generation claimed last.
    pub const SERVED: usize = offset_of!(Self, served);
    /// Of the arrival.
    pub const ARRIVED: usize = offset_of!(Self, arrived);
    /// Of the done word.
    pub const DONE: usize = offset_of!(Self, done);
    /// Of the result, a word.
    pub const RESULT: usize = offset_of!(Self, result);
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
            barrier: Barrier(AtomicU32::new(0)),
        }
    }

    /// Opens a new generation with a closed gate. The packet's initiator only, between two calls.
    pub fn publish(&self, generation: Generation, work: Work) {
        // Relaxed: [`Slot::request`] makes all of it visible. A target that still waits for the last call may read a mixture
        // of both calls here, and does nothing with it: the gate no longer has its generation, which it takes for an abort.
        self.worker.store(work.worker, Ordering::Relaxed);
        self.argument.store(work.argument, Ordering::Relaxed);
        self.participants.store(work.participants, Ordering::Relaxed);
        self.deadline.store(work.deadline, Ordering::Relaxed);
        self.barrier.0.store(0, Ordering::Relaxed);
        self.gate.store(generation.0, Ordering::Relaxed);
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

impl Slot {
    /// A slot that has seen no call.
    pub const fn new() -> Self {
        Self {
            owner: AtomicU32::new(0),
            request: AtomicU32::new(0),
            nmi_request: AtomicU32::new(0),
            packet: AtomicPtr::new(null_mut()),
            next_line: NextLine,
            arrived: AtomicU32::new(0),
            done: AtomicU32::new(0),
            result: AtomicUsize::new(0),
            served: AtomicU32::new(0),
            nmi_served: AtomicU32::new(0),
        }
    }

    /// Tries to make `initiator` the only one who may call this processor. `false`: somebody else is; serve its
    /// interrupts and try again.
    fn try_own(&self, initiator: u32) -> bool {
        // Acquire pairs with `disown`: the last call on this processor is over.
        self.owner.load(Ordering::Relaxed) == 0
            && self.owner.compare_exchange(0, initiator + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn disown(&self) {
        self.owner.store(0, Ordering::Release);
    }

    /// The owner: says which packet counts on this processor from now on.
    pub fn set_packet(&self, packet: &'static Packet) {
        // Relaxed: `request` makes it visible.
        self.packet.store((&raw const *packet).cast_mut(), Ordering::Relaxed);
    }

    /// The packet of the last call that this processor had to do with. `None`: none yet.
    #[inline]
    pub fn packet(&self) -> Option<&'static Packet> {
        // SAFETY: null, or what `set_packet` took from a reference to a static.
        unsafe { self.packet.load(Ordering::Relaxed).as_ref() }
    }

    /// The owner, from outside the processors' memory: as [`Slot::set_packet`].
    ///
    /// # Safety
    /// In the memory of whoever calls [`Slot::packet`], a packet lies at `address` for good.
    pub unsafe fn set_packet_address(&self, address: usize) {
        self.packet.store(core::ptr::without_provenance_mut(address), Ordering::Relaxed);
    }

    /// The owner: asks this processor to take part. Before the send.
    pub fn request(&self, generation: Generation, packet: &'static Packet, by: Delivery) {
        self.set_packet(packet);
        self.request_again(generation, by);
    }

    /// As [`Slot::request`], with the packet that has been set.
    pub fn request_again(&self, generation: Generation, by: Delivery) {
        // Release pairs with `claim`: who sees the request sees the packet.
        match by {
            Delivery::Interrupt => self.request.store(generation.0, Ordering::Release),
            Delivery::Nmi => self.nmi_request.store(generation.0, Ordering::Release),
        }
    }

    /// Target: the call that this processor is asked to join, or `None` if it has served it already: the interrupt
    /// was spurious, came twice, or came late. Each generation is claimed once.
    #[inline]
    pub fn claim(&self, by: Delivery) -> Option<Generation> {
        let (request, served) = match by {
            Delivery::Interrupt => (&self.request, &self.served),
            Delivery::Nmi => (&self.nmi_request, &self.nmi_served),
        };
        let requested = request.load(Ordering::Acquire);
        // Relaxed: `served` is this processor's own.
        if requested == served.load(Ordering::Relaxed) {
            return None;
        }
        served.store(requested, Ordering::Relaxed);
        Some(Generation(requested))
    }

    /// Target: the generation it claimed last.
    pub fn served(&self, by: Delivery) -> Generation {
        let served = match by {
            Delivery::Interrupt => &self.served,
            Delivery::Nmi => &self.nmi_served,
        };
        Generation(served.load(Ordering::Relaxed))
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

    /// Target: whether this processor is in a call's worker, which it was interrupted for.
    ///
    /// Whoever asks may be interrupted between two of the loads, by a call that is served whole: what was read then
    /// belongs to two calls, and is read again.
    pub fn is_working(&self) -> bool {
        loop {
            // Acquire: the loads that follow come after it.
            let done = self.done.load(Ordering::Acquire);
            let is_in = |packet: &Packet, by| {
                let generation = self.served(by);
                generation.0 != 0 && generation.0 != done && packet.decision(generation) == Decision::Go
            };
            let working =
                self.packet().is_some_and(|packet| is_in(packet, Delivery::Interrupt) || is_in(packet, Delivery::Nmi));
            // After `decision`, which acquires.
            if self.done.load(Ordering::Relaxed) == done {
                return working;
            }
        }
    }

    /// Initiator: has this processor's worker returned?
    #[inline]
    pub fn is_done(&self, generation: Generation) -> bool {
        self.done.load(Ordering::Acquire) == generation.0
    }

    /// Initiator, after [`Slot::is_done`] and before [`release`]: what the worker returned.
    pub fn result(&self) -> usize {
        self.result.load(Ordering::Relaxed)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes `initiator` the owner of `slots`, which come in rising order of their processors and have its own among them.
/// `relax` is called while somebody else owns one: calls on this processor must be served meanwhile.
pub fn acquire<'a>(slots: impl Iterator<Item = &'a Slot>, initiator: u32, relax: impl Fn()) {
    for slot in slots {
        while !slot.try_own(initiator) {
            relax();
        }
    }
}

/// As [`acquire`], for as long as `keep_trying` says. `false`: it does not own any of them.
pub fn try_acquire<'a>(
    slots: impl Iterator<Item = &'a Slot> + Clone,
    initiator: u32,
    mut keep_trying: impl FnMut() -> bool,
) -> bool {
    for (owned, slot) in slots.clone().enumerate() {
        while !slot.try_own(initiator) {
            if !keep_trying() {
                release(slots.take(owned));
                return false;
            }
        }
    }
    true
}

/// Gives the slots back: when every participant is done, or after an abort.
pub fn release<'a>(slots: impl Iterator<Item = &'a Slot>) {
    slots.for_each(Slot::disown);
}

/// Up to when an initiator waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Half the deadline: then the interrupt is sent once more.
    Resend,
    /// The call's deadline.
    Deadline,
}

/// What a call needs from the processor that makes it.
pub trait Initiator {
    /// Interrupts every target, after everything stored before is visible to them. Called a second time if somebody
    /// has not arrived in time.
    fn send(&self);

    /// Waits for this processor's own interrupt, if it has sent itself one. `false` if it did not come in time.
    fn takes_own_interrupt(&self, until: Until) -> bool;

    /// To IPI_LEVEL, where no other call reaches this processor; and back to where one does.
    fn raise(&self);
    /// Undoes [`Initiator::raise`].
    fn lower(&self);

    /// Polls until `holds`; `false` if it did not in time.
    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool;

    /// Runs the worker on this processor, if it takes part.
    fn work(&self);
}

/// The participants other than the initiator.
pub trait Targets {
    /// Whether `holds` for each; stops at the first for which it does not.
    fn all<'a>(&'a self, holds: impl FnMut(&'a Slot) -> bool) -> bool;
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every worker has returned.
    Done,
    /// Somebody did not arrive, and nobody has run the worker.
    Aborted,
    /// Somebody has not returned from the worker by the deadline.
    Overstayed,
}

/// Makes one call with `packet`, whose slots are owned and whose targets are requested. Returns how it ended, and whether
/// the interrupt was sent twice.
#[inline]
pub fn call(
    initiator: &impl Initiator,
    packet: &Packet,
    generation: Generation,
    targets: &impl Targets,
) -> (Outcome, bool) {
    initiator.send();
    let resent = !everybody_arrives(initiator, generation, targets, Until::Resend)
        && send_again(initiator, packet, generation, targets);
    // Fails if the call was given up, here or by a target whose own clock ran out.
    if !packet.go(generation) {
        return (Outcome::Aborted, resent);
    }
    initiator.work();
    if targets.all(|slot| initiator.wait(Until::Deadline, || slot.is_done(generation))) {
        (Outcome::Done, resent)
    } else {
        (Outcome::Overstayed, resent)
    }
}

/// One after the other: all have to, and the tighter the loop, the sooner it sees the last.
#[inline]
fn everybody_arrives(initiator: &impl Initiator, generation: Generation, targets: &impl Targets, until: Until) -> bool {
    // IPI_LEVEL would mask the initiator's own interrupt. Nobody else's can come: it owns its slot.
    let itself = initiator.takes_own_interrupt(until);
    initiator.raise();
    itself && targets.all(|slot| initiator.wait(until, || slot.has_arrived(generation)))
}

/// Somebody has not arrived in time: once more, and then no more. Returns that it was sent again.
#[cold]
#[inline(never)]
fn send_again(initiator: &impl Initiator, packet: &Packet, generation: Generation, targets: &impl Targets) -> bool {
    initiator.lower();
    initiator.send();
    if !everybody_arrives(initiator, generation, targets, Until::Deadline) {
        packet.abort(generation);
    }
    true
}

/// What serving a call needs from the processor that is called.
pub trait Target {
    /// To IPI_LEVEL.
    fn raise(&self);

    /// Polls until `holds`; `false` if it did not before `deadline`.
    fn wait(&self, deadline: u64, holds: impl Fn() -> bool) -> bool;

    /// Runs the worker and returns its result.
    fn work(&self, work: Work) -> usize;

    /// Has come this far. For whoever wants to stop a processor at each step.
    #[inline]
    fn reached(&self, _: Step) {}
}

/// The steps of a target's way, each named by what has just been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The interrupt is taken.
    Entered,
    /// The request is claimed.
    Claimed,
    /// The arrival is announced.
    Arrived,
    /// The gate is open.
    Released,
    /// The worker has returned.
    Worked,
    /// The done bit is set.
    Completed,
}

/// What an interrupt turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// No call was open: spurious, a duplicate, or the initiator's own.
    Nothing,
    /// The call had been given up.
    Late,
    /// The worker of this generation ran, with this result.
    Ran(Generation, usize),
}

/// Serves what an interrupt asks for.
#[inline]
pub fn serve(target: &impl Target, slot: &Slot, by: Delivery) -> Served {
    target.reached(Step::Entered);
    let Some((generation, packet)) = slot.claim(by).and_then(|claimed| Some((claimed, slot.packet()?))) else {
        return Served::Nothing;
    };
    target.reached(Step::Claimed);
    target.raise();
    // An NMI may come late, in the midst of an interrupt's call: that call's arrival is not to be overwritten.
    if by == Delivery::Nmi && packet.decision(generation) != Decision::Pending {
        return Served::Late;
    }
    slot.arrive(generation);
    target.reached(Step::Arrived);
    if !target.wait(packet.deadline(), || packet.decision(generation) != Decision::Pending) {
        packet.abort(generation);
    }
    if packet.decision(generation) != Decision::Go {
        return Served::Late;
    }
    target.reached(Step::Released);
    let result = target.work(packet.work());
    target.reached(Step::Worked);
    slot.complete(generation, result);
    target.reached(Step::Completed);
    Served::Ran(generation, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    static PACKET: Packet = Packet::new();
    const WORK: Work = Work { worker: 1, argument: 2, participants: 2, deadline: 3 };

    #[test]
    fn generations_are_never_zero_never_twice_and_leave_room_for_a_decision() {
        let generations = Generations::new(Generation(u32::MAX - 7));
        let issued = [generations.issue().get(), generations.issue().get(), generations.issue().get()];
        assert_eq!(issued, [u32::MAX - 3, 4, 8]);
        assert!(issued.iter().all(|it| it & DECISION_MASK == 0));
    }

    #[test]
    fn a_request_is_claimed_once_and_by_its_own_delivery() {
        let slot = Slot::new();
        assert_eq!(slot.claim(Delivery::Interrupt), None, "nobody asked");
        slot.request(Generation(4), &PACKET, Delivery::Interrupt);
        assert_eq!(slot.claim(Delivery::Nmi), None, "an NMI serves no interrupt's call");
        assert_eq!(slot.claim(Delivery::Interrupt), Some(Generation(4)));
        assert_eq!(slot.claim(Delivery::Interrupt), None, "a duplicate has nothing to do");
        slot.request(Generation(8), &PACKET, Delivery::Nmi);
        assert_eq!(slot.claim(Delivery::Interrupt), None, "an interrupt serves no NMI's call");
        assert_eq!(slot.claim(Delivery::Nmi), Some(Generation(8)));
        assert_eq!(slot.served(Delivery::Interrupt), Generation(4));
    }

    #[test]
    fn one_decision_wins_and_a_latecomer_sees_an_abort() {
        let packet = Packet::new();
        let (first, second) = (Generation(4), Generation(8));
        packet.publish(first, WORK);
        assert_eq!(packet.decision(first), Decision::Pending);
        assert!(packet.abort(first));
        assert!(!packet.go(first), "GO xor ABORT");
        assert_eq!(packet.decision(first), Decision::Abort);
        packet.publish(second, WORK);
        assert!(packet.go(second));
        assert!(!packet.abort(second), "GO xor ABORT");
        assert_eq!(packet.decision(second), Decision::Go);
        assert_eq!(packet.decision(first), Decision::Abort, "a latecomer of the first call does nothing");
        assert_eq!((packet.generation(), packet.work()), (second, WORK));
    }

    #[test]
    fn a_processor_is_in_a_worker_from_go_to_done() {
        static SLOT: Slot = Slot::new();
        static CALL: Packet = Packet::new();
        for (generation, by) in [(Generation(4), Delivery::Interrupt), (Generation(8), Delivery::Nmi)] {
            assert!(!SLOT.is_working(), "not called");
            CALL.publish(generation, WORK);
            SLOT.request(generation, &CALL, by);
            assert_eq!(SLOT.claim(by), Some(generation));
            SLOT.arrive(generation);
            assert!(!SLOT.is_working(), "waits at the gate");
            assert!(CALL.go(generation));
            assert!(SLOT.is_working());
            SLOT.complete(generation, 0);
            assert!(!SLOT.is_working(), "done");
        }
    }

    #[test]
    fn a_slot_has_one_owner() {
        let slot = Slot::new();
        assert!(slot.try_own(0));
        assert!(!slot.try_own(1));
        release([&slot].into_iter());
        assert!(slot.try_own(1));
    }

    #[test]
    fn who_cannot_own_all_owns_none() {
        let slots = [Slot::new(), Slot::new(), Slot::new()];
        assert!(slots[2].try_own(7));
        let mut tries = 0;
        let acquired = try_acquire(slots.iter(), 0, || {
            tries += 1;
            tries < 3
        });
        assert!(!acquired);
        assert_eq!(tries, 3);
        assert!(slots[0].try_own(1) && slots[1].try_own(1), "given back");
        release(slots.iter());
        assert!(try_acquire(slots.iter(), 0, || false));
    }

    #[test]
    fn a_barrier_opens_when_all_have_come_to_that_phase() {
        let packet = Packet::new();
        packet.publish(Generation(4), WORK);
        assert!(!packet.meet(1, |met| met()), "one of two");
        assert!(packet.meet(1, |met| met()));
        assert!(!packet.meet(2, |met| met()), "the next phase starts anew");
        packet.publish(Generation(8), WORK);
        assert!(!packet.meet(1, |met| met()), "so does the next call");
    }
}
