//! An interrupt message, which the VMM sends: a write to a port asks for it.

use super::{Mode, Route};
use crate::cpu::port;
use guest_stub::abi::PORT_MSI;
use guest_stub::destinations::{Kind, To};
use guest_stub::msi;
use guest_stub::rendezvous::Generation;

#[derive(Clone, Copy)]
pub(crate) struct Msi;

impl Route for Msi {
    const MODE: Mode = Mode::Best;

    /// The doorbell's word.
    #[inline]
    fn encode(vector: u8, to: To) -> Option<u32> {
        let to = match to {
            To::AllButSelf => msi::To::AllButSender,
            To::All => msi::To::All,
            To::One(index) => msi::To::One(index as u16),
            // The VMM refuses it: the doorbell's word has no such destination.
            To::Logical(_) => return None,
        };
        Some(msi::encode(vector, to))
    }

    #[inline]
    fn prepare(_: Generation, _: u8, _: Kind) -> Self {
        Self
    }

    #[inline]
    fn send(&self, word: u32) {
        port::write(PORT_MSI, word);
    }
}
