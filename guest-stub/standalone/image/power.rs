//! How it ends: reset, power, QEMU's debug exit, or a halt.

use crate::cpu;
use crate::space::{self, IDENTITY_END};
use core::arch::asm;
use kipi_standalone::acpi::{Fixed, Register};
use kipi_standalone::plan::End;

/// What is to happen at the end.
#[derive(Clone, Copy)]
pub(crate) enum Power {
    /// Nothing.
    Halt,
    /// QEMU's device isa-debug-exit.
    DebugExit,
    /// The keyboard controller's reset line.
    Keyboard,
    /// A byte to the FADT's reset register, a port.
    Port(u16, u8),
    /// The same in memory, below [`IDENTITY_END`].
    Memory(u64, u8),
}

impl Power {
    /// What the plan asks for; `fixed` is what the FADT says. `None`: it says nothing that could be followed.
    pub(crate) fn of(end: End, fixed: Option<&Fixed>) -> Option<Self> {
        Some(match end {
            End::Halt => Self::Halt,
            End::Qemu => Self::DebugExit,
            End::Reset => Self::Keyboard,
            End::Acpi => {
                let reset = fixed?.reset?;
                match reset.register {
                    Register::Port(port) => Self::Port(port, reset.value),
                    Register::Memory(address) if address < IDENTITY_END => Self::Memory(address, reset.value),
                    Register::Memory(_) | Register::Pci { .. } => return None,
                }
            }
        })
    }
}

/// Ends it, if it can be ended from here; `good` says whether all went well.
pub(crate) fn end(power: Power, good: bool) {
    match power {
        Power::Halt => {}
        Power::DebugExit => debug_exit(good),
        Power::Keyboard => keyboard_reset(),
        Power::Port(port, value) => cpu::outb(port, value),
        Power::Memory(address, value) => write_physical(address, value),
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

/// Writes a byte to a physical address, by the start code's tables: the guest's have no such page.
fn write_physical(address: u64, value: u8) {
    // SAFETY: both tables have this code at one address. No stack is used in between, and nothing interrupts. The address is one that
    // the FADT gives to be written, and below IDENTITY_END.
    unsafe {
        asm!(
            "cli",
            "mov {own}, cr3",
            "mov cr3, {start}",
            "mov byte ptr [{address}], {value}",
            "mov cr3, {own}",
            own = out(reg) _,
            start = in(reg) space::start_root(),
            address = in(reg) address,
            value = in(reg_byte) value,
            options(nostack),
        );
    }
}
