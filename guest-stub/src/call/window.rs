//! The measured window of a call: from before the send until the initiator has seen every worker's end.

use super::worker::WorkerFn;
use super::{Aborted, Call, check_restored};
use crate::bugcheck;
use crate::cpu::{apic, flags, irql, tsc};
use crate::polling;
use crate::processor::{GENERATIONS, Private, Record, SLOTS};
use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::Ordering;
use guest_stub::abi::MASK_WORDS;
use guest_stub::mask;
use guest_stub::rendezvous::{self, Delivery, Generation, Initiator, Outcome, Packet, Slot, Targets, Until, Work};

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

    /// Opens a call at the time `now`, and sees it through: the measured window is in it, whose stamps go to `record`.
    fn run(&self, window: &Window, now: u64, record: Record) -> Outcome;
}

/// How a call's interrupts are sent, each time that they are.
pub(crate) trait Sends: Clone {
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

impl<F: Fn() + Clone> Sends for F {
    #[inline]
    fn send(&self) {
        self();
    }
}

/// Everything that the measured window needs, prepared before it. One serves all calls of the same worker on the same
/// participants, one after the other.
pub(crate) struct Window {
    private: &'static Private,
    packet: &'static Packet,
    waits_for_itself: bool,
    worker: WorkerFn,
    argument: usize,
    cycles: u64,
    resending: Cell<bool>,
    resent: Cell<u32>,
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
            packet,
            waits_for_itself,
            worker: if participants.include_initiator() { call.worker } else { takes_no_part },
            argument: call.argument,
            cycles: call.deadline,
            resending: Cell::new(false),
            resent: Cell::new(0),
        }
    }

    /// Whose calls they are.
    pub(super) fn private(&self) -> &'static Private {
        self.private
    }

    /// Publishes a call, at the time `now`, and asks the targets to take part.
    #[inline]
    pub(crate) fn open(&self, now: u64, record: Record, targets: &impl Targets, by: Delivery) -> Generation {
        let generation = GENERATIONS.issue();
        self.packet.open(generation, now.wrapping_add(self.cycles));
        record.open(generation);
        targets.all(|slot| {
            slot.request_again(generation, by);
            one_by_one();
            true
        });
        generation
    }

    /// That of the call.
    pub(crate) fn generation(&self) -> Generation {
        self.packet.generation()
    }

    /// How many calls were sent twice.
    pub(super) fn resent(&self) -> u32 {
        self.resent.get()
    }

    /// Whether it is being sent for the second time.
    pub(crate) fn is_resending(&self) -> bool {
        self.resending.get()
    }

    /// The measured window of the call that has been opened: from its send to its last completion.
    #[expect(clippy::inline_always, reason = "each way to send has a window of its own, which a test looks into")]
    #[inline(always)]
    pub(crate) fn run(
        &self,
        generation: Generation,
        record: Record,
        targets: impl Targets,
        sends: impl Sends,
    ) -> Outcome {
        let waits_for_itself = sends.reach_initiator();
        let in_window = InWindow { window: self, generation, record, sends };
        // Whether it was sent twice is in the record.
        let (outcome, _) = rendezvous::call(in_window, self.packet, generation, targets);
        record.t2(tsc::stamp_after_loads());
        if waits_for_itself {
            record.own_interrupt(self.private.a.load(Ordering::Relaxed));
        }
        outcome
    }

    /// Ends the call: a worker that overstays its deadline gets some more time, IF is set again, and this processor is seen to have
    /// kept the rules.
    #[inline]
    pub(super) fn finish(&self, outcome: Outcome, record: Record, targets: &impl Targets) -> Result<(), Aborted> {
        match outcome {
            Outcome::Done => check_restored(self.private),
            Outcome::Overstayed => {
                self.wait_for_overstayers(targets);
                check_restored(self.private);
            }
            Outcome::Aborted => {}
        }
        // SAFETY: IF was set, which `Owned::new` has made sure of.
        unsafe { flags::enable_interrupts() };
        if outcome == Outcome::Aborted { Err(self.aborted(record, targets)) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn aborted(&self, record: Record, targets: &impl Targets) -> Aborted {
        let (generation, mut missing) = (self.generation(), [0; MASK_WORDS]);
        let mut add = |slot: &Slot| {
            if !slot.has_arrived(generation)
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
        Aborted { generation, missing, resent: record.is_resent() }
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
#[derive(Clone)]
struct InWindow<'a, S> {
    window: &'a Window,
    generation: Generation,
    record: Record,
    sends: S,
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
        self.record.t0(t0);
        self.record.t1(t1);
    }

    /// The stamps stay those of the first send.
    fn send_again(&self) {
        let Window { resending, resent, .. } = self.window;
        self.record.resent();
        resent.set(resent.get() + 1);
        resending.set(true);
        self.sends.before();
        apic::publish();
        self.sends.send();
        self.sends.after();
        resending.set(false);
    }

    #[inline]
    fn takes_own_interrupt(&self, until: Until) -> bool {
        !self.sends.reach_initiator()
            || wait_longer(self.limit(until), || self.window.private.slot.has_arrived(self.generation))
    }

    #[inline]
    fn raise(&self) {
        irql::set(irql::IPI);
        // Workers run with interrupts off, on whichever processor. `Window::finish` and `lower` set IF again.
        flags::disable_interrupts();
    }

    fn lower(&self) {
        // SAFETY: IF was set, which `Owned::new` has made sure of.
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
        self.record.w(tsc::stamp_after_loads());
        let result = (self.window.worker)(self.window.argument);
        self.record.x(tsc::stamp_after_loads());
        self.record.result(result);
    }
}

impl<S> InWindow<'_, S> {
    fn limit(&self, until: Until) -> u64 {
        let deadline = self.window.packet.deadline();
        match until {
            Until::Resend => deadline.wrapping_sub(self.window.cycles / 2),
            Until::Deadline => deadline,
        }
    }
}

/// Kept apart, so that what it needs is not at hand where nobody has to wait for long.
#[inline(never)]
fn wait_longer(until: u64, holds: impl Fn() -> bool) -> bool {
    polling::poll_until(until, holds)
}
