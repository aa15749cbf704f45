//! Calls that several processors make at once, with workers that look at the contract: what `kipi check` runs.

use crate::apic;
use crate::block::Block;
use crate::fault;
use crate::ipi::{self, Call, Failed, Participants};
use crate::irql;
use crate::lock::SpinLock;
use crate::mem;
use crate::pageable;
use crate::phases::{self, Phases};
use crate::port;
use crate::processor::{self, Private, SLOTS, UserWords};
use crate::tsc;
use crate::workers::{self, WorkerFn};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{self, CallStep, Fault, Mask, Set, Worker, command};
use guest_stub::icr::{self, To};
use guest_stub::mask;
use guest_stub::plan::{Initiators, Plan, PlannedCall};
use guest_stub::verify;

/// Calls that all initiators have made, completed or not.
pub(crate) static MADE: AtomicU32 = AtomicU32::new(0);
/// Keeps the initiators apart while they page out.
static LOCK: SpinLock = SpinLock::new();
/// Initiators that have made all of theirs.
pub(crate) static FINISHED: AtomicU32 = AtomicU32::new(0);

fn result_of(argument: usize, index: usize) -> usize {
    verify::result_of(argument as u64, index) as usize
}

fn initiator_of(argument: usize) -> usize {
    verify::initiator_of(argument as u64)
}

/// Whom the call that runs here calls.
fn members(argument: usize) -> Mask {
    // SAFETY: the page is mapped; the initiator has written the set before its request, and writes it again only when
    // this call is over.
    unsafe { processor::members_of(initiator_of(argument)).read_volatile() }
}

/// What the current command says about workers that look at the contract: whether calls have phases and are stepped, and for
/// how many TSC cycles they are busy.
fn asked() -> (bool, bool, u64) {
    let command = mem::command();
    let calls = || command.payload().map(|calls: command::Calls| (calls.phases != 0, calls.stepped != 0, calls.work));
    let serve = || command.payload().map(|serve: command::Serve| (false, false, serve.work));
    calls().or_else(serve).unwrap_or_default()
}

/// Looks at what the contract says about a worker, and counts what is not so.
pub(crate) extern "sysv64" fn verify(argument: usize) -> usize {
    let private = processor::current();
    let generation = private.generation();
    let members = members(argument);
    private.count(|tally| &mut tally.runs);
    if irql::current() != irql::IPI || ipi::interrupts_enabled() {
        private.count(|tally| &mut tally.wrong_level);
    }
    let mut targets = mask::indices(&members).filter(|&index| index != initiator_of(argument));
    if !targets.all(|index| SLOTS[index].has_arrived(generation)) {
        private.count(|tally| &mut tally.early);
    }
    let (phases, stepped, work) = asked();
    if phases && !all_have(&members, UserWords::last_setup, generation.get()) {
        private.count(|tally| &mut tally.wrong_phase);
    }
    // Relaxed: the done bit, or the phase's barrier, publishes it.
    let words = private.user_page();
    if words.last_run().swap(generation.get(), Ordering::Relaxed) == generation.get() {
        private.count(|tally| &mut tally.repeated);
    }
    if initiator_of(argument) == private.index && stepped {
        fault::step(CallStep::Working);
    }
    // Busy for a while: time for a device to interrupt.
    tsc::wait(work);
    go_wrong(private, argument).unwrap_or_else(|| result_of(argument, private.index))
}

/// As [`verify()`], beginning with an exit.
pub(crate) extern "sysv64" fn observed_verify(argument: usize) -> usize {
    workers::observe();
    verify(argument)
}

/// What the current command wants to go wrong in a worker; another result, if that.
fn go_wrong(private: &'static Private, argument: usize) -> Option<usize> {
    let fault = fault::current();
    if fault == Fault::DuplicateIpi && initiator_of(argument) == private.index {
        let last = mask::indices(&members(argument)).filter(|&index| index != private.index).last()?;
        let to = To::One(mem::apic_id(last));
        apic::send(private, icr::fixed(abi::VECTOR_IPI, to), to);
    }
    if private.index + 1 != mem::boot().vcpus as usize {
        return None;
    }
    match fault {
        Fault::WorkerTwice => {
            fault::set(Fault::Nothing);
            verify(argument);
            fault::set(Fault::WorkerTwice);
            None
        }
        Fault::SwapResult => Some(result_of(argument, private.index.wrapping_sub(1))),
        _ => None,
    }
}

fn all_have(members: &Mask, word: impl Fn(UserWords) -> &'static AtomicU32, generation: u32) -> bool {
    mask::indices(members).all(|index| word(UserWords::of(index)).load(Ordering::Relaxed) == generation)
}

extern "sysv64" fn setup(_: usize) -> usize {
    let private = processor::current();
    private.user_page().last_setup().store(private.generation().get(), Ordering::Relaxed);
    0
}

extern "sysv64" fn teardown(argument: usize) -> usize {
    let private = processor::current();
    if !all_have(&members(argument), UserWords::last_run, private.generation().get()) {
        private.count(|tally| &mut tally.wrong_phase);
    }
    0
}

