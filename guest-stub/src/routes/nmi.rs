//! A write to the ICR with delivery mode NMI.

use super::{Arrival, Mode, Route, Sending, icr_destination};
use guest_stub::destinations::To;
use guest_stub::icr;

pub(crate) struct Nmi;

impl Route for Nmi {
    const MODE: Mode = Mode::Best;
    const ARRIVAL: Arrival = Arrival::Nmi;

    fn prepare() -> Self {
        Self
    }

    #[inline]
    fn send(&self, call: &Sending, _: u8, to: To) {
        let destination = icr_destination(to);
        call.private.apic.send_published(icr::nmi(destination), destination);
    }
}
