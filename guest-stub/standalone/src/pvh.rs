//! The PVH boot ABI: `struct hvm_start_info`, whose physical address is in EBX at the entry (Xen:
//! docs/misc/pvh.pandoc, xen/include/public/arch-x86/hvm/start_info.h).

use crate::boot::{CommandLine, Found};
use crate::memory::{Kind, Map, Physical};
use core::fmt;

#[cfg(test)]
mod tests;

/// First word of the structure.
const MAGIC: u32 = 0x336E_C578;
/// The most entries of a memory map that are read. Firmware's have about a hundred.
const MOST_ENTRIES: u32 = 1024;

// Offsets of the structure's fields.
const VERSION: u64 = 4;
const COMMAND_LINE: u64 = 24;
const RSDP: u64 = 32;
/// The first field that version 0 does not have.
const MEMORY_MAP: u64 = 40;
const MEMORY_MAP_ENTRIES: u64 = 48;

/// Bytes of an entry of the memory map: address, size, type, and a reserved word.
const ENTRY: u64 = 24;

/// Why the start info is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A part of it is at an address that cannot be read.
    Unreadable {
        /// Which part.
        part: &'static str,
        /// Where it begins.
        address: u64,
    },
    /// Something else is where it should be.
    Magic {
        /// Its first word.
        found: u32,
    },
    /// It has no memory map: it is of version 0, where that is asked of Xen, or the map has no entries.
    NoMemoryMap {
        /// The structure's version.
        version: u32,
    },
    /// The memory map has more entries than are read. Those left out could be of memory that must not be used.
    MemoryMap {
        /// How many.
        entries: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unreadable { part, address } => write!(f, "PVH: the {part} at {address:#x} cannot be read"),
            Self::Magic { found } => write!(f, "PVH: no start info is where EBX says ({found:#x} is there)"),
            Self::NoMemoryMap { version } => write!(f, "PVH: the start info, of version {version}, has no memory map"),
            Self::MemoryMap { entries } => {
                write!(f, "PVH: a memory map of {entries} entries is too long ({MOST_ENTRIES} are read)")
            }
        }
    }
}

impl core::error::Error for Error {}

/// Reads what the VMM handed over in the structure at `start_info`.
///
/// # Errors
///
/// The structure, its memory map or its command line cannot be read, or there is no memory map.
pub fn parse(start_info: u64, memory: &impl Physical) -> Result<Found, Error> {
    let unreadable = |part, address| Error::Unreadable { part, address };
    let here = unreadable("start info", start_info);
    let magic = memory.u32(start_info, 0).ok_or(here)?;
    if magic != MAGIC {
        return Err(Error::Magic { found: magic });
    }
    let version = memory.u32(start_info, VERSION).ok_or(here)?;
    if version == 0 {
        return Err(Error::NoMemoryMap { version });
    }
    // An address of zero stands for nothing, in every field.
    let address = |offset| memory.u64(start_info, offset).ok_or(here).map(|address| (address != 0).then_some(address));
    let entries = memory.u32(start_info, MEMORY_MAP_ENTRIES).ok_or(here)?;
    let table = address(MEMORY_MAP)?.filter(|_| entries != 0).ok_or(Error::NoMemoryMap { version })?;
    if entries > MOST_ENTRIES {
        return Err(Error::MemoryMap { entries });
    }
    let mut map = Map::new();
    for entry in (0..u64::from(entries)).map(|entry| entry * ENTRY) {
        let (start, size) = (memory.u64(table, entry), memory.u64(table, entry + 8));
        let kind = memory.u32(table, entry + 16);
        let (Some(start), Some(size), Some(kind)) = (start, size, kind) else {
            return Err(unreadable("memory map", table));
        };
        map.add(Kind::of_e820(kind), start, size);
    }
    let command_line = match address(COMMAND_LINE)? {
        Some(line) => CommandLine::read(line, u64::MAX, memory).ok_or(unreadable("command line", line))?,
        None => CommandLine::default(),
    };
    Ok(Found { memory: map, rsdp: address(RSDP)?, command_line })
}
