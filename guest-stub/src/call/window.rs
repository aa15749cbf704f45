//! The measured window of a call: from before the send until the initiator has seen every worker's end.

mod parked;
mod steps;

use super::worker::WorkerFn;
use super::{Aborted, Call, check_restored};
use crate::bugcheck;
use crate::cpu::{flags, tsc};
use crate::polling;
use crate::processor::{Private, Record, SLOTS};
use core::cell::Cell;
use core::sync::atomic::Ordering;
use guest_stub::abi::MASK_WORDS;
use guest_stub::mask;
use guest_stub::rendezvous::{self, Delivery, Generation, LEAST_GRACE, Outcome, Packet, Slot, Targets, Work};
pub(crate) use parked::Parked;
use steps::InWindow;

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

    /// The initiator owns them now: what its calls need of their slots besides.
    fn prepare(&self) {}

    /// Opens the call `generation` at the time `now`, and sees it through: the measured window is in it, whose stamps go to
    /// `record`.
    fn run(&self, window: &Window, now: u64, generation: Generation, record: Record) -> Outcome;

    /// The call is over, or given up, and its gate closed.
    #[inline]
    fn closed(&self, _: &Window) {}
}

/// Participants that can sleep while they wait for each other.
pub(crate) trait CanPark: Participants {
    /// As [`Participants::run`], with participants that do.
    fn run_parked(&self, window: &Window, now: u64, generation: Generation, record: Record) -> Outcome;
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
        participants.prepare();
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
    pub(crate) fn open(&self, now: u64, generation: Generation, record: Record, targets: &impl Targets, by: Delivery) {
        self.packet.open(generation, now.wrapping_add(self.cycles));
        record.open(generation);
        targets.all(|slot| {
            slot.request_again(generation, by);
            true
        });
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
        self.end(record, waits_for_itself);
        outcome
    }

    /// The last of the window: every completion has been seen.
    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn end(&self, record: Record, waits_for_itself: bool) {
        record.t2(tsc::stamp_after_loads());
        if waits_for_itself {
            record.own_interrupt(self.private.a.load(Ordering::Relaxed));
        }
    }

    /// Ends the call: a worker that overstays its deadline gets some more time, IF is set again, and this processor is seen to have
    /// kept the rules.
    #[inline]
    pub(super) fn finish(
        &self,
        outcome: Outcome,
        generation: Generation,
        record: Record,
        targets: &impl Targets,
    ) -> Result<(), Aborted> {
        match outcome {
            Outcome::Done => {}
            Outcome::Overstayed => self.wait_for_overstayers(generation, targets),
            Outcome::Aborted => return Err(self.aborted(generation, record, targets)),
        }
        check_restored();
        self.packet.close(generation);
        // SAFETY: IF was set, which `Owned::new` has made sure of.
        unsafe { flags::enable_interrupts() };
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn aborted(&self, generation: Generation, record: Record, targets: &impl Targets) -> Aborted {
        // SAFETY: as in `finish`.
        unsafe { flags::enable_interrupts() };
        let mut missing = [0; MASK_WORDS];
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

    /// The call's deadline has passed in the middle of the worker: every worker has as long again, and [`LEAST_GRACE`].
    #[cold]
    #[inline(never)]
    fn wait_for_overstayers(&self, generation: Generation, targets: &impl Targets) {
        let until = tsc::now().wrapping_add(self.cycles.max(LEAST_GRACE));
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

/// The worker of an initiator that is no participant: all others are spared the question.
extern "sysv64" fn takes_no_part(_: usize) -> usize {
    0
}
