//! A write to the ICR's MSR.

use super::{Mode, Route, Sending, icr_destination};
use crate::cpu::apic::x2apic;
use guest_stub::destinations::To;
use guest_stub::icr;

pub(crate) struct X2Apic;

impl Route for X2Apic {
    const MODE: Mode = Mode::X2Apic;

    fn prepare(_: &Sending) -> Self {
        Self
    }

    #[inline]
    fn send(&self, vector: u8, to: To) {
        let destination = icr_destination(to);
        x2apic::write_icr(icr::fixed(vector, destination), destination.field());
    }
}
