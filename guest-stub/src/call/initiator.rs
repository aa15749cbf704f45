//! The initiator's side of a call: the rules of IRQL, and the ownership of the participants.

use super::polling;
use super::window::{Participants, Window};
use super::{Call, Completed, Failed};
use crate::bugcheck;
use crate::cpu::{flags, irql, tsc};
use crate::processor::{Private, SLOTS};
use crate::routes::Arrival;
use core::sync::atomic::Ordering;
use guest_stub::abi::Rule;
use guest_stub::rendezvous;

/// Runs `call.worker` with `call.argument` on every participant, all starting when all have arrived, and returns
/// when all have ended. While it waits, other initiators' calls are served.
///
/// `each` gets every participant's result, of this processor too, by rising number.
pub(crate) fn broadcast(
    private: &'static Private,
    call: &Call,
    participants: &impl Participants,
    mut each: impl FnMut(usize, usize),
) -> Result<Completed, Failed> {
    let caller_irql = enter(private)?;
    let owned = Owned::new(private, call, participants);
    let completed = owned.make(tsc::now());
    if let Ok(completed) = &completed {
        for index in participants.members() {
            each(index, if index == private.index { completed.result } else { SLOTS[index].result() });
        }
    }
    drop(owned);
    irql::set(caller_irql);
    completed
}

/// The participants of many calls, one after the other, which this processor owns from the first to the last.
pub(crate) struct Owned<'a, P: Participants> {
    participants: &'a P,
    window: Window,
}

impl<'a, P: Participants> Owned<'a, P> {
    /// For calls like `call`. While others own one of them, their calls are served.
    pub(crate) fn new(private: &'static Private, call: &Call, participants: &'a P) -> Self {
        rendezvous::acquire(participants.owned(), private.index as u32, || {
            if call.arrival == Arrival::Polling {
                polling::serve_announced(private);
            }
            core::hint::spin_loop();
        });
        Self { participants, window: Window::new(private, call, participants) }
    }

    /// As [`broadcast`], at the time `now`.
    #[inline]
    pub(crate) fn broadcast(&self, now: u64) -> Result<Completed, Failed> {
        let caller_irql = enter(self.window.private())?;
        let completed = self.make(now);
        irql::set(caller_irql);
        completed
    }

    #[expect(clippy::inline_always, reason = "what it returns would be copied")]
    #[inline(always)]
    fn make(&self, now: u64) -> Result<Completed, Failed> {
        let calling = &self.window.private().calling;
        calling.store(true, Ordering::Relaxed);
        let outcome = self.participants.run(&self.window, now);
        let completed = self.window.finish(outcome, self.participants.targets());
        calling.store(false, Ordering::Relaxed);
        completed
    }
}

impl<P: Participants> Drop for Owned<'_, P> {
    fn drop(&mut self) {
        rendezvous::release(self.participants.owned());
    }
}

/// To the IRQL that calls are made at, where that is allowed; returns the caller's.
#[inline]
fn enter(private: &'static Private) -> Result<u64, Failed> {
    if private.in_worker() {
        bugcheck::broken_rule(Rule::NestedCall, private);
    }
    let caller_irql = irql::current();
    if caller_irql >= irql::IPI || !flags::interrupts_enabled() {
        return Err(Failed::NotAllowedHere);
    }
    irql::set(irql::BELOW_IPI);
    Ok(caller_irql)
}
