//! A call of all processors, over a route and a destination that are chosen once for many calls.

use super::Call;
use super::window::{Participants, Window};
use super::worker::WorkerFn;
use crate::processor::{Private, SLOTS};
use crate::routes::{self, Arrival, Route, with_route};
use crate::shared;
use guest_stub::abi::{Destination, GuestRoute, VECTOR_IPI};
use guest_stub::destinations::{Addressing, Sender};
use guest_stub::rendezvous::{Outcome, Slot, Targets};
use guest_stub::with_destination;

/// The window of a call of all processors: for each route and destination a function of its own, in which nothing is left to
/// be chosen.
type WindowFn = fn(&Window, Sender, &Others) -> (Outcome, bool);

/// The window of a route and a destination.
fn window_of(route: GuestRoute, destination: Destination) -> WindowFn {
    with_route!(route, R => with_destination!(destination, D => window::<R, D>))
}

/// The window of a call that has no targets.
fn window_of_nobody() -> WindowFn {
    |window, _, others| window.run(others, || ())
}

/// Out of line, so that nothing of its callers adds to what it measures.
#[inline(never)]
fn window<R: Route, D: Addressing>(window: &Window, sender: Sender, others: &Others) -> (Outcome, bool) {
    let destination = D::prepare(sender);
    let route = R::prepare(window.sending());
    window.run(others, || destination.for_each_send(|to| route.send(VECTOR_IPI, to)))
}

/// All processors, as one of them calls them.
pub(crate) struct Everybody {
    sender: Sender,
    arrival: Arrival,
    includes_sender: bool,
    window: WindowFn,
    others: Others,
}

impl Everybody {
    /// The `processors` first ones, as `private` calls them.
    pub(crate) fn new(
        private: &'static Private,
        processors: usize,
        route: GuestRoute,
        destination: Destination,
    ) -> Self {
        let me = private.index;
        let arrival = routes::arrival(route);
        Self {
            sender: Sender {
                index: me,
                processors,
                in_x2apic_mode: private.apic.is_in_x2apic_mode(),
                apic_id: shared::apic_id,
            },
            arrival,
            includes_sender: destination.includes_sender() && arrival != Arrival::Polling && processors > 1,
            window: if processors > 1 { window_of(route, destination) } else { window_of_nobody() },
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
        0..self.sender.processors
    }

    fn owned(&self) -> impl Iterator<Item = &'static Slot> {
        SLOTS[..self.sender.processors].iter()
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
        (self.window)(window, self.sender, &self.others)
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
