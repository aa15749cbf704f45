//! What is left to do after a write: a message to send, or the end of an interrupt.

use super::state::LocalApic;
use crate::icr::{self, FIRST_LEGAL_VECTOR, Unsent};
use crate::ipi::{Delivery, Ipi};
use crate::registers::errors;
use crate::vectors::Vectors;

/// What is left to do after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Send this.
    Send(Ipi),
    /// A command that is not sent.
    Unsent(Unsent),
    /// The interrupt on this vector has been served.
    EndOfInterrupt(u8),
}

impl LocalApic {
    pub(super) fn command(&mut self, icr: u64, irr: &Vectors) -> Effect {
        self.icr = icr;
        let ipi = icr::decode(icr, self.mode());
        self.send(ipi, irr)
    }

    pub(super) fn send(&mut self, ipi: Result<Ipi, Unsent>, irr: &Vectors) -> Effect {
        let ipi = match ipi {
            Ok(Ipi { delivery: Delivery::Fixed(vector), .. }) if vector < FIRST_LEGAL_VECTOR => {
                Err(Unsent::IllegalVector(vector))
            }
            ipi => ipi,
        };
        match ipi {
            Ok(ipi) => Effect::Send(ipi),
            Err(unsent) => {
                if let Unsent::IllegalVector(_) = unsent {
                    self.error(errors::SEND_ILLEGAL_VECTOR, irr);
                }
                Effect::Unsent(unsent)
            }
        }
    }

    pub(super) fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.in_service() else { return Effect::None };
        self.isr[usize::from(vector) / 32] &= !(1 << (vector % 32));
        Effect::EndOfInterrupt(vector)
    }
}
