//! An interrupt message, which the VMM sends: a write to a port asks for it.

use super::{Mode, Route, Sending};
use crate::cpu::port;
use guest_stub::abi::PORT_MSI;
use guest_stub::destinations::To;
use guest_stub::msi;

pub(crate) struct Msi;

impl Route for Msi {
    const MODE: Mode = Mode::Best;

    fn prepare(_: &Sending) -> Self {
        Self
    }

    #[inline]
    fn send(&self, vector: u8, to: To) {
        let to = match to {
            To::AllButSelf => msi::To::AllButSender,
            To::All => msi::To::All,
            To::One(index) => msi::To::One(index as u16),
            // The VMM refuses it: the doorbell's word has no such destination.
            To::Logical(_) => return,
        };
        port::write(PORT_MSI, msi::encode(vector, to));
    }
}
