//! A call of all processors, over a route and a destination that are chosen once for many calls.

use super::Call;
use super::sends::{Encoded, Sending};
use super::window::{CanPark, Participants, Window};
use super::worker::WorkerFn;
use crate::processor::{Private, Record, SLOTS};
use crate::routes::{self, Arrival, Route, with_route};
use crate::shared;
use core::marker::PhantomData;
use guest_stub::abi::{Destination, GuestRoute};
use guest_stub::destinations::{Addressing, Sender};
use guest_stub::rendezvous::{Generation, Outcome, Slot, Targets};
use guest_stub::with_destination;

/// A call of all processors, from its opening to its end: for each route and destination a function of its own.
type CallFn = fn(&Encoded, Linked, &Window, u64, Generation, Record) -> Outcome;

/// The call over a route and a destination, with participants that poll, and with those that sleep; `None`: a broadcast call has no
/// such destination.
fn calls_over(route: GuestRoute, destination: Destination) -> Option<[CallFn; 2]> {
    with_route!(route, R => with_destination!(
        destination,
        D => Some([call::<R, D>, parked_call::<R, D>]),
        else None
    ))
}

#[expect(clippy::inline_always, reason = "each way to send has a window of its own, which a test looks into")]
#[inline(always)]
fn call<R: Route, D: Addressing>(
    sends: &Encoded,
    targets: Linked,
    window: &Window,
    now: u64,
    generation: Generation,
    record: Record,
) -> Outcome {
    window.open(now, generation, record, &targets, R::ARRIVAL.delivery());
    window.run(generation, record, targets, Sending::<R, D>::new(generation, sends))
}

/// As [`call`], with participants that sleep while they wait for each other.
fn parked_call<R: Route, D: Addressing>(
    sends: &Encoded,
    targets: Linked,
    window: &Window,
    now: u64,
    generation: Generation,
    record: Record,
) -> Outcome {
    window.open(now, generation, record, &targets, R::ARRIVAL.delivery());
    window.run_parked(generation, record, targets, Sending::<R, D>::new(generation, sends))
}

/// All processors, as one of them calls them.
pub(crate) struct Everybody {
    processors: usize,
    arrival: Arrival,
    includes_sender: bool,
    others: Others,
    /// `None`: nothing is sent, since there is nobody else, or no such send.
    sends: Option<Sent>,
}

/// What is sent, how, and to whom.
struct Sent {
    sends: Encoded,
    call: CallFn,
    parked_call: CallFn,
    targets: Linked,
}

impl Everybody {
    /// The `processors` first ones, as `private` calls them. The last one made on this processor is the one to use: its sends
    /// replace those of the one before.
    pub(crate) fn new(
        private: &'static Private,
        processors: usize,
        route: GuestRoute,
        destination: Destination,
    ) -> Self {
        let me = private.index;
        let arrival = routes::arrival(route);
        let sender = Sender {
            index: me,
            processors,
            in_x2apic_mode: private.apic.is_in_x2apic_mode(),
            apic_id: shared::apic_id,
        };
        let others = Others { me, processors };
        let sent = |targets| {
            let sends = Encoded::new(private, sender, route, destination)?;
            let [call, parked_call] = calls_over(route, destination)?;
            Some(Sent { sends, call, parked_call, targets })
        };
        let sends = others.slots().next().and_then(|first| sent(Linked(first)));
        Self {
            processors,
            arrival,
            includes_sender: destination.includes_sender() && arrival != Arrival::Polling && processors > 1,
            others,
            sends,
        }
    }

    /// The same over `R` and `D`, which are the route and the destination; `None`: nothing is sent.
    pub(crate) fn over<R: Route, D: Addressing>(&self) -> Option<Over<'_, R, D>> {
        self.sends.as_ref().map(|&Sent { ref sends, targets, .. }| Over {
            everybody: self,
            sends,
            targets,
            types: PhantomData,
        })
    }

    /// A call of them.
    pub(crate) fn call(&self, worker: WorkerFn, argument: usize, deadline: u64) -> Call {
        Call { worker, argument, arrival: self.arrival, deadline }
    }
}