/// Everything that this processor's calls have in common.
struct Caller<'a> {
    private: &'static Private,
    block: &'a Block,
    processors: usize,
    worker: WorkerFn,
}

/// Makes all calls of this processor, one of the initiators.
pub(crate) fn initiate(private: &'static Private, block: &Block, processors: usize) {
    let calls = &block.calls;
    let caller = Caller { private, block, processors, worker: workers::function(block.worker, calls.observe != 0) };
    let initiators = Initiators {
        set: block.set,
        members: &calls.members,
        processors: &calls.initiators,
        count: mask::indices(&calls.initiators).count(),
        vcpus: processors,
        seed: calls.seed,
        pause: calls.pause,
    };
    let rank = mask::indices(&calls.initiators).take_while(|&index| index < private.index).count();
    let mut plan = Plan::new(initiators, rank, private.index);
    caller.ask_where_it_is_forbidden();
    // Allowed here, unlike in a worker.
    pageable::touch();
    LOCK.with(pageable::page_out);
    for _ in 0..calls.calls {
        let call = plan.next_call();
        tsc::wait(call.pause);
        caller.make(&call);
        MADE.fetch_add(1, Ordering::Relaxed);
    }
    // Release pairs with vCPU 0's look: what was counted comes first.
    FINISHED.fetch_add(1, Ordering::Release);
}

impl Caller<'_> {
    /// Makes one call, and looks at what came of it.
    fn make(&self, call: &PlannedCall) {
        let private = self.private;
        let command = &self.block.calls;
        let (members, argument) = (&call.members, call.argument as usize);
        // SAFETY: this processor's own set, which nobody reads between two of its calls.
        unsafe { processor::members(private.index).write_volatile(*members) };
        let phases = Phases { setup, worker: self.worker, teardown, argument };
        let in_phases = command.phases != 0;
        let everybody = self.block.set == Set::Everybody;
        let call = Call {
            route: self.block.route,
            destination: self.block.destination,
            worker: if in_phases { phases::run } else { self.worker },
            argument: if in_phases { &raw const phases as usize } else { argument },
            participants: if everybody {
                Participants::Everybody(self.processors)
            } else {
                Participants::Members(members)
            },
            deadline: command.deadline,
            stepped: command.stepped != 0,
            fault: self.block.fault,
        };
        let before = context();
        let verifies = self.block.worker == Worker::Verify;
        let mut stepped = !call.stepped;
        let outcome = ipi::broadcast(private, &call, |index, result| {
            if !stepped {
                fault::step(CallStep::Finished);
                stepped = true;
            }
            if verifies && result != result_of(argument, index) {
                private.count(|tally| &mut tally.wrong_result);
            }
            let generation = private.packet.generation().get();
            if verifies && UserWords::of(index).last_run().load(Ordering::Relaxed) != generation {
                private.count(|tally| &mut tally.wrong_participant);
            }
            UserWords::of(index).asked().fetch_add(1, Ordering::Relaxed);
        });
        if command.observe != 0 {
            // An exit: a device's interrupt that is pending now comes before the next call, on any host.
            port::write(abi::PORT_YIELD, 0);
        }
        if context() != before {
            private.count(|tally| &mut tally.not_restored);
        }
        match outcome {
            Ok(done) => {
                private.count(|tally| &mut tally.calls);
                if done.resent {
                    private.count(|tally| &mut tally.resent);
                }
                let takes_part = mask::contains(members, private.index);
                let expected = if takes_part { result_of(argument, private.index) } else { 0 };
                if verifies && done.result != expected {
                    private.count(|tally| &mut tally.wrong_own);
                }
                let generation = done.generation.get();
                let strangers = (0..self.processors).filter(|&index| !mask::contains(members, index));
                for index in strangers {
                    if UserWords::of(index).last_run().load(Ordering::Relaxed) == generation {
                        private.count(|tally| &mut tally.wrong_participant);
                    }
                }
            }
            Err(Failed::Aborted { missing, resent, .. }) => {
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
    fn ask_where_it_is_forbidden(&self) {
        let call = Call {
            route: self.block.route,
            destination: self.block.destination,
            worker: self.worker,
            argument: 0,
            participants: Participants::Everybody(self.processors),
            deadline: self.block.calls.deadline,
            stepped: false,
            fault: Fault::Nothing,
        };
        let refused = || {
            let refused = matches!(ipi::broadcast(self.private, &call, |_, _| ()), Err(Failed::NotAllowedHere));
            if refused {
                self.private.count(|tally| &mut tally.refused);
            } else {
                self.private.count(|tally| &mut tally.not_refused);
            }
        };
        let before = irql::current();
        irql::set(irql::IPI);
        refused();
        irql::set(before);
        // SAFETY: IF is set again below.
        unsafe { asm!("cli", options(nostack)) };
        refused();
        // SAFETY: initiators run with interrupts on.
        unsafe { asm!("sti", options(nostack)) };
    }
}

/// What a call has to leave as it was: IRQL, IF, stack pointer.
fn context() -> (u64, bool, u64) {
    let stack: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) stack, options(nomem, nostack, preserves_flags)) };
    (irql::current(), ipi::interrupts_enabled(), stack)
}
