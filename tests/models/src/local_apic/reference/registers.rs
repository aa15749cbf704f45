//! Which registers there are.

/// What software may do with a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// There is none.
    No,
    /// Read.
    Ro,
    /// Write.
    Wo,
    /// Both.
    Rw,
}
use Access::{No, Ro, Rw, Wo};

/// Tables 12-1 and 12-6: number (offset / 16), access in xAPIC mode, access in x2APIC mode, bits that can be written.
#[rustfmt::skip]
pub const REGISTERS: &[(u8, Access, Access, u32)] = &[
    (0x02, Ro, Ro, 0), // ID; whether it can be written in xAPIC mode depends on the model
    (0x03, Ro, Ro, 0), // version
    (0x08, Rw, Rw, 0xFF), // TPR
    (0x0A, Ro, Ro, 0), // PPR
    (0x0B, Wo, Wo, 0), // EOI
    (0x0D, Rw, Ro, 0xFF00_0000), // LDR
    (0x0E, Rw, No, 0xF000_0000), // DFR
    (0x0F, Rw, Rw, 0x3FF), // SVR
    (0x10, Ro, Ro, 0), (0x11, Ro, Ro, 0), (0x12, Ro, Ro, 0), (0x13, Ro, Ro, 0), // ISR
    (0x14, Ro, Ro, 0), (0x15, Ro, Ro, 0), (0x16, Ro, Ro, 0), (0x17, Ro, Ro, 0),
    (0x18, Ro, Ro, 0), (0x19, Ro, Ro, 0), (0x1A, Ro, Ro, 0), (0x1B, Ro, Ro, 0), // TMR
    (0x1C, Ro, Ro, 0), (0x1D, Ro, Ro, 0), (0x1E, Ro, Ro, 0), (0x1F, Ro, Ro, 0),
    (0x20, Ro, Ro, 0), (0x21, Ro, Ro, 0), (0x22, Ro, Ro, 0), (0x23, Ro, Ro, 0), // IRR
    (0x24, Ro, Ro, 0), (0x25, Ro, Ro, 0), (0x26, Ro, Ro, 0), (0x27, Ro, Ro, 0),
    (0x28, Rw, Rw, 0), // ESR
    (0x30, Rw, Rw, 0x000C_CFFF), // ICR
    (0x31, Rw, No, 0xFF00_0000), // ICR, high half
    (0x32, Rw, Rw, 0x0007_00FF), // LVT timer
    (0x33, Rw, Rw, 0x0001_07FF), // LVT thermal sensor
    (0x34, Rw, Rw, 0x0001_07FF), // LVT performance counters
    (0x35, Rw, Rw, 0x0001_A7FF), // LVT LINT0
    (0x36, Rw, Rw, 0x0001_A7FF), // LVT LINT1
    (0x37, Rw, Rw, 0x0001_00FF), // LVT error
    (0x38, Rw, Rw, 0xFFFF_FFFF), // initial count
    (0x39, Ro, Ro, 0), // current count
    (0x3E, Rw, Rw, 0b1011), // divide configuration
    (0x3F, No, Wo, 0xFF), // self IPI
];

pub(super) const TPR: u8 = 0x08;
pub(super) const LDR: u8 = 0x0D;
pub(super) const DFR: u8 = 0x0E;
pub(super) const SVR: u8 = 0x0F;
pub(super) const ESR: u8 = 0x28;
pub(super) const ICR: u8 = 0x30;
pub(super) const ICR_HIGH: u8 = 0x31;
pub(super) const LVT_TIMER: u8 = 0x32;
pub(super) const LVT_ERROR: u8 = 0x37;
pub(super) const INITIAL: u8 = 0x38;
pub(super) const DIVIDE: u8 = 0x3E;
pub(super) const MASKED: u32 = 1 << 16;
pub(super) const SVR_ENABLE: u32 = 1 << 8;

/// Bits that can be written without effect in x2APIC mode: read-only ones, which 12.12.1.3 does not count as reserved.
pub(super) fn read_only_bits(number: u8) -> u32 {
    const DELIVERY_STATUS: u32 = 1 << 12;
    const REMOTE_IRR: u32 = 1 << 14;
    match number {
        0x35 | 0x36 => DELIVERY_STATUS | REMOTE_IRR,
        LVT_TIMER..=LVT_ERROR => DELIVERY_STATUS,
        _ => 0,
    }
}

pub(super) enum Known {
    Nothing,
    Register(u8, Access),
}

/// What lies at 16 times this of the page.
pub(super) fn known(number: u16) -> Known {
    let found = REGISTERS.iter().find(|(known, ..)| u16::from(*known) == number);
    found.map_or(Known::Nothing, |&(number, access, ..)| Known::Register(number, access))
}

pub(super) fn x2apic_register(msr: u32) -> Option<(u8, Access, u32)> {
    let number = msr.checked_sub(0x800)?;
    REGISTERS
        .iter()
        .find(|(known, ..)| u32::from(*known) == number)
        .map(|&(known, _, access, bits)| (known, access, bits))
}
