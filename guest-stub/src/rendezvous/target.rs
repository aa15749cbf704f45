//! A target's side of a call.

use super::generation::Generation;
use super::packet::{Decision, Work};
use super::slot::{Delivery, Slot};

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
