//! How it ends: reset, power, QEMU's debug exit, or a halt.

use crate::cpu;
use kipi_standalone::acpi::{Fixed, Register};
use kipi_standalone::plan::End;

/// What is to happen at the end, and what ACPI says of how.
#[derive(Clone, Copy)]
pub(crate) struct Power {
    pub(crate) end: End,
    pub(crate) fixed: Option<Fixed>,
}

impl Power {
    /// Before anybody has said something.
    pub(crate) const HALT: Self = Self { end: End::Halt, fixed: None };
}

/// Ends it, if it can be ended from here; `good` says whether all went well.
pub(crate) fn end(power: &Power, good: bool) {
    match power.end {
        End::Halt => {}
        End::Qemu => debug_exit(good),
        End::Reset => keyboard_reset(),
        End::Acpi => {
            acpi_reset(power.fixed);
            keyboard_reset();
        }
    }
}

/// QEMU's isa-debug-exit: the status is twice the value, plus one.
fn debug_exit(good: bool) {
    const PORT: u16 = 0xF4;
    cpu::outl(PORT, if good { 0x10 } else { 0x11 });
}

/// The reset line, by the 8042's output port.
fn keyboard_reset() {
    const COMMAND: u16 = 0x64;
    const INPUT_FULL: u8 = 2;
    const PULSE_RESET: u8 = 0xFE;
    const LOOKS: u32 = 0x1_0000;
    let _ = (0..LOOKS).any(|_| cpu::inb(COMMAND) & INPUT_FULL == 0);
    cpu::outb(COMMAND, PULSE_RESET);
}

/// The FADT's reset register (ACPI 4.8.3.6), where it is a port.
fn acpi_reset(fixed: Option<Fixed>) {
    let Some(reset) = fixed.and_then(|fixed| fixed.reset) else { return };
    match reset.register {
        Register::Port(port) => cpu::outb(port, reset.value),
        Register::Memory(_) | Register::Pci { .. } => {}
    }
}
