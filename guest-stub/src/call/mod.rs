//! The broadcast call: one worker on every participant at once, at IPI_LEVEL.
//!
//! The initiator's side is [`initiator`], with [`window`] as its measured part. A target's side is [`entry`], [`nmi`] or
//! [`polling`], by the way it is called; the latter two and stepped calls have [`target`] in common. It is [`parked`] where
//! participants sleep while they wait.

pub(crate) mod delayed;
pub(crate) mod entry;
pub(crate) mod everybody;
pub(crate) mod initiator;
pub(crate) mod nmi;
pub(crate) mod parked;
pub(crate) mod polling;
mod sends;
pub(crate) mod target;
pub(crate) mod window;
pub(crate) mod worker;

use crate::bugcheck;
use crate::cpu::{flags, irql};
use crate::processor;
use crate::routes::Arrival;
use guest_stub::abi::{Mask, Rule};
use guest_stub::rendezvous::Generation;
use worker::WorkerFn;

/// One call: what to run, and how it comes to the targets.
pub(crate) struct Call {
    pub(crate) worker: WorkerFn,
    pub(crate) argument: usize,
    pub(crate) arrival: Arrival,
    /// TSC cycles after which the call is given up.
    pub(crate) deadline: u64,
}

/// A completed call.
pub(crate) struct Completed {
    pub(crate) generation: Generation,
    /// What the worker returned on this processor; zero if it does not take part.
    pub(crate) result: usize,
    /// The interrupt was sent a second time.
    pub(crate) resent: bool,
}

/// Why a call did not run.
pub(crate) enum Failed {
    /// The caller was at IPI_LEVEL or above, or had interrupts off: the call could never end.
    NotAllowedHere,
    /// It was given up.
    Aborted(Aborted),
}

/// A call that was given up: somebody did not arrive, before or after the second send.
pub(crate) struct Aborted {
    pub(crate) generation: Generation,
    pub(crate) missing: Mask,
    /// The interrupt was sent a second time.
    pub(crate) resent: bool,
}

/// A worker has to leave IRQL and IF as it found them. This processor has just run one.
#[inline]
fn check_restored() {
    if flags::interrupts_enabled() {
        broke(Rule::InterruptsEnabled);
    }
    if irql::current() != irql::IPI {
        broke(Rule::IrqlLowered);
    }
}

#[cold]
fn broke(rule: Rule) -> ! {
    bugcheck::broken_rule(rule, processor::current())
}
