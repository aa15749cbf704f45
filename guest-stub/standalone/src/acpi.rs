//! What ACPI's tables say of the machine: its processors, its timer, how it is reset. Section numbers are those of the
//! ACPI specification 6.5.
//!
//! The tables are firmware's, or those of a VMM that nobody here wrote: whatever they hold, reading them ends, and
//! reads no more than a few hundred KiB of each.

mod error;
mod fadt;
mod madt;
mod root;
mod table;
#[cfg(test)]
mod tests;

use crate::memory::Physical;
pub use error::{Error, Name};
pub use fadt::{Fixed, Register, Reset, Timer};
pub use madt::Processors;

/// What the tables say. About 4 KiB large.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The processors that the MADT lists.
    pub processors: Processors,
    /// Where the xAPIC's registers are: the MADT's address, or the one that overrides it (5.2.12.8).
    pub local_apic: u64,
    /// What the FADT says, or why it is not known. Nothing that is found in the MADT depends on it.
    pub fixed: Result<Fixed, Error>,
    madt: table::Table,
}

impl Tables {
    /// Calls `with` with the physical address of each I/O APIC's registers. `memory` is what the tables were found in.
    pub fn each_io_apic(&self, memory: &impl Physical, with: impl FnMut(u32)) {
        madt::each_io_apic(&self.madt, memory, with);
    }
}

/// Reads the tables. They are found by the RSDP at `rsdp`; where there is none, or none that is whole, it is searched for
/// as on a machine with a BIOS (5.2.5.1).
///
/// # Errors
///
/// No RSDP, no MADT, one that is damaged, or one without an enabled processor.
pub fn find(rsdp: Option<u64>, memory: &impl Physical) -> Result<Tables, Error> {
    let root = root::find(rsdp, memory)?;
    let table = root.table(memory, Name::Madt)?;
    let madt = madt::read(&table, memory)?;
    let fixed = root.table(memory, Name::Fadt).and_then(|fadt| fadt::read(&fadt, memory));
    Ok(Tables { processors: madt.processors, local_apic: madt.local_apic, fixed, madt: table })
}
