//! This processor's local APIC, in whichever mode it is.

use crate::cpu;

const IA32_APIC_BASE: u32 = 0x1B;
const GLOBAL_ENABLE: u64 = 1 << 11;
const X2APIC_ENABLE: u64 = 1 << 10;
/// The MSR of the register at offset zero (SDM Vol. 3A 12.12.1.2).
const FIRST_MSR: u32 = 0x800;

/// Reads the register at this offset of the xAPIC's page.
pub(crate) fn read(register: u32) -> u32 {
    match address(register) {
        // SAFETY: the local APIC's registers, which are mapped to themselves below 4 GiB.
        Some(address) => unsafe { (address as *const u32).read_volatile() },
        None => cpu::read_msr(FIRST_MSR + (register >> 4)) as u32,
    }
}

/// Writes it.
pub(crate) fn write(register: u32, value: u32) {
    match address(register) {
        // SAFETY: as in `read`.
        Some(address) => unsafe { (address as *mut u32).write_volatile(value) },
        None => cpu::write_msr(FIRST_MSR + (register >> 4), value.into()),
    }
}

/// Where a register is in memory; `None`: in x2APIC mode it is an MSR.
fn address(register: u32) -> Option<u64> {
    let base = cpu::read_msr(IA32_APIC_BASE);
    (base & X2APIC_ENABLE == 0).then_some((base & 0xF_FFFF_F000) + u64::from(register))
}

/// Disables it and enables it again, in xAPIC mode: as after a reset, nothing is pending in it (SDM Vol. 3A 12.4.3), and it is the only way
/// out of x2APIC mode (12.12.5). Whether it is enabled: that of Bochs 3.0 cannot be again, as on a P6, until the next reset.
pub(crate) fn restart() -> bool {
    let base = cpu::read_msr(IA32_APIC_BASE) & !(GLOBAL_ENABLE | X2APIC_ENABLE);
    cpu::write_msr(IA32_APIC_BASE, base);
    cpu::write_msr(IA32_APIC_BASE, base | GLOBAL_ENABLE);
    cpu::read_msr(IA32_APIC_BASE) & GLOBAL_ENABLE != 0
}
