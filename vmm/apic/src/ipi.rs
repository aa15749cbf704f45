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
    /// To whom.
    pub destination: Destination,
}
