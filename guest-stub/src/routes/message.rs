//! What a write to the ICR sends, whichever way it is written.

use super::Arrival;
use crate::shared;
use guest_stub::destinations::{Kind, To};
use guest_stub::icr;

/// A delivery mode (SDM Vol. 3A 12.6.1).
pub(crate) trait Message: Copy {
    const ARRIVAL: Arrival;

    /// The ICR's low word.
    fn command(vector: u8, to: icr::To) -> u32;
}

/// An interrupt on the call's vector.
#[derive(Clone, Copy)]
pub(crate) struct Fixed;

impl Message for Fixed {
    const ARRIVAL: Arrival = Arrival::Interrupt;

    #[inline]
    fn command(vector: u8, to: icr::To) -> u32 {
        icr::fixed(vector, to)
    }
}

/// An NMI, which has no vector.
#[derive(Clone, Copy)]
pub(crate) struct Nmi;

impl Message for Nmi {
    const ARRIVAL: Arrival = Arrival::Nmi;

    #[inline]
    fn command(_: u8, to: icr::To) -> u32 {
        icr::nmi(to)
    }
}

/// The ICR's low word for sends of one kind: the destination field is no part of it.
#[inline]
pub(super) fn command<M: Message>(vector: u8, kind: Kind) -> u32 {
    M::command(
        vector,
        match kind {
            Kind::AllButSelf => icr::To::AllButSelf,
            Kind::All => icr::To::All,
            Kind::One => icr::To::One(0),
            Kind::Logical => icr::To::Logical(0),
        },
    )
}

/// The destination field for one send.
#[inline]
pub(super) fn field(to: To) -> u32 {
    match to {
        To::AllButSelf => icr::To::AllButSelf,
        To::All => icr::To::All,
        To::One(index) => icr::To::One(shared::apic_id(index)),
        To::Logical(address) => icr::To::Logical(address),
    }
    .field()
}
