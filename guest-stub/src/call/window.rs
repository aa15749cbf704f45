//! The measured window of a call: from before the send until the initiator has seen every worker's end.

use super::worker::WorkerFn;
use super::{Call, Completed, Failed, check_restored};
use crate::bugcheck;
use crate::cpu::tsc::{self, Stamp};
use crate::cpu::{apic, flags, irql};
use crate::polling;
use crate::processor::{GENERATIONS, Private, SLOTS};
use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::Ordering;
use guest_stub::abi::MASK_WORDS;
use guest_stub::mask;
use guest_stub::rendezvous::{self, Delivery, Generation, Initiator, Outcome, Slot, Targets, Until, Work};

/// Who takes part in a call, and how they are interrupted.
pub(crate) trait Participants {
    /// Those that run the worker, by rising number.
    fn members(&self) -> impl Iterator<Item = usize>;

    /// The slots of the members and of the initiator, by rising number.
    fn owned(&self) -> impl Iterator<Item = &'static Slot>;

    /// The members but the initiator.
    fn targets(&self) -> &impl Targets;

    /// Whether the initiator is a member.
    fn include_initiator(&self) -> bool;

    /// Whether the initiator interrupts itself, too, and has to wait for that.
    fn wait_for_own_interrupt(&self) -> bool;

    /// Opens a call at the time `now`, and sees it through: the measured window is in it.
    fn run(&self, window: &Window, now: u64) -> (Outcome, bool);
}

/// How a call's interrupts are sent, each time that they are.
pub(crate) trait Sends {
    /// Before what is measured.
    #[inline]
    fn before(&self) {}

    /// Between the stamps t0 and t1.
    fn send(&self);

    /// After what is measured.
    #[inline]
    fn after(&self) {}

    /// Whether the initiator interrupts itself, too, and has to wait for that.
    #[inline]
    fn reach_initiator(&self) -> bool {
        false
    }
}

impl<F: Fn()> Sends for F {
    #[inline]
    fn send(&self) {
        self();
    }
}

/// A stamp that is taken on the way.
struct Taken(Cell<Stamp>);

impl Taken {
    const fn not_yet() -> Self {
        Self(Cell::new(Stamp::ZERO))
    }

    #[inline]
    fn set(&self, stamp: Stamp) {
        self.0.set(stamp);
    }

    #[inline]
    fn value(&self) -> u64 {
        self.0.get().value()
    }
}

/// Everything that the measured window needs, prepared before it, and what it leaves. One serves all calls of the same worker on
/// the same participants, one after the other.
pub(crate) struct Window {
    private: &'static Private,
    waits_for_itself: bool,
    worker: WorkerFn,
    argument: usize,
    cycles: u64,
    generation: Cell<Generation>,
    deadline: Cell<u64>,
    resending: Cell<bool>,
    t0: Taken,
    t1: Taken,
    w: Taken,
    x: Taken,
    t2: Taken,
    result: Cell<usize>,
}

impl Window {
    /// For calls like `call` of these participants, which this processor owns.
    pub(super) fn new(private: &'static Private, call: &Call, participants: &impl Participants) -> Self {
        let packet = private.packet;
        packet.prepare(Work {
            worker: call.worker as usize,
            argument: call.argument,
            participants: participants.members().count() as u32,
            deadline: call.deadline,
        });
        participants.owned().for_each(|slot| slot.set_packet(packet));
        let waits_for_itself = participants.wait_for_own_interrupt();
        private.expects_self.store(waits_for_itself, Ordering::Relaxed);
        Self {
            private,
            waits_for_itself,
            worker: if participants.include_initiator() { call.worker } else { takes_no_part },
            argument: call.argument,
            cycles: call.deadline,
            generation: Cell::new(packet.generation()),
            deadline: Cell::new(0),
            resending: Cell::new(false),
            t0: Taken::not_yet(),
            t1: Taken::not_yet(),
            w: Taken::not_yet(),
            x: Taken::not_yet(),
            t2: Taken::not_yet(),
            result: Cell::new(0),
        }
    }

