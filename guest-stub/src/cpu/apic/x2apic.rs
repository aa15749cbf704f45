//! The x2APIC: registers are MSRs (SDM Vol. 3A 12.12).

use super::{INTERRUPT_COMMAND, SELF_IPI};
use crate::cpu::msr;

/// A register's MSR.
pub(crate) const fn number(register: u32) -> u32 {
    0x800 + (register >> 4)
}

#[inline]
pub(super) fn write(register: u32, value: u32) {
    msr::write(number(register), value.into());
}

pub(super) fn read(register: u32) -> u32 {
    msr::read(number(register)) as u32
}

/// Sends an interrupt: the ICR is one 64-bit register, and there is no delivery status to wait for (12.12.9).
/// Not serialising: [`super::publish`] goes before it.
#[inline]
pub(crate) fn write_icr(command: u32, destination: u32) {
    msr::write(number(INTERRUPT_COMMAND), u64::from(destination) << 32 | u64::from(command));
}

/// Interrupts this processor: the register needs nothing but the vector (12.12.11). As little serialising as the ICR.
#[inline]
pub(crate) fn write_self_ipi(vector: u8) {
    msr::write(number(SELF_IPI), vector.into());
}
