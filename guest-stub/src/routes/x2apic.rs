//! A write to the ICR's MSR.

use super::message::{self, Message};
use super::{Arrival, Mode, Route};
use crate::cpu::apic::x2apic;
use core::marker::PhantomData;
use guest_stub::destinations::{Kind, To};
use guest_stub::rendezvous::Generation;

#[derive(Clone, Copy)]
pub(crate) struct X2Apic<M> {
    command: u32,
    message: PhantomData<M>,
}

impl<M: Message> Route for X2Apic<M> {
    const MODE: Mode = Mode::X2Apic;
    const ARRIVAL: Arrival = M::ARRIVAL;

    /// The ICR's destination field.
    #[inline]
    fn encode(_: u8, to: To) -> Option<u32> {
        Some(message::field(to))
    }

    #[inline]
    fn prepare(_: Generation, vector: u8, kind: Kind) -> Self {
        Self { command: message::command::<M>(vector, kind), message: PhantomData }
    }

    #[inline]
    fn send(&self, field: u32) {
        x2apic::write_icr(self.command, field);
    }
}