    /// Whose calls they are.
    pub(super) fn private(&self) -> &'static Private {
        self.private
    }

    /// Publishes a call, at the time `now`, and asks the targets to take part.
    #[inline]
    pub(crate) fn open(&self, now: u64, targets: &impl Targets, by: Delivery) -> Generation {
        let generation = GENERATIONS.issue();
        let deadline = now.wrapping_add(self.cycles);
        self.private.packet.open(generation, deadline);
        targets.all(|slot| {
            slot.request_again(generation, by);
            one_by_one();
            true
        });
        self.generation.set(generation);
        self.deadline.set(deadline);
        self.resending.set(false);
        generation
    }

    /// That of the call.
    #[inline]
    pub(crate) fn generation(&self) -> Generation {
        self.generation.get()
    }

    /// Whether it is being sent for the second time.
    pub(crate) fn is_resending(&self) -> bool {
        self.resending.get()
    }

    /// The measured window of the call that has been opened: from its send to its last completion.
    #[expect(clippy::inline_always, reason = "each way to send has a window of its own, which a test looks into")]
    #[inline(always)]
    pub(crate) fn run(&self, generation: Generation, targets: &impl Targets, sends: &impl Sends) -> (Outcome, bool) {
        let in_window = InWindow { window: self, sends };
        let outcome = rendezvous::call(&in_window, self.private.packet, generation, targets);
        self.t2.set(tsc::stamp_after_loads());
        outcome
    }

    /// What the window has left, for the caller.
    #[inline]
    pub(super) fn finish(
        &self,
        (outcome, resent): (Outcome, bool),
        targets: &impl Targets,
    ) -> Result<Completed, Failed> {
        if outcome == Outcome::Overstayed {
            self.wait_for_overstayers(targets);
        }
        let (private, generation) = (self.private, self.generation());
        if outcome != Outcome::Aborted {
            check_restored(private);
        }
        // SAFETY: IF was set, which `broadcast` has made sure of.
        unsafe { flags::enable_interrupts() };
        if outcome == Outcome::Aborted {
            return Err(self.aborted(targets, resent));
        }
        Ok(Completed {
            generation,
            t0: self.t0.value(),
            t1: self.t1.value(),
            a: if self.waits_for_itself { private.a.load(Ordering::Relaxed) } else { 0 },
            w: self.w.value(),
            x: self.x.value(),
            t2: self.t2.value(),
            result: self.result.get(),
            resent,
        })
    }

    #[cold]
    #[inline(never)]
    fn aborted(&self, targets: &impl Targets, resent: bool) -> Failed {
        let mut missing = [0; MASK_WORDS];
        let mut add = |slot: &Slot| {
            if !slot.has_arrived(self.generation())
                && let Some(index) = SLOTS.element_offset(slot)
            {
                mask::insert(&mut missing, index);
            }
            true
        };
        targets.all(&mut add);
        if self.waits_for_itself {
            add(self.private.slot);
        }
        Failed::Aborted { generation: self.generation(), missing, resent }
    }

    /// The call's deadline has passed in the middle of the worker: every worker has as long again.
    #[cold]
    #[inline(never)]
    fn wait_for_overstayers(&self, targets: &impl Targets) {
        let generation = self.generation();
        let until = tsc::now().wrapping_add(self.cycles);
        let mut late = None;
        targets.all(|slot| {
            let done = polling::poll_until(until, || slot.is_done(generation));
            if !done {
                late = SLOTS.element_offset(slot);
            }
            done
        });
        if let Some(late) = late {
            bugcheck::overstayed(late, generation);
        }
    }
}

/// Keeps the compiler from unrolling a loop: most calls have few targets, and what is executed once before it counts more.
#[inline]
fn one_by_one() {
    // SAFETY: no instruction.
    unsafe { asm!("", options(nomem, nostack, preserves_flags)) };
}

/// The worker of an initiator that is no participant: all others are spared the question.
extern "sysv64" fn takes_no_part(_: usize) -> usize {
    0
}

/// A window as the rendezvous's initiator, with its way to send.
struct InWindow<'a, S> {
    window: &'a Window,
    sends: &'a S,
}

impl<S: Sends> Initiator for InWindow<'_, S> {
    #[expect(clippy::inline_always, reason = "out of line, what it sends would lie in memory")]
    #[inline(always)]
    fn send(&self) {
        self.sends.before();
        apic::publish();
        let t0 = tsc::stamp();
        self.sends.send();
        let t1 = tsc::stamp();
        // The targets are on their way: now is the time for what nobody waits for.
        self.sends.after();
        if !self.window.resending.get() {
            self.window.t0.set(t0);
            self.window.t1.set(t1);
        }
    }

    #[inline]
    fn takes_own_interrupt(&self, until: Until) -> bool {
        !self.sends.reach_initiator()
            || wait_longer(self.limit(until), || self.window.private.slot.has_arrived(self.window.generation()))
    }

    #[inline]
    fn raise(&self) {
        irql::set(irql::IPI);
        // Workers run with interrupts off, on whichever processor. `Window::finish` and `lower` set IF again.
        flags::disable_interrupts();
    }

    fn lower(&self) {
        self.window.resending.set(true);
        // SAFETY: IF was set, which `broadcast` has made sure of.
        unsafe { flags::enable_interrupts() };
        irql::set(irql::BELOW_IPI);
    }

    #[inline]
    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool {
        let eight_polls = || polling::eight_polls(&holds);
        eight_polls() || eight_polls() || wait_longer(self.limit(until), holds)
    }

    #[inline]
    fn work(&self) {
        self.window.w.set(tsc::stamp_after_loads());
        self.window.result.set((self.window.worker)(self.window.argument));
        self.window.x.set(tsc::stamp_after_loads());
    }
}

impl<S> InWindow<'_, S> {
    fn limit(&self, until: Until) -> u64 {
        match until {
            Until::Resend => self.window.deadline.get().wrapping_sub(self.window.cycles / 2),
            Until::Deadline => self.window.deadline.get(),
        }
    }
}

/// Kept apart, so that what it needs is not at hand where nobody has to wait for long.
#[inline(never)]
fn wait_longer(until: u64, holds: impl Fn() -> bool) -> bool {
    polling::poll_until(until, holds)
}
