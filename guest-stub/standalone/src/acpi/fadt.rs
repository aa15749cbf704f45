//! FADT, 5.2.9: the power management timer, and how the machine is reset.

use super::error::Error;
use super::table::Table;
use crate::memory::Physical;

/// What the FADT says. A hardware-reduced platform (4.1) may have neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// The power management timer.
    pub timer: Option<Timer>,
    /// How to reset the machine.
    pub reset: Option<Reset>,
}

/// The power management timer, 4.8.3.3. It counts up at [`Timer::HZ`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// The I/O port that its count is read at, 32 bits wide.
    pub port: u16,
    /// Which bits of what is read are the count: 24 or 32.
    pub mask: u32,
}

impl Timer {
    /// The timer's frequency: 3.579545 MHz.
    pub const HZ: u32 = 3_579_545;
}

/// A write of one byte that resets the machine, 4.8.3.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Where to write.
    pub register: Register,
    /// What.
    pub value: u8,
}

/// Where a register is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// An I/O port.
    Port(u16),
    /// A physical address.
    Memory(u64),
    /// In the configuration space of a PCI device on bus 0.
    Pci {
        /// The device's number.
        device: u16,
        /// The number of its function.
        function: u16,
        /// Offset in the function's configuration space.
        offset: u16,
    },
}

// Offsets of the table's fields.
const PM_TMR_BLK: u64 = 76;
const PM_TMR_LEN: u64 = 91;
const FLAGS: u64 = 112;
const RESET_REG: u64 = 116;
const RESET_VALUE: u64 = 128;
const X_PM_TMR_BLK: u64 = 208;

// Bits of the flags.
const TMR_VAL_EXT: u32 = 1 << 8;
const RESET_REG_SUP: u32 = 1 << 10;

pub(super) fn read(fadt: &Table, memory: &impl Physical) -> Result<Fixed, Error> {
    let flags = u32::from_le_bytes(fadt.needed(FLAGS, memory)?);
    let port = timer_port(fadt, memory);
    let mask = if flags & TMR_VAL_EXT == 0 { 0xFF_FFFF } else { u32::MAX };
    let reset = if flags & RESET_REG_SUP == 0 { None } else { reset(fadt, memory) };
    Ok(Fixed { timer: port.map(|port| Timer { port, mask }), reset })
}

/// The extended field is used where it names a port, the field of ACPI 1.0 otherwise. As in Linux, a platform that says
/// it is hardware-reduced, but names a port, has a timer.
fn timer_port(fadt: &Table, memory: &impl Physical) -> Option<u16> {
    if let Some(Register::Port(port)) = fadt.field(X_PM_TMR_BLK, memory).and_then(register) {
        return Some(port);
    }
    let port = u32::from_le_bytes(fadt.field(PM_TMR_BLK, memory)?);
    let [length] = fadt.field(PM_TMR_LEN, memory)?;
    u16::try_from(port).ok().filter(|&port| port != 0 && length == 4)
}

fn reset(fadt: &Table, memory: &impl Physical) -> Option<Reset> {
    let [value] = fadt.field(RESET_VALUE, memory)?;
    Some(Reset { register: register(fadt.field(RESET_REG, memory)?)?, value })
}

/// What a Generic Address Structure (5.2.3.2) names; `None` for nothing, and for other address spaces.
fn register(structure: [u8; 12]) -> Option<Register> {
    let [space, _width, _offset, _access, address @ ..] = structure;
    match (space, u64::from_le_bytes(address)) {
        (_, 0) => None,
        (0, address) => Some(Register::Memory(address)),
        (1, port) => u16::try_from(port).ok().map(Register::Port),
        (2, _) => {
            let word = |at: usize| u16::from_le_bytes([address[at], address[at + 1]]);
            Some(Register::Pci { device: word(4), function: word(2), offset: word(0) })
        }
        _ => None,
    }
}
