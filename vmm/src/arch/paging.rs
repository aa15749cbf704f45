//! The guest's page tables: identity mapping by 4 KiB pages, built before the guest starts.
//!
//! SDM Vol. 3A 5.5 (4-level paging). Nothing is writable and executable; what is not mapped is a guard page.

use guest_stub::abi::{self, ImageHeader, PAGE, area};
use std::collections::BTreeMap;
use thiserror::Error;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
const ENTRIES: usize = 512;

/// Who may do what with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read, CPL0.
    Read,
    /// Read and write, CPL0.
    Write,
    /// Read and execute, CPL0.
    Execute,
    /// Read and write, CPL3 too.
    UserWrite,
    /// Read and execute, CPL3 too.
    UserExecute,
    /// Registers of a device: uncacheable, CPL0.
    Device,
}

impl Access {
    /// The flags of a page's entry. Accessed and dirty are set beforehand, so that no page walk has to write them.
    const fn flags(self) -> u64 {
        let base = PRESENT | ACCESSED | DIRTY;
        match self {
            Self::Read => base | NO_EXECUTE,
            Self::Write => base | WRITABLE | NO_EXECUTE,
            Self::Execute => base,
            Self::UserWrite => base | USER | WRITABLE | NO_EXECUTE,
            Self::UserExecute => base | USER,
            Self::Device => base | WRITABLE | NO_EXECUTE | WRITE_THROUGH | CACHE_DISABLE,
        }
    }
}

/// Why the tables could not be built.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// More tables than the memory map has room for.
    #[error("page tables for {pages} pages need {tables} tables, and the guest's memory map has room for {room}")]
    NoRoom {
        /// Pages asked for.
        pages: usize,
        /// Tables that they need.
        tables: usize,
        /// Tables that fit.
        room: usize,
    },
}

/// Page tables in the making: physical address of each table, and its entries.
struct Tables {
    tables: BTreeMap<u64, Box<[u64; ENTRIES]>>,
    pages: usize,
}

impl Tables {
    fn new() -> Self {
        Self { tables: BTreeMap::from([(abi::PAGE_TABLES, Box::new([0; ENTRIES]))]), pages: 0 }
    }

    fn map(&mut self, start: u64, end: u64, access: Access) {
        for address in (start..end).step_by(usize::try_from(PAGE).unwrap_or(4096)) {
            let mut table = abi::PAGE_TABLES;
            for level in [3, 2, 1] {
                table = self.next_table(table, index(address, level));
            }
            self.entry(table, index(address, 0), |entry| *entry = address | access.flags());
            self.pages += 1;
        }
    }

    /// The table that an entry points to; made if there is none. What a page allows is decided at the last level.
    fn next_table(&mut self, table: u64, entry: usize) -> u64 {
        let fresh = abi::PAGE_TABLES + self.tables.len() as u64 * PAGE;
        let mut next = 0;
        self.entry(table, entry, |value| {
            if *value == 0 {
                *value = fresh | PRESENT | WRITABLE | USER | ACCESSED;
            }
            next = *value & ADDRESS;
        });
        self.tables.entry(next).or_insert_with(|| Box::new([0; ENTRIES]));
        next
    }

    fn entry(&mut self, table: u64, entry: usize, change: impl FnOnce(&mut u64)) {
        if let Some(entries) = self.tables.get_mut(&table) {
            change(&mut entries[entry]);
        }
    }
}

/// Index into the table of a level: 3 is the PML4, 0 the page table.
fn index(address: u64, level: u32) -> usize {
    usize::try_from(address >> (12 + 9 * level)).unwrap_or(0) % ENTRIES
}

/// Builds the tables for a guest of `vcpus` vCPUs whose image says `header`: bytes to be written at
/// [`abi::PAGE_TABLES`], the PML4 first.
///
/// # Errors
/// [`Error::NoRoom`] if they do not fit; the ABI's limits make that impossible for up to [`abi::MAX_VCPUS`].
pub fn build(header: &ImageHeader, vcpus: usize) -> Result<Vec<u8>, Error> {
    let mut tables = Tables::new();
    for (start, end, access) in ranges(header, vcpus) {
        tables.map(start, end, access);
    }
    let room = usize::try_from((abi::PAGE_TABLES_END - abi::PAGE_TABLES) / PAGE).unwrap_or(0);
    if tables.tables.len() > room {
        return Err(Error::NoRoom { pages: tables.pages, tables: tables.tables.len(), room });
    }
    Ok(tables.tables.values().flat_map(|table| table.iter().flat_map(|entry| entry.to_le_bytes())).collect())
}

