//! Where the local APIC's registers lie (SDM Vol. 3A tables 12-1 and 12-6), and which of their bits software may write.
//!
//! A register has one number here, its offset in the xAPIC page; in x2APIC mode it is MSR 0x800 + offset / 16.

/// Local APIC id.
pub const ID: u32 = 0x20;
/// Version and size of the LVT.
pub const VERSION: u32 = 0x30;
/// Task priority.
pub const TPR: u32 = 0x80;
/// Processor priority.
pub const PPR: u32 = 0xA0;
/// End of interrupt.
pub const EOI: u32 = 0xB0;
/// Logical destination.
pub const LDR: u32 = 0xD0;
/// Destination format; xAPIC mode only.
pub const DFR: u32 = 0xE0;
/// Spurious interrupt vector.
pub const SVR: u32 = 0xF0;
/// In-service register, the first of eight.
pub const ISR: u32 = 0x100;
/// Trigger mode register, the first of eight.
pub const TMR: u32 = 0x180;
/// Interrupt request register, the first of eight.
pub const IRR: u32 = 0x200;
/// The register behind the last of the IRR's.
pub const IRR_END: u32 = 0x280;
/// Error status.
pub const ESR: u32 = 0x280;
/// Interrupt command, low half; in x2APIC mode all of it.
pub const ICR: u32 = 0x300;
/// Interrupt command, high half; xAPIC mode only.
pub const ICR_HIGH: u32 = 0x310;
/// The local vector table's first entry, the timer's.
pub const LVT_TIMER: u32 = 0x320;
/// The local vector table's last entry, that of errors.
pub const LVT_ERROR: u32 = 0x370;
/// The timer's initial count.
pub const INITIAL_COUNT: u32 = 0x380;
/// The timer's current count.
pub const CURRENT_COUNT: u32 = 0x390;
/// The timer's divide configuration.
pub const DIVIDE: u32 = 0x3E0;
/// Self IPI; x2APIC mode only.
pub const SELF_IPI: u32 = 0x3F0;

/// The first x2APIC MSR, that of offset 0.
pub const X2APIC_MSR: u32 = 0x800;
/// The last x2APIC MSR.
pub const X2APIC_MSR_END: u32 = 0x8FF;
/// IA32_APIC_BASE (SDM Vol. 3A 12.4.4).
pub const APIC_BASE_MSR: u32 = 0x1B;
/// IA32_TSC_DEADLINE (SDM Vol. 3A 12.5.4.1).
pub const TSC_DEADLINE_MSR: u32 = 0x6E0;

/// Bits of the SVR that software may write: vector, software enable, and bit 9, focus processor checking, which does nothing. Bit 12,
/// suppression of EOI broadcasts, is reserved where the version register does not announce it (SDM Vol. 3A 12.8.5).
pub const SVR_BITS: u32 = 1 << 9 | SVR_ENABLE | 0xFF;
/// SVR bit 8: the local APIC is enabled by software.
pub const SVR_ENABLE: u32 = 1 << 8;
/// Bits of the divide configuration.
pub const DIVIDE_BITS: u32 = 0b1011;
/// LVT bit 16: no interrupt.
pub const LVT_MASKED: u32 = 1 << 16;
/// Bits of an ICR in x2APIC mode (SDM Vol. 3A figure 12-28).
pub const X2APIC_ICR_BITS: u64 = 0xFFFF_FFFF_000C_CFFF;
/// ICR bit 12: not sent yet. Always clear here, where a send is over when the write is.
pub const ICR_PENDING: u32 = 1 << 12;

/// The bits of each LVT entry that software may write: timer, thermal, performance, LINT0, LINT1, error.
pub const LVT_BITS: [u32; 6] = [0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF];
/// The bits of each LVT entry that are not reserved, but read-only: delivery status, and of LINT0 and LINT1 remote IRR. All are zero.
pub const LVT_READ_ONLY_BITS: [u32; 6] = [0x1000, 0x1000, 0x1000, 0x5000, 0x5000, 0x1000];
/// Bit 18 of the timer's LVT entry, without which there is no TSC-deadline mode.
pub const LVT_TSC_DEADLINE: u32 = 1 << 18;

/// The ESR's bits (SDM Vol. 3A figure 12-9).
pub mod errors {
    /// An illegal vector was to be sent.
    pub const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    /// An illegal vector was received, from a message or the LVT.
    pub const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    /// A register that there is not was accessed.
    pub const ILLEGAL_REGISTER: u32 = 1 << 7;
}
