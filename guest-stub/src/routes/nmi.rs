//! A write to the ICR with delivery mode NMI.

use super::{Arrival, Mode, Route, Sending, icr_destination};
use crate::processor::Private;
use guest_stub::destinations::To;
use guest_stub::icr;

pub(crate) struct Nmi(&'static Private);

impl Route for Nmi {
    const MODE: Mode = Mode::Best;
    const ARRIVAL: Arrival = Arrival::Nmi;

    fn prepare(call: &Sending) -> Self {
        Self(call.private)
    }

    #[inline]
    fn send(&self, _: u8, to: To) {
        let destination = icr_destination(to);
        self.0.apic.send_published(icr::nmi(destination), destination);
    }
}
