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
//!
//! Where participants sleep while they wait ([`Sleeper`]), a [`Gathering`] counts those who arrive and those who have ended, so that
//! only the last one wakes the initiator.

mod gathering;
mod generation;
mod initiator;
mod ownership;
mod packet;
mod sleeping;
mod slot;
mod target;

/// TSC cycles, half a second or more, that a worker has to return beyond the deadline: where that is short, a target whose CPU was
/// taken away meanwhile has done nothing wrong.
pub const LEAST_GRACE: u64 = 1 << 31;

pub use gathering::Gathering;
pub use generation::{Generation, Generations};
pub use initiator::{Initiator, Outcome, Targets, Until, call};
pub use ownership::{acquire, release, try_acquire};
pub use packet::{Decision, Packet, Work};
pub use sleeping::Sleeper;
pub use slot::{Delivery, Slot};
pub use target::{Served, Step, Target, serve};

#[cfg(test)]
mod tests;
