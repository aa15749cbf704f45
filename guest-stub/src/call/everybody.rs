//! A call of all processors, over a route and a destination that are chosen once for many calls.

use super::Call;
use super::sends::{Encoded, Sending};
use super::window::{Participants, Window};
use super::worker::WorkerFn;
use crate::processor::{Private, Record, SLOTS};
use crate::routes::{self, Arrival, Route, with_route};
use crate::shared;
use core::marker::PhantomData;
use core::slice;
use guest_stub::abi::{Destination, GuestRoute};
use guest_stub::destinations::{Addressing, Sender};
use guest_stub::rendezvous::{Outcome, Slot, Targets};
use guest_stub::with_destination;

/// A call of all processors, from its opening to its end: for each route and destination a function of its own.
type CallFn = fn(&Everybody, &Encoded, &Window, u64, Record) -> Outcome;

/// The call over a route and a destination; `None`: a broadcast call has no such destination.
fn call_over(route: GuestRoute, destination: Destination) -> Option<CallFn> {
    with_route!(route, R => with_destination!(
        destination,
        D => Some(Everybody::call_over::<R, D>),
        else None
    ))
}

/// All processors, as one of them calls them.
pub(crate) struct Everybody {
    processors: usize,
    arrival: Arrival,
    includes_sender: bool,
    /// What is sent, and how; `None`: nothing is, since there is nobody else, or no such send.
    sends: Option<(Encoded, CallFn)>,
    others: Others,
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
        let sends = if processors > 1 { Encoded::new(private, sender, route, destination) } else { None };
        Self {
            processors,
            arrival,
            includes_sender: destination.includes_sender() && arrival != Arrival::Polling && processors > 1,
            sends: sends.zip(call_over(route, destination)),
            others: Others::new(me, processors),
        }
    }

    /// The same over `R` and `D`, which are the route and the destination; `None`: nothing is sent.
    pub(crate) fn over<R: Route, D: Addressing>(&self) -> Option<Over<'_, R, D>> {
        self.sends.as_ref().map(|(sends, _)| Over { everybody: self, sends, types: PhantomData })
    }

    #[expect(clippy::inline_always, reason = "each way to send has a window of its own, which a test looks into")]
    #[inline(always)]
    fn call_over<R: Route, D: Addressing>(
        &self,
        sends: &Encoded,
        window: &Window,
        now: u64,
        record: Record,
    ) -> Outcome {
        // SAFETY: there is somebody to send to, or nothing would be sent.
        let others = unsafe { AtLeastOne::of(&self.others) };
        let generation = window.open(now, record, &others, R::ARRIVAL.delivery());
        window.run(generation, record, others, Sending::<R, D>::new(generation, sends))
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

    fn run(&self, window: &Window, now: u64, record: Record) -> Outcome {
        if let Some((sends, call)) = &self.sends {
            return call(self, sends, window, now, record);
        }
        let generation = window.open(now, record, &self.others, self.arrival.delivery());
        window.run(generation, record, self.others.clone(), || ())
    }
}

/// [`Everybody`] over a route and a destination that the caller is generic over, too: many calls with nothing left to be chosen.
pub(crate) struct Over<'a, R, D> {
    everybody: &'a Everybody,
    sends: &'a Encoded,
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

    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn run(&self, window: &Window, now: u64, record: Record) -> Outcome {
        self.everybody.call_over::<R, D>(self.sends, window, now, record)
    }
}

/// The participants but the initiator, in two rows: those after it, and those before it. The first row is empty only if both are.
#[derive(Clone)]
struct Others {
    first: slice::Iter<'static, Slot>,
    second: slice::Iter<'static, Slot>,
}

impl Others {
    fn new(me: usize, processors: usize) -> Self {
        let (before, after) = (SLOTS[..me].iter(), SLOTS[me + 1..processors.max(me + 1)].iter());
        if after.as_slice().is_empty() {
            Self { first: before, second: after }
        } else {
            Self { first: after, second: before }
        }
    }
}

impl Targets for Others {
    #[expect(
        clippy::inline_always,
        reason = "out of line, with its closure in memory, every poll was three loads more"
    )]
    #[inline(always)]
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.first.clone().all(&mut holds) && self.second.clone().all(holds)
    }
}

/// [`Others`] that are some, which spares each look at them the question.
#[derive(Clone)]
struct AtLeastOne<'a>(&'a Others);

impl<'a> AtLeastOne<'a> {
    /// # Safety
    /// There is one.
    unsafe fn of(others: &'a Others) -> Self {
        Self(others)
    }
}

impl Targets for AtLeastOne<'_> {
    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        let mut first = self.0.first.clone();
        loop {
            // SAFETY: there is a first one (the promise of `of`), and another one wherever the loop goes on.
            if !holds(unsafe { first.next().unwrap_unchecked() }) {
                return false;
            }
            if first.as_slice().is_empty() {
                return self.0.second.clone().all(holds);
            }
        }
    }
}
