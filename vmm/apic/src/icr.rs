//! What a write to the interrupt command register asks for (SDM Vol. 3A 12.6.1, 12.12.9).

use crate::addressing::Mode;
use crate::ipi::{Delivery, Destination, Ipi};

/// Why a command is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// Vectors below 16 are the processor's (SDM Vol. 3A 12.5.2): the ESR says so.
    IllegalVector(u8),
    /// Delivery modes 3 and 7 are reserved.
    ReservedDelivery(u8),
    /// The shorthands that include the sender are for fixed interrupts only (SDM Vol. 3A table 12-3).
    ReservedShorthand,
    /// An INIT level de-assert, which only processors before the Pentium 4 knew.
    InitDeassert,
}

/// Vectors below this one cannot be sent or received.
pub const FIRST_LEGAL_VECTOR: u8 = 16;

/// Decodes a command: all 64 bits, in either mode. Bits that a mode does not have are the caller's business.
///
/// # Errors
/// [`Unsent`]: what is not sent, and why.
pub fn decode(icr: u64, mode: Mode) -> Result<Ipi, Unsent> {
    let [vector, second, third, _, high @ ..] = icr.to_le_bytes();
    let delivery_mode = second & 0b111;
    let logical = second & 1 << 3 != 0;
    let (asserted, level_triggered) = (second & 1 << 6 != 0, second & 1 << 7 != 0);
    let delivery = match delivery_mode {
        0 | 1 if vector < FIRST_LEGAL_VECTOR => return Err(Unsent::IllegalVector(vector)),
        0 => Delivery::Fixed(vector),
        1 => Delivery::LowestPriority(vector),
        2 => Delivery::Smi,
        4 => Delivery::Nmi,
        5 if level_triggered && !asserted => return Err(Unsent::InitDeassert),
        5 => Delivery::Init,
        6 => Delivery::Sipi(vector),
        reserved => return Err(Unsent::ReservedDelivery(reserved)),
    };
    let address = match mode {
        Mode::X2Apic => u32::from_le_bytes(high),
        // Eight bits, of which all ones are everybody.
        Mode::XApic | Mode::Disabled => u32::from(high[3]),
    };
    let everybody = if mode == Mode::X2Apic { u32::MAX } else { 0xFF };
    let destination = match third >> 2 & 0b11 {
        0 if address == everybody => Destination::All,
        0 if logical => Destination::Logical(address),
        0 => Destination::Physical(address),
        3 => Destination::AllButSelf,
        _ if delivery_mode != 0 => return Err(Unsent::ReservedShorthand),
        1 => Destination::Itself,
        _ => Destination::All,
    };
    Ok(Ipi::new(delivery, destination))
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_stub::icr::{self, To};

    const fn ipi(delivery: Delivery, destination: Destination) -> Ipi {
        Ipi::new(delivery, destination)
    }

    #[test]
    fn what_the_guest_encodes_is_decoded() {
        let decode = |low: u32, mode| decode(low.into(), mode);
        for mode in [Mode::XApic, Mode::X2Apic] {
            assert_eq!(
                decode(icr::fixed(0xE1, To::AllButSelf), mode),
                Ok(ipi(Delivery::Fixed(0xE1), Destination::AllButSelf))
            );
            assert_eq!(decode(icr::fixed(0xE1, To::All), mode), Ok(ipi(Delivery::Fixed(0xE1), Destination::All)));
            assert_eq!(decode(icr::nmi(To::AllButSelf), mode), Ok(ipi(Delivery::Nmi, Destination::AllButSelf)));
            assert_eq!(decode(icr::init(To::One(0)), mode), Ok(ipi(Delivery::Init, Destination::Physical(0))));
            let vector = guest_stub::abi::SIPI_VECTOR;
            assert_eq!(
                decode(icr::startup_at(8, To::One(0)), mode),
                Ok(ipi(Delivery::Sipi(vector), Destination::Physical(0)))
            );
        }
    }

    #[test]
    fn each_mode_has_its_width_of_address() {
        let to = |address: u64| address << 32 | 0x40E1;
        assert_eq!(decode(to(0x0500_0000), Mode::XApic), Ok(ipi(Delivery::Fixed(0xE1), Destination::Physical(5))));
        assert_eq!(
            decode(to(0x0500_0000), Mode::X2Apic),
            Ok(ipi(Delivery::Fixed(0xE1), Destination::Physical(0x0500_0000)))
        );
        assert_eq!(decode(to(0xFF00_0000), Mode::XApic), Ok(ipi(Delivery::Fixed(0xE1), Destination::All)));
        assert_eq!(decode(to(0xFF), Mode::X2Apic), Ok(ipi(Delivery::Fixed(0xE1), Destination::Physical(0xFF))));
        assert_eq!(decode(to(0xFFFF_FFFF), Mode::X2Apic), Ok(ipi(Delivery::Fixed(0xE1), Destination::All)));
        let logical = to(0x0002_0003) | 1 << 11;
        assert_eq!(decode(logical, Mode::X2Apic), Ok(ipi(Delivery::Fixed(0xE1), Destination::Logical(0x0002_0003))));
    }

    #[test]
    fn what_the_manual_forbids_is_not_sent() {
        assert_eq!(decode(0x0F, Mode::XApic), Err(Unsent::IllegalVector(15)));
        assert_eq!(decode(0x3E1, Mode::XApic), Err(Unsent::ReservedDelivery(3)));
        assert_eq!(decode(0x7E1, Mode::XApic), Err(Unsent::ReservedDelivery(7)));
        assert_eq!(decode(0x8_0400, Mode::XApic), Err(Unsent::ReservedShorthand), "NMI to all, the sender included");
        assert_eq!(decode(0x8500, Mode::XApic), Err(Unsent::InitDeassert));
    }
}
