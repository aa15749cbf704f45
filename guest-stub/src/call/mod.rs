//! The broadcast call: one worker on every participant at once, at IPI_LEVEL.
//!
//! [`broadcast`] is the initiator's side: the rules of IRQL, the ownership of the participants, and [`window`], the measured
//! part. A target's side is [`entry`], [`nmi`] or [`polling`], by the way it is called; the latter two and stepped calls have
//! [`target`] in common.

pub(crate) mod entry;
pub(crate) mod everybody;
pub(crate) mod nmi;
pub(crate) mod polling;
pub(crate) mod target;
pub(crate) mod window;
pub(crate) mod worker;

use crate::bugcheck;
use crate::cpu::{flags, irql};
use crate::processor::{Private, SLOTS};
use crate::routes::Arrival;
use core::sync::atomic::Ordering;
use guest_stub::abi::{Mask, Rule};
use guest_stub::rendezvous::{self, Generation, Outcome, Slot, Targets};
use window::Window;
use worker::WorkerFn;

/// One call: what to run, and how it comes to the targets.
pub(crate) struct Call {
    pub(crate) worker: WorkerFn,
    pub(crate) argument: usize,
    pub(crate) arrival: Arrival,
    /// TSC cycles after which the call is given up.
    pub(crate) deadline: u64,
}

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

    /// The measured window: sends, and sees the call through.
    fn run(&self, window: &Window) -> (Outcome, bool);
}

/// A completed call, with the initiator's stamps.
pub(crate) struct Completed {
    pub(crate) generation: Generation,
    pub(crate) t0: u64,
    pub(crate) t1: u64,
    /// The initiator's own interrupt, in destination `all`; else zero.
    pub(crate) a: u64,
    pub(crate) w: u64,
    pub(crate) x: u64,
    pub(crate) t2: u64,
    /// What the worker returned on this processor; zero if it does not take part.
    pub(crate) result: usize,
    /// The interrupt was sent a second time.
    pub(crate) resent: bool,
}

/// Why a call did not run.
pub(crate) enum Failed {
    /// The caller was at IPI_LEVEL or above, or had interrupts off: the call could never end.
    NotAllowedHere,
    /// Somebody did not arrive, before or after the second send.
    Aborted { generation: Generation, missing: Mask, resent: bool },
}

/// Runs `call.worker` with `call.argument` on every participant, all starting when all have arrived, and returns
/// when all have ended. While it waits, other initiators' calls are served.
///
/// `each` gets every participant's result, of this processor too, by rising number.
pub(crate) fn broadcast(
    private: &'static Private,
    call: &Call,
    participants: &impl Participants,
    each: impl FnMut(usize, usize),
) -> Result<Completed, Failed> {
    if private.in_worker() {
        bugcheck::broken_rule(Rule::NestedCall, private);
    }
    let caller_irql = irql::current();
    if caller_irql >= irql::IPI || !flags::interrupts_enabled() {
        return Err(Failed::NotAllowedHere);
    }
    irql::set(irql::BELOW_IPI);
    rendezvous::acquire(participants.owned(), private.index as u32, || {
        if call.arrival == Arrival::Polling {
            polling::serve_announced(private);
        }
        core::hint::spin_loop();
    });
    private.calling.store(true, Ordering::Relaxed);
    let outcome = make(private, call, participants, each);
    private.calling.store(false, Ordering::Relaxed);
    rendezvous::release(participants.owned());
    irql::set(caller_irql);
    outcome
}

/// Makes the call, whose participants this processor owns.
fn make(
    private: &'static Private,
    call: &Call,
    participants: &impl Participants,
    mut each: impl FnMut(usize, usize),
) -> Result<Completed, Failed> {
    let window = Window::prepare(private, call, participants);
    let outcome = participants.run(&window);
    let completed = window.finish(outcome, participants.targets())?;
    for index in participants.members() {
        each(index, if index == private.index { completed.result } else { SLOTS[index].result() });
    }
    Ok(completed)
}

/// A worker has to leave IRQL and IF as it found them. This processor has just run one.
#[inline]
fn check_restored(private: &'static Private) {
    if flags::interrupts_enabled() {
        bugcheck::broken_rule(Rule::InterruptsEnabled, private);
    }
    if irql::current() != irql::IPI {
        bugcheck::broken_rule(Rule::IrqlLowered, private);
    }
}
