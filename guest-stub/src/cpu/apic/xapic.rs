//! The xAPIC: registers are memory (SDM Vol. 3A 12.4.1).

use super::{INTERRUPT_COMMAND, INTERRUPT_COMMAND_HIGH};
use core::arch::asm;
use guest_stub::abi::XAPIC_BASE;
use guest_stub::icr::SEND_PENDING;

/// Writes a register. One MOV: an instruction that the compiler chose might be one that a hypervisor's emulator
/// does not know.
#[inline]
pub(crate) fn write(register: u32, value: u32) {
    let address = XAPIC_BASE + u64::from(register);
    // SAFETY: the page is mapped uncacheable, and holds registers alone. Callers but the tests name those that exist, in xAPIC mode.
    unsafe { asm!("mov [{}], {:e}", in(reg) address, in(reg) value, options(nostack, preserves_flags)) };
}

/// Reads a register, as [`write()`] writes one.
#[inline]
pub(crate) fn read(register: u32) -> u32 {
    let address = XAPIC_BASE + u64::from(register);
    let value: u32;
    // SAFETY: as in `write`; reads of registers have no side effect.
    unsafe { asm!("mov {:e}, [{}]", out(reg) value, in(reg) address, options(nostack, preserves_flags)) };
    value
}

/// The ICR's high half: a destination field of 8 bits.
#[inline]
pub(crate) const fn high_half(destination: u32) -> u32 {
    destination << 24
}

/// Sends to the processor with APIC id `destination`. The command's low half sends: its high half goes first, and
/// no interrupt handler may send between the two.
#[inline]
pub(crate) fn write_icr(command: u32, destination: u32) {
    write(INTERRUPT_COMMAND_HIGH, high_half(destination));
    write(INTERRUPT_COMMAND, command);
}

/// The ICR, whose address is in a register before it is needed: an instruction less between a stamp and the send.
#[derive(Clone, Copy)]
pub(crate) struct Icr(u64);

impl Icr {
    /// The one of this processor, in xAPIC mode.
    pub(crate) fn new() -> Self {
        let mut address = XAPIC_BASE + u64::from(INTERRUPT_COMMAND);
        // SAFETY: no instruction. It hides from the compiler that the address is a constant.
        unsafe { asm!("/* {} */", inout(reg) address, options(nomem, nostack, preserves_flags)) };
        Self(address)
    }

    /// Waits until the last command is on its way (SDM Vol. 3A 12.6.1, delivery status).
    #[inline]
    pub(crate) fn wait_idle(self) {
        while self.low() & SEND_PENDING != 0 {
            core::hint::spin_loop();
        }
    }

    fn low(self) -> u32 {
        let half: u32;
        // SAFETY: as in `read`.
        unsafe { asm!("mov {:e}, [{}]", out(reg) half, in(reg) self.0, options(nostack, preserves_flags)) };
        half
    }

    /// Writes the half that sends.
    #[inline]
    pub(crate) fn write_low(self, command: u32) {
        // SAFETY: as in `write`.
        unsafe { asm!("mov [{}], {:e}", in(reg) self.0, in(reg) command, options(nostack, preserves_flags)) };
    }

    /// Writes the half that holds the destination, which a shorthand ignores.
    #[inline]
    pub(crate) fn write_high(self, half: u32) {
        const DISTANCE: u32 = INTERRUPT_COMMAND_HIGH - INTERRUPT_COMMAND;
        // SAFETY: as in `write`.
        unsafe {
            asm!("mov [{} + {}], {:e}", in(reg) self.0, const DISTANCE, in(reg) half,
                options(nostack, preserves_flags));
        }
    }
}

/// Sends from any context: waits until the last command is on its way, and keeps handlers from sending between the writes of
/// the ICR's halves, which would change the destination. IF is as before.
pub(crate) fn send_undisturbed(command: u32, destination: u32) {
    let flags: u64;
    // SAFETY: IF is put back below.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    Icr::new().wait_idle();
    write_icr(command, destination);
    // SAFETY: the flags are those of above.
    unsafe { asm!("push {}", "popfq", in(reg) flags) };
}
