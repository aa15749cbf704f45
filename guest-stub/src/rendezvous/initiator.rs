//! The initiator's side of a call.

use super::generation::Generation;
use super::packet::Packet;
use super::slot::Slot;

/// Up to when an initiator waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Half the deadline: then the interrupt is sent once more.
    Resend,
    /// The call's deadline.
    Deadline,
}

/// What a call needs from the processor that makes it. A copy is as good: where it is handed to the cold part of a call, the rest of
/// the call can have it in registers.
pub trait Initiator: Clone {
    /// Interrupts every target, after everything stored before is visible to them.
    fn send(&self);

    /// As [`Initiator::send`], once more: somebody has not arrived in time.
    fn send_again(&self) {
        self.send();
    }

    /// Waits for this processor's own interrupt, if it has sent itself one. `false` if it did not come in time.
    fn takes_own_interrupt(&self, until: Until) -> bool;

    /// To IPI_LEVEL, where no other call reaches this processor; and back to where one does.
    fn raise(&self);
    /// Undoes [`Initiator::raise`].
    fn lower(&self);

    /// Polls until `holds`; `false` if it did not in time.
    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool;

    /// Waits until all of `targets` have arrived; `false` if one has not in time. One after the other: all have to, and the tighter
    /// the loop, the sooner it sees the last.
    #[expect(clippy::inline_always, reason = "as in `call`")]
    #[inline(always)]
    fn wait_for_arrivals(&self, until: Until, _: &Packet, generation: Generation, targets: &impl Targets) -> bool {
        targets.all(|slot| self.wait(until, move || slot.has_arrived(generation)))
    }

    /// As [`Initiator::wait_for_arrivals`], until all workers have returned, or the deadline.
    #[expect(clippy::inline_always, reason = "as in `call`")]
    #[inline(always)]
    fn wait_for_ends(&self, _: &Packet, generation: Generation, targets: &impl Targets) -> bool {
        targets.all(|slot| self.wait(Until::Deadline, move || slot.is_done(generation)))
    }

    /// Opens the gate by [`Packet::go`], or as it does, and runs the worker on this processor at once, if it takes part.
    /// `false`: the call was given up before, and no worker runs.
    fn start(&self, packet: &Packet, generation: Generation) -> bool;
}

/// The participants other than the initiator. A copy is as good here, too.
pub trait Targets: Clone {
    /// Whether `holds` for each; stops at the first for which it does not.
    fn all<'a>(&'a self, holds: impl FnMut(&'a Slot) -> bool) -> bool;
}

impl<T: Targets> Targets for &T {
    fn all<'a>(&'a self, holds: impl FnMut(&'a Slot) -> bool) -> bool {
        T::all(self, holds)
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every worker has returned.
    Done,
    /// Somebody did not arrive, and nobody has run the worker.
    Aborted,
    /// Somebody has not returned from the worker by the deadline.
    Overstayed,
}

/// Makes one call with `packet`, whose slots are owned and whose targets are requested. Returns how it ended, and whether
/// the interrupt was sent twice.
#[expect(
    clippy::inline_always,
    reason = "the guest has a copy for each way to send, in which nothing is left to be chosen"
)]
#[expect(clippy::needless_pass_by_value, reason = "what is passed by reference lies in memory")]
#[inline(always)]
pub fn call(
    initiator: impl Initiator,
    packet: &Packet,
    generation: Generation,
    targets: impl Targets,
) -> (Outcome, bool) {
    initiator.send();
    let resent = !everybody_arrives(&initiator, packet, generation, &targets, Until::Resend)
        && send_again(initiator.clone(), packet, generation, targets.clone());
    // Fails if the call was given up, here or by a target whose own clock ran out.
    if !initiator.start(packet, generation) {
        return (Outcome::Aborted, resent);
    }
    if initiator.wait_for_ends(packet, generation, &targets) {
        (Outcome::Done, resent)
    } else {
        (Outcome::Overstayed, resent)
    }
}

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn everybody_arrives(
    initiator: &impl Initiator,
    packet: &Packet,
    generation: Generation,
    targets: &impl Targets,
    until: Until,
) -> bool {
    // IPI_LEVEL would mask the initiator's own interrupt. Nobody else's can come: it owns its slot.
    let itself = initiator.takes_own_interrupt(until);
    initiator.raise();
    itself && initiator.wait_for_arrivals(until, packet, generation, targets)
}

/// Somebody has not arrived in time: once more, and then no more. Returns that it was sent again.
#[cold]
#[inline(never)]
#[expect(clippy::needless_pass_by_value, reason = "as above")]
fn send_again(initiator: impl Initiator, packet: &Packet, generation: Generation, targets: impl Targets) -> bool {
    initiator.lower();
    initiator.send_again();
    if !everybody_arrives(&initiator, packet, generation, &targets, Until::Deadline) {
        packet.abort(generation);
    }
    true
}
