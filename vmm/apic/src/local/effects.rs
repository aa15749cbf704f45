//! What is left to do after a write: a message to send, or the end of an interrupt.

use super::state::LocalApic;
use crate::icr::{self, FIRST_LEGAL_VECTOR, Unsent};
use crate::ipi::{Delivery, Ipi};
use crate::registers::errors;
use crate::requests::Requests;

/// What is left to do after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// Send this.
    Send(Ipi),
    /// A command that is not sent.
    Unsent(Unsent),
    /// The interrupt on this vector has been served. It was triggered by a level, or by an edge.
    EndOfInterrupt { vector: u8, level: bool },
    /// Software has enabled the local APIC for the first time since a reset.
    FirstEnable,
}

impl LocalApic {
    pub(super) fn command(&mut self, icr: u64, requests: Requests<'_>) -> Effect {
        self.icr = icr;
        let ipi = icr::decode(icr, self.mode());
        self.send(ipi, requests)
    }

    pub(super) fn send(&mut self, ipi: Result<Ipi, Unsent>, requests: Requests<'_>) -> Effect {
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
                    self.error(errors::SEND_ILLEGAL_VECTOR, requests);
                }
                Effect::Unsent(unsent)
            }
        }
    }

    pub(super) fn end_of_interrupt(&mut self, requests: Requests<'_>) -> Effect {
        let Some(vector) = self.in_service() else { return Effect::None };
        self.isr[usize::from(vector) / 32] &= !(1 << (vector % 32));
        Effect::EndOfInterrupt { vector, level: requests.tmr.contains(vector) }
    }
}
