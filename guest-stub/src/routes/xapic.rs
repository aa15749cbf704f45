//! A write to the memory-mapped ICR.

use super::message::{self, Message};
use super::{Arrival, Mode, Route};
use crate::cpu::apic::xapic;
use crate::cpu::flags;
use core::marker::PhantomData;
use guest_stub::destinations::{Kind, To};
use guest_stub::rendezvous::Generation;

#[derive(Clone, Copy)]
pub(crate) struct XApic<M> {
    icr: xapic::Icr,
    command: u32,
    by_shorthand: bool,
    message: PhantomData<M>,
}

impl<M: Message> Route for XApic<M> {
    const MODE: Mode = Mode::XApic;
    const ARRIVAL: Arrival = M::ARRIVAL;

    /// The ICR's high half.
    #[inline]
    fn encode(_: u8, to: To) -> Option<u32> {
        Some(xapic::high_half(message::field(to)))
    }

    #[inline]
    fn prepare(_: Generation, vector: u8, kind: Kind) -> Self {
        Self {
            icr: xapic::Icr::new(),
            command: message::command::<M>(vector, kind),
            by_shorthand: kind.shorthand().is_some(),
            message: PhantomData,
        }
    }

    #[inline]
    fn before(&self) {
        if !self.by_shorthand {
            // A handler that sends between the two halves would change the destination.
            flags::disable_interrupts();
        }
        self.icr.wait_idle();
    }

    #[inline]
    fn send(&self, high_half: u32) {
        if !self.by_shorthand {
            self.icr.write_high(high_half);
        }
        self.icr.write_low(self.command);
    }

    #[inline]
    fn between(&self) {
        self.icr.wait_idle();
    }

    #[inline]
    fn after(&self) {
        if !self.by_shorthand {
            // SAFETY: they were on, which `initiator::broadcast` has made sure of.
            unsafe { flags::enable_interrupts() };
        }
    }
}
