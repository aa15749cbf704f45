//! The initiator's side of a call: the rules of IRQL, and the ownership of the participants.

use super::polling;
use super::window::{Participants, Window};
use super::{Aborted, Call, Completed, Failed};
use crate::bugcheck;
use crate::cpu::{flags, irql, tsc};
use crate::processor::{GENERATIONS, Private, Record, SLOTS};
use crate::routes::Arrival;
use core::sync::atomic::Ordering;
use guest_stub::abi::Rule;
use guest_stub::rendezvous::{self, Generation};

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
    let owned = Owned::new(private, call, participants).ok_or(Failed::NotAllowedHere)?;
    let record = private.place(0);
    let generation = GENERATIONS.issue();
    owned.broadcast(tsc::now(), generation, record).map_err(Failed::Aborted)?;
    let result = record.get().result as usize;
    for index in participants.members() {
        each(index, if index == private.index { result } else { SLOTS[index].result() });
    }
    Ok(Completed { generation, result, resent: record.is_resent() })
}

/// The participants of many calls, one after the other, which this processor owns from the first to the last. So long its
/// IRQL is the one that calls are made at, and its code is in no worker: what each of the calls needs is seen to once.
pub(crate) struct Owned<'a, P: Participants> {
    participants: &'a P,
    window: Window,
    caller_irql: u64,
}

impl<'a, P: Participants> Owned<'a, P> {
    /// For calls like `call`. While others own one of them, their calls are served. `None`: calls are not allowed here.
    pub(crate) fn new(private: &'static Private, call: &Call, participants: &'a P) -> Option<Self> {
        if private.in_worker() {
            bugcheck::broken_rule(Rule::NestedCall, private);
        }
        let caller_irql = irql::current();
        if caller_irql >= irql::IPI || !flags::interrupts_enabled() {
            return None;
        }
        irql::set(irql::BELOW_IPI);
        rendezvous::acquire(participants.owned(), private.index as u32, || {
            if call.arrival == Arrival::Polling {
                polling::serve_announced(private);
            }
            core::hint::spin_loop();
        });
        let window = Window::new(private, call, participants);
        private.calling.store(true, Ordering::Relaxed);
        Some(Self { participants, window, caller_irql })
    }

    /// Makes the call `generation` at the time `now`, whose stamps go to `record`.
    #[expect(clippy::inline_always, reason = "what it returns would be copied")]
    #[inline(always)]
    pub(crate) fn broadcast(&self, now: u64, generation: Generation, record: Record) -> Result<(), Aborted> {
        let outcome = self.participants.run(&self.window, now, generation, record);
        let ended = self.window.finish(outcome, generation, record, self.participants.targets());
        self.participants.closed(&self.window);
        irql::set(irql::BELOW_IPI);
        ended
    }

    /// How many of the calls were sent twice.
    pub(crate) fn resent(&self) -> u32 {
        self.window.resent()
    }
}

impl<P: Participants> Drop for Owned<'_, P> {
    fn drop(&mut self) {
        self.window.private().calling.store(false, Ordering::Relaxed);
        rendezvous::release(self.participants.owned());
        irql::set(self.caller_irql);
    }
}
