//! The worker that looks at the contract while it runs, and its setup and teardown phases.

use super::fault;
use super::stepped::step;
use crate::call::worker;
use crate::cpu::{flags, irql, tsc};
use crate::processor::{self, SLOTS, UserWords};
use crate::{processor::Private, shared};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use guest_stub::abi::{self, CallStep, Fault, Mask, Tally, VECTOR_IPI, area};
use guest_stub::icr::{self, To};
use guest_stub::{mask, verify as values};

/// What the worker has to know of the operation that is under way.
#[derive(Clone, Copy)]
pub(crate) struct Expectation {
    /// Calls have a setup and a teardown phase.
    pub(crate) phases: bool,
    /// Every step of a call is an exit.
    pub(crate) stepped: bool,
    /// TSC cycles that the worker is busy.
    pub(crate) work: u64,
}

static PHASES: AtomicBool = AtomicBool::new(false);
static STEPPED: AtomicBool = AtomicBool::new(false);
static WORK: AtomicU64 = AtomicU64::new(0);

/// Says what workers have to know from now on. vCPU 0, before it announces an operation.
pub(crate) fn expect(expectation: Expectation) {
    // Relaxed: the announcement publishes them.
    PHASES.store(expectation.phases, Ordering::Relaxed);
    STEPPED.store(expectation.stepped, Ordering::Relaxed);
    WORK.store(expectation.work, Ordering::Relaxed);
}

fn expectation() -> Expectation {
    Expectation {
        phases: PHASES.load(Ordering::Relaxed),
        stepped: STEPPED.load(Ordering::Relaxed),
        work: WORK.load(Ordering::Relaxed),
    }
}

/// Where processor `index` says whom it calls, for the workers of that call to look at: the second half of its tally's page.
pub(super) fn members_place(index: usize) -> *mut Mask {
    (abi::vcpu_area(index) + area::TALLY + abi::PAGE / 2) as *mut Mask
}

const _: () = assert!(size_of::<Tally>() as u64 <= abi::PAGE / 2);

/// Where initiator `index`, a processor or one of the host's, says whom it calls.
fn members_of(index: usize) -> *const Mask {
    match index.checked_sub(abi::HOST_INITIATOR) {
        Some(caller) => shared::host_members(caller % abi::HOST_CALLERS),
        None => members_place(index),
    }
}

pub(super) fn result_of(argument: usize, index: usize) -> usize {
    values::result_of(argument as u64, index) as usize
}

fn initiator_of(argument: usize) -> usize {
    values::initiator_of(argument as u64)
}

/// Whom the call that runs here calls.
fn members(argument: usize) -> Mask {
    // SAFETY: the page is mapped; the initiator has written the set before its request, and writes it again only when
    // this call is over.
    unsafe { members_of(initiator_of(argument)).read_volatile() }
}

/// Looks at what the contract says about a worker, and counts what is not so.
pub(crate) extern "sysv64" fn verify(argument: usize) -> usize {
    let private = processor::current();
    let generation = private.generation();
    let members = members(argument);
    private.count(|tally| &mut tally.runs);
    if irql::current() != irql::IPI || flags::interrupts_enabled() {
        private.count(|tally| &mut tally.wrong_level);
    }
    let mut targets = mask::indices(&members).filter(|&index| index != initiator_of(argument));
    if !targets.all(|index| SLOTS[index].has_arrived(generation)) {
        private.count(|tally| &mut tally.early);
    }
    let Expectation { phases, stepped, work } = expectation();
    if phases && !all_have(&members, UserWords::last_setup, generation.get()) {
        private.count(|tally| &mut tally.wrong_phase);
    }
    // Relaxed: the done bit, or the phase's barrier, publishes it.
    let words = private.user_page();
    if words.last_run().swap(generation.get(), Ordering::Relaxed) == generation.get() {
        private.count(|tally| &mut tally.repeated);
    }
    if initiator_of(argument) == private.index && stepped {
        step(CallStep::Working);
    }
    // Busy for a while: time for a device to interrupt.
    tsc::wait(work);
    go_wrong(private, argument).unwrap_or_else(|| result_of(argument, private.index))
}

/// As [`verify()`], beginning with an exit.
pub(crate) extern "sysv64" fn observed_verify(argument: usize) -> usize {
    worker::observe();
    verify(argument)
}

/// What the current command wants to go wrong in a worker; another result, if that.
fn go_wrong(private: &'static Private, argument: usize) -> Option<usize> {
    let fault = fault::current();
    if fault == Fault::DuplicateIpi && initiator_of(argument) == private.index {
        let last = mask::indices(&members(argument)).filter(|&index| index != private.index).last()?;
        let to = To::One(shared::apic_id(last));
        private.apic.send(icr::fixed(VECTOR_IPI, to), to);
    }
    if private.index + 1 != shared::boot().vcpus as usize {
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
        Fault::Nothing
        | Fault::DropIpi
        | Fault::DuplicateIpi
        | Fault::WrongTarget
        | Fault::EarlyGate
        | Fault::LostInit
        | Fault::LostSipi
        | Fault::RefusedHypercall => None,
    }
}

fn all_have(members: &Mask, word: impl Fn(UserWords) -> &'static AtomicU32, generation: u32) -> bool {
    mask::indices(members).all(|index| word(UserWords::of(index)).load(Ordering::Relaxed) == generation)
}

pub(super) extern "sysv64" fn setup(_: usize) -> usize {
    let private = processor::current();
    private.user_page().last_setup().store(private.generation().get(), Ordering::Relaxed);
    0
}

pub(super) extern "sysv64" fn teardown(argument: usize) -> usize {
    let private = processor::current();
    if !all_have(&members(argument), UserWords::last_run, private.generation().get()) {
        private.count(|tally| &mut tally.wrong_phase);
    }
    0
}
