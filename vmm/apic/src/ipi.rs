//! What an interrupt message says: how it is to be delivered, and to whom (SDM Vol. 3A 12.6.1, 12.11).

/// How an interrupt is delivered: the delivery modes of the ICR and of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// On this vector, to every destination.
    Fixed(u8),
    /// On this vector, to the destination that runs at the lowest priority.
    LowestPriority(u8),
    /// A system management interrupt.
    Smi,
    /// A non-maskable interrupt.
    Nmi,
    /// Resets the processor, which then waits for a SIPI.
    Init,
    /// Starts a processor that waits for it, at this page.
    Sipi(u8),
    /// As if from a PIC, which is asked for the vector.
    ExtInt,
}

/// How an interrupt is triggered. Who ends a level-triggered one has to tell those who raised it ([`crate::processor::Eoi`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Trigger {
    /// By an edge: one message is one interrupt. All IPIs are (SDM Vol. 3A 12.6.1: the ICR's trigger mode is for INIT level de-assert
    /// alone), and what a local APIC raises itself.
    #[default]
    Edge,
    /// By a level, which an I/O APIC watches until it is told of the end.
    Level,
}

/// To whom an interrupt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The sender.
    Itself,
    /// Every processor, the sender included: a shorthand, or a broadcast id.
    All,
    /// Every processor but the sender.
    AllButSelf,
    /// The processor with this APIC id.
    Physical(u32),
    /// The processors whose logical destination register matches this message destination address. Each decides by the
    /// mode that it is in: eight bits flat or in clusters (SDM Vol. 3A 12.6.2.2), or 32 bits in x2APIC mode (12.12.10.2).
    Logical(u32),
}

/// An interrupt message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ipi {
    /// How.
    pub delivery: Delivery,
    /// Of [`Delivery::Fixed`] and [`Delivery::LowestPriority`]; nothing else is kept in the TMR.
    pub trigger: Trigger,
    /// To whom.
    pub destination: Destination,
}

impl Ipi {
    /// A message as a local APIC sends it: edge-triggered.
    pub const fn new(delivery: Delivery, destination: Destination) -> Self {
        Self { delivery, trigger: Trigger::Edge, destination }
    }

    /// What a device or an I/O APIC asks for with a write of `data` to `address`, FEEx_xxxxH (SDM Vol. 3A 12.11). `None`: another
    /// address, or a delivery mode that messages do not have.
    ///
    /// An id's bits 31:8 are `address` bits 63:40, as KVM has them (KVM API, KVM_SIGNAL_MSI with KVM_X2APIC_API_USE_32BIT_IDS). A
    /// physical id of FFH, or of 32 ones, is everybody: id 255 is not reached by a message. With the redirection hint, one of a logical destination's processors takes
    /// the interrupt; without it, the destination mode counts all the same, as software relies on it. The level bit is ignored, as by
    /// KVM: I/O APICs of VMMs leave it clear, and a de-assertion is no message.
    pub fn from_msi(address: u64, data: u32) -> Option<Self> {
        /// Of the lower half.
        const PREFIX: u64 = 0xFEE0_0000;
        if address & 0xFFF0_0000 != PREFIX {
            return None;
        }
        let [vector, mode, ..] = data.to_le_bytes();
        let [_, low, middle, _, _, upper @ ..] = address.to_le_bytes();
        let [address_low, ..] = address.to_le_bytes();
        let id = u32::from_le_bytes([low >> 4 | middle << 4, upper[0], upper[1], upper[2]]);
        let (redirect, logical) = (address_low & 1 << 3 != 0, address_low & 1 << 2 != 0);
        let delivery = match mode & 0b111 {
            0 if redirect && logical => Delivery::LowestPriority(vector),
            0 => Delivery::Fixed(vector),
            1 => Delivery::LowestPriority(vector),
            2 => Delivery::Smi,
            4 => Delivery::Nmi,
            5 => Delivery::Init,
            7 => Delivery::ExtInt,
            _ => return None,
        };
        let destination = match id {
            0xFF | u32::MAX if !logical => Destination::All,
            id if logical => Destination::Logical(id),
            id => Destination::Physical(id),
        };
        let trigger = if mode & 1 << 7 == 0 { Trigger::Edge } else { Trigger::Level };
        Some(Self { delivery, trigger, destination })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_writes_its_message() {
        let fixed = |destination| Some(Ipi::new(Delivery::Fixed(0xE1), destination));
        assert_eq!(Ipi::from_msi(0xFEE0_3000, 0xE1), fixed(Destination::Physical(3)));
        assert_eq!(Ipi::from_msi(0xFED0_3000, 0xE1), None);
        assert_eq!(Ipi::from_msi(0xFEEA_B000, 0xE1), fixed(Destination::Physical(0xAB)));
        assert_eq!(Ipi::from_msi(0x1234_5600_FEE7_8000, 0xE1), fixed(Destination::Physical(0x1234_5678)));
        assert_eq!(Ipi::from_msi(0xFEEF_F000, 0xE1), fixed(Destination::All));
        assert_eq!(Ipi::from_msi(0xFFFF_FF00_FEEF_F000, 0xE1), fixed(Destination::All));
        assert_eq!(Ipi::from_msi(0xFEE0_6004, 0xE1), fixed(Destination::Logical(6)), "without the hint, too");
        assert_eq!(Ipi::from_msi(0xFEE0_6008, 0xE1), fixed(Destination::Physical(6)), "the hint alone");
        let one = Some(Ipi::new(Delivery::LowestPriority(0xE1), Destination::Logical(6)));
        assert_eq!((Ipi::from_msi(0xFEE0_600C, 0xE1), Ipi::from_msi(0xFEE0_6004, 0x1E1)), (one, one));
    }

    #[test]
    fn messages_have_modes_and_triggers() {
        let mode = |mode: u32| Ipi::from_msi(0xFEE0_0000, mode << 8 | 0x51).map(|ipi| ipi.delivery);
        let modes = [
            Some(Delivery::Fixed(0x51)),
            Some(Delivery::LowestPriority(0x51)),
            Some(Delivery::Smi),
            None,
            Some(Delivery::Nmi),
            Some(Delivery::Init),
            None,
            Some(Delivery::ExtInt),
        ];
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(mode), modes);
        let trigger = |data| Ipi::from_msi(0xFEE0_0000, data).map(|ipi| ipi.trigger);
        assert_eq!([0x51, 0x4051].map(trigger), [Some(Trigger::Edge); 2], "a level means nothing to an edge");
        assert_eq!([0x8051, 0xC051].map(trigger), [Some(Trigger::Level); 2]);
    }
}
