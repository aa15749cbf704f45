//! One of several initiators: makes its calls by the plan, and counts what came of them.

use super::command::Calls;
use super::lock::SpinLock;
use super::members::Members;
use super::pageable;
use super::phases::{self, Phases};
use super::stepped::step;
use super::verify::{members_place, result_of, setup, teardown};
use crate::call::everybody::Everybody;
use crate::call::window::{CanPark, Parked};
use crate::call::{Aborted, Call, Completed, Failed, initiator};
use crate::cpu::{flags, irql, tsc};
use crate::participant;
use crate::processor::{Private, UserWords};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{CallStep, Mask, Set, Wait};
use guest_stub::mask;
use guest_stub::plan::{Initiators, Plan, PlannedCall};

/// Calls that all initiators have made, completed or not.
static MADE: AtomicU32 = AtomicU32::new(0);
/// Initiators that have made all of theirs.
static FINISHED: AtomicU32 = AtomicU32::new(0);

/// No call has been made. vCPU 0, before it announces an operation.
pub(super) fn reset_progress() {
    MADE.store(0, Ordering::Relaxed);
    FINISHED.store(0, Ordering::Relaxed);
}

/// How many calls have been made, completed or not.
pub(super) fn calls_made() -> u32 {
    MADE.load(Ordering::Relaxed)
}

/// Whether so many initiators have made all of their calls.
pub(super) fn have_finished(initiators: u32) -> bool {
    // Acquire pairs with the Release in `make_calls`.
    FINISHED.load(Ordering::Acquire) >= initiators
}

/// This processor as an initiator.
pub(super) struct Initiator<'a> {
    private: &'static Private,
    processors: usize,
    calls: &'a Calls<'a>,
    everybody: Everybody,
}

impl<'a> Initiator<'a> {
    pub(super) fn new(private: &'static Private, processors: usize, calls: &'a Calls<'a>) -> Self {
        let everybody = Everybody::new(private, processors, calls.route, calls.destination);
        Self { private, processors, calls, everybody }
    }

    /// Makes all of its calls.
    pub(super) fn make_calls(&self) {
        /// Keeps the initiators apart while they page out.
        static LOCK: SpinLock = SpinLock::new();
        let command = self.calls.command;
        let initiators = Initiators {
            set: self.calls.set,
            members: &command.members,
            processors: &command.initiators,
            count: mask::indices(&command.initiators).count(),
            vcpus: self.processors,
            seed: command.seed,
            pause: command.pause,
        };
        let rank = mask::indices(&command.initiators).take_while(|&index| index < self.private.index).count();
        let mut plan = Plan::new(initiators, rank, self.private.index);
        self.call_where_it_is_forbidden();
        // Allowed here, unlike in a worker.
        pageable::touch();
        LOCK.with(pageable::page_out);
        for _ in 0..command.calls {
            let call = plan.next_call();
            tsc::wait(call.pause);
            self.make(&call);
            MADE.fetch_add(1, Ordering::Relaxed);
        }
        // Release pairs with `have_finished`: what was counted comes first.
        FINISHED.fetch_add(1, Ordering::Release);
    }

    /// Makes one call, and looks at what came of it.
    fn make(&self, planned: &PlannedCall) {
        let Self { private, calls, .. } = self;
        let (members, argument) = (&planned.members, planned.argument as usize);
        // SAFETY: this processor's own set, which nobody reads between two of its calls.
        unsafe { members_place(private.index).write_volatile(*members) };
        let phases = Phases { setup, worker: calls.worker, teardown, argument };
        let in_phases = calls.command.phases != 0;
        let call = Call {
            worker: if in_phases { phases::run } else { calls.worker },
            argument: if in_phases { &raw const phases as usize } else { argument },
            arrival: calls.manner.arrival,
            deadline: calls.command.deadline,
        };
        let mut finished = false;
        let each = |index, result| {
            if calls.manner.stepped && !finished {
                step(CallStep::Finished);
                finished = true;
            }
            self.count_result(argument, index, result);
        };
        let before = context();
        let outcome = if calls.set == Set::Everybody && calls.manner.is_plain() {
            self.broadcast(&call, &self.everybody, each)
        } else {
            self.broadcast(&call, &Members::new(private, members, calls.manner), each)
        };
        if calls.command.observe != 0 {
            participant::take_pending_interrupts();
        }
        if context() != before {
            private.count(|tally| &mut tally.not_restored);
        }
        self.count_outcome(outcome, members, argument);
    }

    fn broadcast(
        &self,
        call: &Call,
        participants: &impl CanPark,
        each: impl FnMut(usize, usize),
    ) -> Result<Completed, Failed> {
        match self.calls.wait {
            Wait::Spin => initiator::broadcast(self.private, call, participants, each),
            Wait::Park => initiator::broadcast(self.private, call, &Parked(participants), each),
        }
    }

    /// Looks at a participant's result, while this processor owns it.
    fn count_result(&self, argument: usize, index: usize, result: usize) {
        let Self { private, calls, .. } = self;
        if calls.verifies && result != result_of(argument, index) {
            private.count(|tally| &mut tally.wrong_result);
        }
        let generation = private.packet.generation().get();
        if calls.verifies && UserWords::of(index).last_run().load(Ordering::Relaxed) != generation {
            private.count(|tally| &mut tally.wrong_participant);
        }
        UserWords::of(index).asked().fetch_add(1, Ordering::Relaxed);
    }

    fn count_outcome(&self, outcome: Result<Completed, Failed>, members: &Mask, argument: usize) {
        let private = self.private;
        match outcome {
            Ok(done) => {
                private.count(|tally| &mut tally.calls);
                if done.resent {
                    private.count(|tally| &mut tally.resent);
                }
                let takes_part = mask::contains(members, private.index);
                let expected = if takes_part { result_of(argument, private.index) } else { 0 };
                if self.calls.verifies && done.result != expected {
                    private.count(|tally| &mut tally.wrong_own);
                }
                let strangers = (0..self.processors).filter(|&index| !mask::contains(members, index));
                for index in strangers {
                    if UserWords::of(index).last_run().load(Ordering::Relaxed) == done.generation.get() {
                        private.count(|tally| &mut tally.wrong_participant);
                    }
                }
            }
            Err(Failed::Aborted(Aborted { missing, resent, .. })) => {
                // SAFETY: this processor's own tally.
                let tally = unsafe { &mut *private.tally() };
                if tally.aborted == 0 {
                    tally.missing = missing;
                }
                tally.aborted += 1;
                tally.resent += u32::from(resent);
            }
            Err(Failed::NotAllowedHere) => private.count(|tally| &mut tally.not_refused),
        }
    }

    /// Calls at IPI_LEVEL and with interrupts off: both could never end, and are refused.
    fn call_where_it_is_forbidden(&self) {
        let private = self.private;
        let call = self.everybody.call(self.calls.worker, 0, self.calls.command.deadline);
        let count = || match initiator::broadcast(private, &call, &self.everybody, |_, _| ()) {
            Err(Failed::NotAllowedHere) => private.count(|tally| &mut tally.refused),
            Ok(_) | Err(Failed::Aborted(_)) => private.count(|tally| &mut tally.not_refused),
        };
        let before = irql::current();
        irql::set(irql::IPI);
        count();
        irql::set(before);
        flags::disable_interrupts();
        count();
        // SAFETY: initiators run with interrupts on.
        unsafe { flags::enable_interrupts() };
    }
}

/// What a call has to leave as it was: IRQL, IF, stack pointer.
fn context() -> (u64, bool, u64) {
    let stack: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags)) };
    (irql::current(), flags::interrupts_enabled(), stack)
}
