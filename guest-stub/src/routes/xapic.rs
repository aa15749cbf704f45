//! A write to the memory-mapped ICR.

use super::{Mode, Route, Sending, icr_destination};
use crate::cpu::apic::xapic;
use crate::cpu::flags;
use guest_stub::destinations::To;
use guest_stub::icr;

pub(crate) struct XApic(xapic::ShorthandIcr);

impl Route for XApic {
    const MODE: Mode = Mode::XApic;

    fn prepare(_: &Sending) -> Self {
        xapic::wait_idle();
        Self(xapic::ShorthandIcr::new())
    }

    #[inline]
    fn send(&self, vector: u8, to: To) {
        let destination = icr_destination(to);
        let command = icr::fixed(vector, destination);
        match to {
            To::AllButSelf | To::All => self.0.write(command),
            To::One(_) | To::Logical(_) => {
                // A handler that sends between the two writes would change the destination.
                flags::disable_interrupts();
                xapic::write_icr(command, destination.field());
                // SAFETY: they were on, which `initiator::broadcast` has made sure of.
                unsafe { flags::enable_interrupts() };
                // For the next one.
                xapic::wait_idle();
            }
        }
    }
}
