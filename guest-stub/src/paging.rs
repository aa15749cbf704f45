//! What of the guest's memory is mapped, and how: for whoever builds its page tables.
//!
//! SDM Vol. 3A 5.5 (4-level paging). Nothing is writable and executable; what is not mapped is a guard page.

use crate::abi::{self, ImageHeader, PAGE, area};

/// The page is there.
pub const PRESENT: u64 = 1 << 0;
/// It may be written.
pub const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// It may not be executed (EFER.NXE is set).
pub const NO_EXECUTE: u64 = 1 << 63;
/// The bits of an entry that hold an address.
pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// Entries of a table.
pub const ENTRIES: usize = 512;

/// Who may do what with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read, CPL0.
    Read,
    /// Read and write, CPL0.
    Write,
    /// Read and execute, CPL0.
    Execute,
    /// Read, CPL3 too.
    UserRead,
    /// Read and write, CPL3 too.
    UserWrite,
    /// Read and execute, CPL3 too.
    UserExecute,
    /// Registers of a device: uncacheable, CPL0.
    Device,
    /// Read and write, CPL0, once the guest has set the entry's present bit.
    PagedOut,
}

impl Access {
    /// The flags of a page's entry. Accessed and dirty are set beforehand, so that no page walk has to write them.
    pub const fn flags(self) -> u64 {
        let base = PRESENT | ACCESSED | DIRTY;
        match self {
            Self::Read => base | NO_EXECUTE,
            Self::Write => base | WRITABLE | NO_EXECUTE,
            Self::Execute => base,
            Self::UserRead => base | USER | NO_EXECUTE,
            Self::UserWrite => base | USER | WRITABLE | NO_EXECUTE,
            Self::UserExecute => base | USER,
            Self::PagedOut => ACCESSED | DIRTY | WRITABLE | NO_EXECUTE,
            Self::Device => base | WRITABLE | NO_EXECUTE | WRITE_THROUGH | CACHE_DISABLE,
        }
    }
}

/// The entry of a table for the next level's, at `table`. What a page allows is decided at the last level.
pub const fn table_entry(table: u64) -> u64 {
    table | PRESENT | WRITABLE | USER | ACCESSED
}

/// Index into the table of a level: 3 is the PML4, 0 the page table.
#[expect(clippy::cast_possible_truncation, reason = "the rest of the division is below 512")]
pub const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize % ENTRIES
}

/// Everything that is mapped for a guest of `vcpus` vCPUs whose image says `header`: start, end, access. Addresses are the guest's virtual
/// ones.
pub fn ranges(header: &ImageHeader, vcpus: usize) -> impl Iterator<Item = (u64, u64, Access)> {
    let shared = [
        (abi::TRAMPOLINE, abi::TRAMPOLINE + PAGE, Access::Execute),
        (abi::PROBE_RECORD, abi::PROBE_RECORD + PAGE, Access::Write),
        (abi::COMMAND_PAGE, abi::COMMAND_PAGE + PAGE, Access::Write),
        (abi::APIC_IDS, abi::APIC_IDS + PAGE, Access::Read),
        (abi::PAGEABLE, abi::PAGEABLE + PAGE, Access::PagedOut),
        (abi::IMAGE, header.text_start, Access::Read),
        (header.text_start, header.data_start, Access::Execute),
        (header.data_start, header.data_end, Access::Write),
        (abi::USER_TEXT, abi::USER_TEXT + PAGE, Access::UserExecute),
        (abi::XAPIC_BASE, abi::XAPIC_BASE + PAGE, Access::Device),
        (abi::NO_EFFECT, abi::NO_EFFECT + PAGE, Access::Device),
    ];
    let of_vcpu = |vcpu| {
        let base = abi::vcpu_area(vcpu);
        [
            (area::IPI_STACK, area::PRIVATE + PAGE, Access::Write),
            (area::KERNEL_STACK, area::KERNEL_STACK_TOP, Access::Write),
            (area::FAULT_STACK, area::FAULT_STACK_TOP, Access::Write),
            (area::NMI_STACK, area::NMI_STACK_TOP, Access::Write),
            (area::USER, area::USER + PAGE, Access::UserWrite),
            (area::TALLY, area::TALLY + PAGE, Access::Write),
            (area::SENDS, area::SENDS + PAGE, Access::Write),
            (area::RING, abi::VCPU_STRIDE, Access::UserWrite),
        ]
        .map(|(start, end, access)| (base + start, base + end, access))
    };
    shared.into_iter().chain((0..vcpus).flat_map(of_vcpu))
}
