//! Interrupts that come from outside of a processor, and what a vCPU's thread needs of its machine to raise them.

use guest_stub::msi::To;
use kipi_apic::ipi::Delivery;
use kvm_bindings::kvm_lapic_state;
use std::io;

/// What an interrupt from outside is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// On a vector, as a device raises it.
    Fixed(u8),
    Nmi,
}

impl Injection {
    /// As the user-space local APIC knows it.
    pub const fn delivery(self) -> Delivery {
        match self {
            Self::Fixed(vector) => Delivery::Fixed(vector),
            Self::Nmi => Delivery::Nmi,
        }
    }
}

/// What became of an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// At least one local APIC has taken it.
    Accepted,
    /// None has: switched off, or disabled by software.
    Blocked,
}

/// What carries interrupts to a machine's vCPUs, from any thread.
pub trait InterruptBus {
    /// How many vCPUs are on it.
    fn vcpus(&self) -> usize;

    /// Raises an interrupt on one vCPU.
    ///
    /// # Errors
    /// KVM's errno, if it does not take the message.
    fn raise(&self, vcpu: usize, injection: Injection) -> io::Result<Delivered>;

    /// Raises an interrupt on all vCPUs, by one message to the broadcast destination.
    ///
    /// # Errors
    /// As [`InterruptBus::raise`].
    fn broadcast(&self, injection: Injection) -> io::Result<Delivered>;
}

/// Sends what vCPU `sender` asks for. Messages know no destination that leaves their sender out: each of the others gets its own.
///
/// # Errors
/// As [`InterruptBus::raise`], of the first that is not taken.
pub fn send(bus: &impl InterruptBus, sender: usize, injection: Injection, to: To) -> io::Result<()> {
    match to {
        To::All => bus.broadcast(injection).map(|_| ()),
        To::AllButSender => {
            let mut others = (0..bus.vcpus()).filter(|&vcpu| vcpu != sender);
            others.try_for_each(|vcpu| bus.raise(vcpu, injection).map(|_| ()))
        }
        To::One(vcpu) => bus.raise(vcpu.into(), injection).map(|_| ()),
    }
}

/// Whether the interrupt on `vector` waits in the IRR of a local APIC in the kernel: another one on the same vector is then
/// the same interrupt (SDM Vol. 3A 12.8.4).
pub(super) fn is_pending(lapic: &kvm_lapic_state, vector: u8) -> bool {
    /// The IRR's offset in the page (SDM Vol. 3A table 12-1): 256 bits, 32 in each 16 bytes.
    const IRR: usize = 0x200;
    let vector = usize::from(vector);
    lapic.regs[IRR + vector / 32 * 16 + vector % 32 / 8].cast_unsigned() >> (vector % 8) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vector_has_its_own_bit_of_the_irr() {
        let mut lapic = kvm_lapic_state::default();
        lapic.regs[0x222] = 0b10;
        let pending: Vec<u8> = (0..=255).filter(|&vector| is_pending(&lapic, vector)).collect();
        assert_eq!(pending, [0x51]);
    }
}