impl Participants for Everybody {
    fn members(&self) -> impl Iterator<Item = usize> {
        0..self.processors
    }

    fn owned(&self) -> impl Iterator<Item = &'static Slot> {
        SLOTS[..self.processors].iter()
    }

    fn targets(&self) -> &impl Targets {
        &self.others
    }

    fn include_initiator(&self) -> bool {
        true
    }

    fn wait_for_own_interrupt(&self) -> bool {
        self.includes_sender
    }

    fn prepare(&self) {
        self.others.link();
    }

    fn run(&self, window: &Window, now: u64, generation: Generation, record: Record) -> Outcome {
        if let Some(Sent { sends, call, targets, .. }) = &self.sends {
            return call(sends, *targets, window, now, generation, record);
        }
        window.open(now, generation, record, &self.others, self.arrival.delivery());
        window.run(generation, record, &self.others, || ())
    }
}

impl CanPark for Everybody {
    fn run_parked(&self, window: &Window, now: u64, generation: Generation, record: Record) -> Outcome {
        match &self.sends {
            Some(Sent { sends, parked_call, targets, .. }) => {
                parked_call(sends, *targets, window, now, generation, record)
            }
            // There is nobody to sleep for.
            None => self.run(window, now, generation, record),
        }
    }
}

/// [`Everybody`] over a route and a destination that the caller is generic over, too: many calls with nothing left to be chosen.
pub(crate) struct Over<'a, R, D> {
    everybody: &'a Everybody,
    sends: &'a Encoded,
    targets: Linked,
    types: PhantomData<(R, D)>,
}

impl<R: Route, D: Addressing> Participants for Over<'_, R, D> {
    fn members(&self) -> impl Iterator<Item = usize> {
        self.everybody.members()
    }

    fn owned(&self) -> impl Iterator<Item = &'static Slot> {
        self.everybody.owned()
    }

    fn targets(&self) -> &impl Targets {
        self.everybody.targets()
    }

    fn include_initiator(&self) -> bool {
        self.everybody.include_initiator()
    }

    fn wait_for_own_interrupt(&self) -> bool {
        self.everybody.wait_for_own_interrupt()
    }

    fn prepare(&self) {
        self.everybody.prepare();
    }

    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn run(&self, window: &Window, now: u64, generation: Generation, record: Record) -> Outcome {
        call::<R, D>(self.sends, self.targets, window, now, generation, record)
    }
}

/// The participants but the initiator, by rising number.
#[derive(Clone)]
struct Others {
    me: usize,
    processors: usize,
}

impl Others {
    fn slots<'a>(&self) -> impl Iterator<Item = &'a Slot> + use<'a> {
        let me = self.me;
        (0..self.processors).filter(move |&index| index != me).map(|index| &SLOTS[index])
    }

    /// Has each slot know the next one, for [`Linked`]. The initiator owns them.
    fn link(&self) {
        let next = self.slots().skip(1).map(Some).chain([None]);
        self.slots().zip(next).for_each(|(slot, next)| slot.set_next(next));
    }
}

impl Targets for Others {
    fn all<'a>(&'a self, holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.slots().all(holds)
    }
}

/// [`Others`] that are some and linked, from the first one on: all that a look at them has to keep is an address.
#[derive(Clone, Copy)]
struct Linked(&'static Slot);

impl Targets for Linked {
    #[expect(
        clippy::inline_always,
        reason = "out of line, with its closure in memory, every poll was three loads more"
    )]
    #[inline(always)]
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        let mut slot = self.0;
        loop {
            if !holds(slot) {
                return false;
            }
            let Some(next) = slot.next() else { return true };
            slot = next;
        }
    }
}
