//! The guest's page tables: identity mapping by 4 KiB pages, built before the guest starts.

use guest_stub::abi::{self, ImageHeader, PAGE};
use guest_stub::paging::{ADDRESS, Access, ENTRIES, index, ranges, table_entry};
use std::collections::BTreeMap;
use thiserror::Error;

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
            let table = self.table_of(address);
            self.entry(table, index(address, 0), |entry| *entry = address | access.flags());
            self.pages += 1;
        }
    }

    /// The last level's table for an address.
    fn table_of(&mut self, address: u64) -> u64 {
        [3, 2, 1].into_iter().fold(abi::PAGE_TABLES, |table, level| self.next_table(table, index(address, level)))
    }

    /// The table that an entry points to; made if there is none. What a page allows is decided at the last level.
    fn next_table(&mut self, table: u64, entry: usize) -> u64 {
        let fresh = abi::PAGE_TABLES + self.tables.len() as u64 * PAGE;
        let mut next = 0;
        self.entry(table, entry, |value| {
            if *value == 0 {
                *value = table_entry(fresh);
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

/// Page tables, ready to be written.
#[derive(Debug)]
pub(super) struct Built {
    /// What stands at [`abi::PAGE_TABLES`], the PML4 first.
    pub bytes: Vec<u8>,
    /// Address of the entry of [`abi::PAGEABLE`], in a page that the guest may write.
    pub pageable_entry: u64,
}

/// Builds the tables for a guest of `vcpus` vCPUs whose image says `header`.
///
/// # Errors
/// [`Error::NoRoom`] if they do not fit; the ABI's limits make that impossible for up to [`abi::MAX_VCPUS`].
pub(super) fn build(header: &ImageHeader, vcpus: usize) -> Result<Built, Error> {
    let mut tables = Tables::new();
    for (start, end, access) in ranges(header, vcpus) {
        tables.map(start, end, access);
    }
    // The guest pages that page in and out itself. No other page of those 2 MiB is mapped, so that there is nothing else
    // in the table it gets to write, but the table.
    let table = tables.table_of(abi::PAGEABLE);
    tables.map(table, table + PAGE, Access::Write);
    let pageable_entry = table + 8 * index(abi::PAGEABLE, 0) as u64;
    let room = usize::try_from((abi::PAGE_TABLES_END - abi::PAGE_TABLES) / PAGE).unwrap_or(0);
    if tables.tables.len() > room {
        return Err(Error::NoRoom { pages: tables.pages, tables: tables.tables.len(), room });
    }
    let bytes = tables.tables.values().flat_map(|table| table.iter().flat_map(|entry| entry.to_le_bytes())).collect();
    Ok(Built { bytes, pageable_entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_stub::abi::area;
    use guest_stub::paging::{NO_EXECUTE, PRESENT, WRITABLE};

    const HEADER: ImageHeader = ImageHeader {
        magic: abi::MAGIC,
        abi_version: abi::ABI_VERSION,
        reserved: 0,
        text_start: 0x10_1000,
        data_start: 0x10_8000,
        data_end: 0x15_0000,
        join: 0x10_1000,
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
            let Built { bytes, .. } = build(&HEADER, vcpus).unwrap();
            for (start, end, access) in ranges(&HEADER, vcpus) {
                for address in [start, end - PAGE].into_iter().filter(|_| access != Access::PagedOut) {
                    assert_eq!(walk(&bytes, address), Some(address | access.flags()), "{vcpus} vCPUs, {address:#x}");
                }
            }
        }
    }

    #[test]
    fn the_page_below_every_stack_is_not_mapped() {
        let Built { bytes, .. } = build(&HEADER, 3).unwrap();
        for vcpu in 0..3 {
            for stack in [area::IPI_STACK, area::KERNEL_STACK, area::FAULT_STACK, area::NMI_STACK] {
                assert_eq!(walk(&bytes, abi::vcpu_area(vcpu) + stack - PAGE), None);
            }
        }
        assert_eq!(walk(&bytes, 0), None, "a null pointer faults");
        assert_eq!(walk(&bytes, abi::vcpu_area(3) + area::PRIVATE), None, "a vCPU that is not there");
    }

    #[test]
    fn the_pageable_page_is_out_and_its_entry_is_the_guests() {
        let Built { mut bytes, pageable_entry } = build(&HEADER, 2).unwrap();
        assert_eq!(walk(&bytes, abi::PAGEABLE), None);
        let table = pageable_entry & ADDRESS;
        assert_eq!(walk(&bytes, table), Some(table | Access::Write.flags()), "the guest writes its table");
        bytes[usize::try_from(pageable_entry - abi::PAGE_TABLES).unwrap()] |= 1;
        assert_eq!(walk(&bytes, abi::PAGEABLE), Some(abi::PAGEABLE | Access::Write.flags()), "paged in");
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        let Built { bytes, .. } = build(&HEADER, 2).unwrap();
        for (start, end, _) in ranges(&HEADER, 2) {
            for address in (start..end).step_by(4096) {
                let Some(entry) = walk(&bytes, address) else { continue };
                assert!(entry & WRITABLE == 0 || entry & NO_EXECUTE != 0, "{address:#x}");
            }
        }
    }
}
