//! What firmware and boot loader have left that could still interrupt, and has no handler in the guest: its vector would end the run
//! with a bug check. System management interrupts and NMIs cannot be masked. Other processors have an INIT before them, which masks all in
//! their local APICs.

use crate::cpu;
use crate::local_apic;
use crate::platform;
use kipi_standalone::acpi::Tables;
use kipi_standalone::memory::Physical;

/// Delivery modes of an interrupt with a vector: fixed, and of an 8259 (SDM Vol. 3A 12.5.1).
const FIXED: u32 = 0;
const EXT_INT: u32 = 7;
/// That of a system management interrupt.
const SMI: u32 = 2;
/// In LVT and redirection entries alike.
const MASKED: u32 = 1 << 16;

/// The delivery mode of an LVT or redirection entry.
fn delivery_mode(entry: u32) -> u32 {
    entry >> 8 & 7
}

/// Masks it all: both PICs, the I/O APICs that ACPI's tables name, and this local APIC's own sources. Whether nothing is pending.
pub(crate) fn make(tables: Option<&Tables>, memory: &impl Physical) -> bool {
    mask_pics();
    if let Some(tables) = tables {
        tables.each_io_apic(memory, mask_io_apic);
    }
    mask_lvt();
    !is_pending() || platform::has_xapic() && local_apic::restart()
}

fn mask_pics() {
    const PIC_DATA: [u16; 2] = [0x21, 0xA1];
    for port in PIC_DATA {
        cpu::outb(port, 0xFF);
    }
}

/// Masks all redirection entries but those of system management interrupts, which firmware needs: as Linux does (`clear_IO_APIC_pin`).
/// Registers are those of Intel's 82093AA (3.1 and 3.2).
fn mask_io_apic(address: u32) {
    const VERSION: u32 = 1;
    const REDIRECTION: u32 = 0x10;
    let select = address as *mut u32;
    // SAFETY: firmware's table has an I/O APIC there, mapped to itself below 4 GiB; the window is four words on.
    let window = unsafe {
        select.write_volatile(VERSION);
        select.add(4)
    };
    // SAFETY: the same. What is no memory and no device reads as ones.
    let version = unsafe { window.read_volatile() };
    if version == u32::MAX {
        return;
    }
    for entry in 0..=(version >> 16 & 0xFF) {
        // SAFETY: an entry that the version counts, of two words; the lower one has mask and delivery mode.
        unsafe {
            select.write_volatile(REDIRECTION + 2 * entry);
            let low = window.read_volatile();
            if delivery_mode(low) != SMI {
                window.write_volatile(low | MASKED);
            }
        }
    }
}

/// Masks the entries of the local vector table (SDM Vol. 3A 12.5.1) whose interrupts have a vector. A thermal sensor's may be firmware's SMI,
/// and LINT1 is where NMIs come from.
fn mask_lvt() {
    const VERSION: u32 = 0x30;
    // Timer, LINT0, LINT1, error, performance counters, thermal sensor, CMCI: a local APIC has the first so many.
    const ENTRIES: [u32; 7] = [0x320, 0x350, 0x360, 0x370, 0x340, 0x330, 0x2F0];
    let count = (local_apic::read(VERSION) >> 16 & 0xFF) as usize + 1;
    for register in ENTRIES.into_iter().take(count) {
        let entry = local_apic::read(register);
        if matches!(delivery_mode(entry), FIXED | EXT_INT) {
            local_apic::write(register, entry | MASKED);
        }
    }
}

/// Whether an interrupt has been requested or is in service (IRR and ISR; SDM Vol. 3A 12.8.4).
fn is_pending() -> bool {
    const IN_SERVICE: u32 = 0x100;
    const REQUESTED: u32 = 0x200;
    let of = |first: u32| (0..8).map(move |word| first + 0x10 * word);
    of(IN_SERVICE).chain(of(REQUESTED)).any(|register| local_apic::read(register) != 0)
}
