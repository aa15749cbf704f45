//! A call of a set of processors, with a send for each, in which something may go wrong on purpose.

use super::stepped::step;
use super::{fault, refused};
use crate::call::window::{CanPark, Participants, Window};
use crate::processor::{Private, Record, SLOTS};
use crate::routes::{self, Arrival, Send};
use guest_stub::abi::{CallStep, Fault, GuestRoute, Mask, VECTOR_IPI, VECTOR_IPI_STEPPED};
use guest_stub::destinations::To;
use guest_stub::mask;
use guest_stub::rendezvous::{Generation, Outcome, Slot, Targets};

/// How the calls of an operation are made.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    route: GuestRoute,
    send: Send,
    pub(super) arrival: Arrival,
    /// Every step is an exit.
    pub(super) stepped: bool,
    /// What is to go wrong.
    pub(super) fault: Fault,
}

impl Manner {
    pub(super) fn new(route: GuestRoute, stepped: bool, fault: Fault) -> Self {
        Self { route, send: routes::send(route), arrival: routes::arrival(route), stepped, fault }
    }

    /// Whether a call of everybody is the same as a measured one.
    pub(super) fn is_plain(self) -> bool {
        !self.stepped && self.fault == Fault::Nothing
    }
}

/// A set of processors, which may leave out the caller.
pub(super) struct Members<'a> {
    manner: Manner,
    private: &'static Private,
    owned: Mask,
    others: Others<'a>,
}

impl<'a> Members<'a> {
    pub(super) fn new(private: &'static Private, members: &'a Mask, manner: Manner) -> Self {
        let mut owned = *members;
        mask::insert(&mut owned, private.index);
        Self { manner, private, owned, others: Others { members, me: private.index } }
    }

    fn send_one_by_one(&self, window: &Window) {
        let Manner { route, send, stepped, fault, .. } = self.manner;
        if stepped {
            step(CallStep::Sending);
        }
        let vector = if stepped { VECTOR_IPI_STEPPED } else { VECTOR_IPI };
        let fault = if window.is_resending() { Fault::Nothing } else { fault };
        if fault == Fault::RefusedHypercall {
            refused::hypercall(route);
        }
        let last = self.others.indices().last();
        for target in self.others.indices() {
            if let Some(target) = fault::redirect(fault, target, Some(target) == last, self.private.index) {
                send(window.generation(), vector, To::One(target));
            }
        }
        if fault == Fault::EarlyGate {
            self.private.packet.go(window.generation());
        }
        if stepped {
            step(CallStep::Sent);
        }
    }
}

impl Participants for Members<'_> {
    fn members(&self) -> impl Iterator<Item = usize> {
        mask::indices(self.others.members)
    }

    fn owned(&self) -> impl Iterator<Item = &'static Slot> {
        mask::indices(&self.owned).map(|index| &SLOTS[index])
    }

    fn targets(&self) -> &impl Targets {
        &self.others
    }

    fn include_initiator(&self) -> bool {
        mask::contains(self.others.members, self.private.index)
    }

    fn wait_for_own_interrupt(&self) -> bool {
        false
    }

    fn run(&self, window: &Window, now: u64, generation: Generation, record: Record) -> Outcome {
        window.open(now, generation, record, &self.others, self.manner.arrival.delivery());
        if self.others.indices().next().is_none() {
            window.run(generation, record, self.others.clone(), || ())
        } else {
            window.run(generation, record, self.others.clone(), || self.send_one_by_one(window))
        }
    }
}

impl CanPark for Members<'_> {
    fn run_parked(&self, window: &Window, now: u64, generation: Generation, record: Record) -> Outcome {
        if self.others.indices().next().is_none() {
            return self.run(window, now, generation, record);
        }
        window.open(now, generation, record, &self.others, self.manner.arrival.delivery());
        window.run_parked(generation, record, self.others.clone(), || self.send_one_by_one(window))
    }
}

/// The members of a set but the initiator.
#[derive(Clone)]
struct Others<'a> {
    members: &'a Mask,
    me: usize,
}

impl Others<'_> {
    fn indices(&self) -> impl Iterator<Item = usize> + Clone {
        mask::indices(self.members).filter(|&index| index != self.me)
    }
}

impl Targets for Others<'_> {
    fn all<'a>(&'a self, holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.indices().map(|index| &SLOTS[index]).all(holds)
    }
}