/// Everything that is mapped.
fn ranges(header: &ImageHeader, vcpus: usize) -> Vec<(u64, u64, Access)> {
    let mut ranges = vec![
        (abi::TRAMPOLINE, abi::TRAMPOLINE + PAGE, Access::Execute),
        (abi::COMMAND_PAGE, abi::COMMAND_PAGE + PAGE, Access::Write),
        (abi::IMAGE, header.text_start, Access::Read),
        (header.text_start, header.data_start, Access::Execute),
        (header.data_start, header.data_end, Access::Write),
        (abi::USER_TEXT, abi::USER_TEXT + PAGE, Access::UserExecute),
        (abi::XAPIC_BASE, abi::XAPIC_BASE + PAGE, Access::Device),
    ];
    for vcpu in 0..vcpus {
        let base = abi::vcpu_area(vcpu);
        let parts = [
            (area::IPI_STACK, area::PRIVATE + PAGE, Access::Write),
            (area::KERNEL_STACK, area::KERNEL_STACK_TOP, Access::Write),
            (area::FAULT_STACK, area::FAULT_STACK_TOP, Access::Write),
            (area::NMI_STACK, area::NMI_STACK_TOP, Access::Write),
            (area::USER, area::USER + PAGE, Access::UserWrite),
            (area::RING, abi::VCPU_STRIDE, Access::UserWrite),
        ];
        ranges.extend(parts.map(|(start, end, access)| (base + start, base + end, access)));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: ImageHeader = ImageHeader {
        magic: abi::MAGIC,
        abi_version: abi::ABI_VERSION,
        reserved: 0,
        text_start: 0x10_1000,
        data_start: 0x10_8000,
        data_end: 0x15_0000,
    };

    /// Walks the tables as the processor does (SDM Vol. 3A figure 5-8): the page's entry, or `None`.
    fn walk(bytes: &[u8], address: u64) -> Option<u64> {
        let mut table = abi::PAGE_TABLES;
        for level in [3, 2, 1, 0] {
            let offset = usize::try_from(table - abi::PAGE_TABLES).unwrap() + index(address, level) * 8;
            let entry = u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap());
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 {
                return Some(entry);
            }
            table = entry & ADDRESS;
        }
        None
    }

    #[test]
    fn entries_have_the_manuals_bits() {
        assert_eq!(Access::Read.flags(), 0x8000_0000_0000_0061);
        assert_eq!(Access::Write.flags(), 0x8000_0000_0000_0063);
        assert_eq!(Access::Execute.flags(), 0x61);
        assert_eq!(Access::UserWrite.flags(), 0x8000_0000_0000_0067);
        assert_eq!(Access::UserExecute.flags(), 0x65);
        assert_eq!(Access::Device.flags(), 0x8000_0000_0000_007B);
    }

    #[test]
    fn every_page_maps_to_itself_with_its_access() {
        for vcpus in [1, 2, 300, abi::MAX_VCPUS] {
            let bytes = build(&HEADER, vcpus).unwrap();
            for (start, end, access) in ranges(&HEADER, vcpus) {
                for address in [start, end - PAGE] {
                    assert_eq!(walk(&bytes, address), Some(address | access.flags()), "{vcpus} vCPUs, {address:#x}");
                }
            }
        }
    }

    #[test]
    fn the_page_below_every_stack_is_not_mapped() {
        let bytes = build(&HEADER, 3).unwrap();
        for vcpu in 0..3 {
            for stack in [area::IPI_STACK, area::KERNEL_STACK, area::FAULT_STACK, area::NMI_STACK] {
                assert_eq!(walk(&bytes, abi::vcpu_area(vcpu) + stack - PAGE), None);
            }
        }
        assert_eq!(walk(&bytes, 0), None, "a null pointer faults");
        assert_eq!(walk(&bytes, abi::vcpu_area(3) + area::PRIVATE), None, "a vCPU that is not there");
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        let bytes = build(&HEADER, 2).unwrap();
        for (start, end, _) in ranges(&HEADER, 2) {
            for address in (start..end).step_by(4096) {
                let entry = walk(&bytes, address).unwrap();
                assert!(entry & WRITABLE == 0 || entry & NO_EXECUTE != 0, "{address:#x}");
            }
        }
    }
}
