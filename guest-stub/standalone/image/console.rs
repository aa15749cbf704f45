//! Where text and records go: COM1 by polling, and the debug console of QEMU and Bochs (port E9H).

use crate::cpu;

const COM1: u16 = 0x3F8;
const DEBUG_CONSOLE: u16 = 0xE9;

// Registers of a 16550 (National Semiconductor PC16550D, table II).
const TRANSMIT: u16 = COM1;
const INTERRUPT_ENABLE: u16 = COM1 + 1;
const FIFO_CONTROL: u16 = COM1 + 2;
const LINE_CONTROL: u16 = COM1 + 3;
const MODEM_CONTROL: u16 = COM1 + 4;
const LINE_STATUS: u16 = COM1 + 5;
const DIVISOR_LOW: u16 = COM1;
const DIVISOR_HIGH: u16 = COM1 + 1;
const DIVISOR_ACCESS: u8 = 0x80;
const EIGHT_BITS_NO_PARITY: u8 = 0x03;
const ENABLE_AND_CLEAR_FIFOS: u8 = 0x07;
const DTR_RTS: u8 = 0x03;
/// The transmitter's FIFO is empty.
const EMPTY: u8 = 0x20;
const FIFO_BYTES: usize = 16;

/// The outputs.
pub(crate) struct Console {
    com1: bool,
    debug: bool,
}

impl Console {
    /// COM1, if there is one, at 115,200 baud, 8N1.
    pub(crate) fn open() -> Self {
        // Nothing answers with all bits set.
        let com1 = cpu::inb(LINE_STATUS) != 0xFF;
        if com1 {
            cpu::outb(INTERRUPT_ENABLE, 0);
            cpu::outb(LINE_CONTROL, DIVISOR_ACCESS);
            cpu::outb(DIVISOR_LOW, 1);
            cpu::outb(DIVISOR_HIGH, 0);
            cpu::outb(LINE_CONTROL, EIGHT_BITS_NO_PARITY);
            cpu::outb(FIFO_CONTROL, ENABLE_AND_CLEAR_FIFOS);
            cpu::outb(MODEM_CONTROL, DTR_RTS);
        }
        Self { com1, debug: !com1 }
    }

    /// Uses these from now on; what there is not is left out.
    pub(crate) fn choose(&mut self, com1: bool, debug: bool) {
        self.com1 &= com1;
        self.debug = debug || !self.com1;
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for filling in bytes.chunks(FIFO_BYTES) {
            self.com1 = self.com1 && transmit(filling);
        }
        if self.debug {
            cpu::outsb(DEBUG_CONSOLE, bytes);
        }
    }
}

/// Fills the FIFO once it is empty. Whether that was before long: whoever has stopped reading does not stop the measurement.
fn transmit(filling: &[u8]) -> bool {
    /// More than the FIFO takes at 115,200 baud.
    const LOOKS: u32 = 1 << 20;
    let is_empty = (0..LOOKS).any(|_| cpu::inb(LINE_STATUS) & EMPTY != 0);
    if is_empty {
        cpu::outsb(TRANSMIT, filling);
    }
    is_empty
}
