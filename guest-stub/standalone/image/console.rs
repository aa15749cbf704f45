//! Where text and records go: a serial port by polling, and the debug console of QEMU and Bochs (port E9H).

use crate::cpu;
use core::cell::UnsafeCell;
use kipi_standalone::plan;

const DEBUG_CONSOLE: u16 = 0xE9;

// Registers of a 16550 (National Semiconductor PC16550D, table II), from its base on.
const TRANSMIT: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const DIVISOR_LOW: u16 = 0;
const DIVISOR_HIGH: u16 = 1;
const DIVISOR_ACCESS: u8 = 0x80;
const EIGHT_BITS_NO_PARITY: u8 = 0x03;
const ENABLE_AND_CLEAR_FIFOS: u8 = 0x07;
const DTR_RTS: u8 = 0x03;
/// The transmitter's FIFO is empty.
const EMPTY: u8 = 0x20;
const FIFO_BYTES: usize = 16;

/// The outputs.
#[derive(Clone, Copy)]
pub(crate) struct Console(plan::Console);

struct Last(UnsafeCell<Console>);

// SAFETY: `open` alone writes it, on one processor before any other runs.
unsafe impl Sync for Last {}

static LAST: Last = Last(UnsafeCell::new(Console(plan::Console { serial: None, e9: true })));

impl Console {
    /// The outputs that are asked for. Where that serial port is not there, it is the first one, and the debug console where there is no
    /// serial port at all.
    pub(crate) fn open(wanted: plan::Console) -> Self {
        let first = plan::Console::COM1.serial;
        let serial = wanted.serial.and_then(|port| [Some(port), first].into_iter().flatten().find(|&port| start(port)));
        let console = Self(plan::Console { serial, e9: wanted.e9 || serial.is_none() });
        // SAFETY: see `Last`.
        unsafe { *LAST.0.get() = console };
        console
    }

    /// The one that was opened last.
    pub(crate) fn last() -> Self {
        // SAFETY: see `Last`.
        unsafe { *LAST.0.get() }
    }

    /// What it is.
    pub(crate) fn outputs(self) -> plan::Console {
        self.0
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for filling in bytes.chunks(FIFO_BYTES) {
            self.0.serial = self.0.serial.filter(|&port| transmit(port, filling));
        }
        if self.0.e9 {
            cpu::outsb(DEBUG_CONSOLE, bytes);
        }
    }
}

/// Sets the serial port up: 115,200 baud, 8N1. Whether there is one.
fn start(port: u16) -> bool {
    // Nothing answers with all bits set.
    if cpu::inb(port + LINE_STATUS) == 0xFF {
        return false;
    }
    cpu::outb(port + INTERRUPT_ENABLE, 0);
    cpu::outb(port + LINE_CONTROL, DIVISOR_ACCESS);
    cpu::outb(port + DIVISOR_LOW, 1);
    cpu::outb(port + DIVISOR_HIGH, 0);
    cpu::outb(port + LINE_CONTROL, EIGHT_BITS_NO_PARITY);
    cpu::outb(port + FIFO_CONTROL, ENABLE_AND_CLEAR_FIFOS);
    cpu::outb(port + MODEM_CONTROL, DTR_RTS);
    true
}

/// Fills the FIFO once it is empty. Whether that was before long: whoever has stopped reading does not stop the measurement.
fn transmit(port: u16, filling: &[u8]) -> bool {
    /// More than the FIFO takes at 115,200 baud.
    const LOOKS: u32 = 1 << 20;
    let is_empty = (0..LOOKS).any(|_| cpu::inb(port + LINE_STATUS) & EMPTY != 0);
    if is_empty {
        cpu::outsb(port + TRANSMIT, filling);
    }
    is_empty
}
