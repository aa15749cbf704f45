//! The initiator's side of a call: the rules of IRQL, and the ownership of the participants.

use super::polling;
use super::window::{Participants, Window};
use super::{Call, Completed, Failed};
use crate::bugcheck;
use crate::cpu::{flags, irql};
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
