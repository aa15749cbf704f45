//! Interrupts that the VMM raises itself, as messages to local APICs (KVM_SIGNAL_MSI; SDM Vol. 3A 12.11).

use super::error::io_error;
use crate::vcpu::interrupt::Injection;
use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;
use std::io;

/// Who a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    /// The local APIC with this id.
    One(u32),
    /// All of them: an id of all ones, 32 of them where KVM was told that ids are `wide`.
    All {
        /// KVM_X2APIC_API_USE_32BIT_IDS and KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK are on.
        wide: bool,
    },
}

const ADDRESS: u32 = 0xFEE0_0000;
const DELIVERY_NMI: u32 = 4 << 8;

/// The message. An id's upper 24 bits are KVM's extension of the address (KVM_X2APIC_API_USE_32BIT_IDS; KVM API 4.70).
fn message(address: Address, injection: Injection) -> kvm_msi {
    let data = match injection {
        Injection::Fixed(vector) => vector.into(),
        Injection::Nmi => DELIVERY_NMI,
    };
    let id = match address {
        Address::One(id) => id,
        Address::All { wide: true } => u32::MAX,
        Address::All { wide: false } => 0xFF,
    };
    kvm_msi { address_lo: ADDRESS | (id & 0xFF) << 12, address_hi: id & !0xFF, data, ..kvm_msi::default() }
}

/// Raises an interrupt. Whether somebody has taken it: KVM answers -1 where no local APIC is addressed, as where guests have turned
/// theirs off, which looks like EPERM to whoever makes the call (KVM API 4.70, `kvm_irq_delivery_to_apic`).
pub(super) fn signal(fd: &VmFd, address: Address, injection: Injection) -> io::Result<bool> {
    match fd.signal_msi(message(address, injection)) {
        Ok(delivered) => Ok(delivered > 0),
        Err(error) if error.errno() == libc::EPERM => Ok(false),
        Err(error) => Err(io_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_destination_vector_and_mode() {
        let fixed = message(Address::One(3), Injection::Fixed(0xE1));
        assert_eq!((fixed.address_lo, fixed.address_hi, fixed.data), (0xFEE0_3000, 0, 0xE1));
        let nmi = message(Address::One(0x12C), Injection::Nmi);
        assert_eq!((nmi.address_lo, nmi.address_hi, nmi.data), (0xFEE2_C000, 0x100, 0x400));
        let all = |wide| message(Address::All { wide }, Injection::Fixed(0xE1));
        assert_eq!((all(false).address_lo, all(false).address_hi), (0xFEEF_F000, 0));
        assert_eq!((all(true).address_lo, all(true).address_hi), (0xFEEF_F000, 0xFFFF_FF00));
    }
}
