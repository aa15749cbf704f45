//! A call of all processors, over a route and a destination that are chosen once for many calls.

use super::Call;
use super::sends::{Encoded, Sending};
use super::window::{Participants, Window};
use super::worker::WorkerFn;
use crate::processor::{Private, SLOTS};
use crate::routes::{self, Arrival, Route, with_route};
use crate::shared;
use guest_stub::abi::{Destination, GuestRoute};
use guest_stub::destinations::{Addressing, Sender};
use guest_stub::rendezvous::{Outcome, Slot, Targets};
use guest_stub::with_destination;

/// The window of a call of all processors: for each route and destination a function of its own, in which nothing is left to
/// be chosen.
type WindowFn = fn(&Window, Encoded, &Others) -> (Outcome, bool);

/// The window of a route and a destination.
fn window_of(route: GuestRoute, destination: Destination) -> WindowFn {
    with_route!(route, R => with_destination!(destination, D => window::<R, D>))
}

/// Out of line, so that nothing of its callers adds to what it measures.
#[inline(never)]
fn window<R: Route, D: Addressing>(window: &Window, sends: Encoded, others: &Others) -> (Outcome, bool) {
    window.run(others, &Sending::<R, D>::new(window.generation(), sends))
}

/// All processors, as one of them calls them.
pub(crate) struct Everybody {
    processors: usize,
    arrival: Arrival,
    includes_sender: bool,
    /// What is sent, and how; `None`: nothing is, since there is nobody else, or no such send.
    sends: Option<(Encoded, WindowFn)>,
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
            sends: sends.map(|sends| (sends, window_of(route, destination))),
            others: Others { before: &SLOTS[..me], after: &SLOTS[me + 1..processors.max(me + 1)] },
        }
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

    fn run(&self, window: &Window) -> (Outcome, bool) {
        match &self.sends {
            Some((sends, of_route)) => of_route(window, sends.clone(), &self.others),
            None => window.run(&self.others, &|| ()),
        }
    }
}

/// The participants but the initiator: those before it, and those after.
struct Others {
    before: &'static [Slot],
    after: &'static [Slot],
}

impl Targets for Others {
    #[expect(
        clippy::inline_always,
        reason = "out of line, with its closure in memory, every poll was three loads more"
    )]
    #[inline(always)]
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.after.iter().all(&mut holds) && self.before.iter().all(holds)
    }
}
