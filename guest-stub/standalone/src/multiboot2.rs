//! Multiboot2: the boot information, whose physical address is in EBX at the entry (Multiboot2 Specification 2.0, 3.6).

use crate::boot::{CommandLine, Found};
use crate::memory::{Kind, Map, Physical};
use core::fmt;

#[cfg(test)]
mod tests;

/// The longest boot information that is read, in bytes: GRUB's has a few KiB, firmware's copies of tables included.
const LONGEST: u32 = 0x10_0000;
/// Tags begin at multiples of it.
const ALIGNMENT: u64 = 8;
/// Bytes that every tag begins with: its type and its size.
const HEADER: u64 = 8;

// Types of tags.
const END: u32 = 0;
const COMMAND_LINE: u32 = 1;
const MEMORY_MAP: u32 = 6;
const OLD_RSDP: u32 = 14;
const NEW_RSDP: u32 = 15;

/// Where the entries of a memory map begin in its tag, after their size and version.
const ENTRIES: u64 = 16;
/// Bytes of an entry that are read: address, length, type, and a reserved word. Later versions may add to them.
const ENTRY: u32 = 24;

/// Why the boot information is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// It is at an address that cannot be read, in whole or in part.
    Unreadable {
        /// Where it begins.
        address: u64,
    },
    /// It is shorter than what it must hold, or longer than what is read.
    Length {
        /// Its length in bytes, as it says itself.
        length: u32,
    },
    /// A tag is too short for its type, or reaches past the end.
    Tag {
        /// Where the tag begins in the boot information.
        offset: u64,
        /// Its type.
        kind: u32,
        /// Its size in bytes, as it says itself.
        size: u32,
    },
    /// The memory map's entries are too short.
    Entry {
        /// Their size in bytes, as the map says.
        size: u32,
    },
    /// It has no memory map.
    NoMemoryMap,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Multiboot2: ")?;
        match *self {
            Self::Unreadable { address } => write!(f, "the boot information at {address:#x} cannot be read"),
            Self::Length { length } => write!(f, "the boot information cannot be {length} bytes long"),
            Self::Tag { offset, kind, size } => {
                write!(f, "the tag at byte {offset}, of type {kind}, cannot be {size} bytes long")
            }
            Self::Entry { size } => write!(f, "entries of the memory map cannot be {size} bytes long"),
            Self::NoMemoryMap => f.write_str("the boot loader gave no memory map"),
        }
    }
}

impl core::error::Error for Error {}

/// Reads what the boot loader handed over in the boot information at `info`.
///
/// # Errors
///
/// The boot information cannot be read, is damaged, or has no memory map.
pub fn parse(info: u64, memory: &impl Physical) -> Result<Found, Error> {
    let unreadable = Error::Unreadable { address: info };
    let length = memory.u32(info, 0).ok_or(unreadable)?;
    if u64::from(length) < HEADER || length > LONGEST {
        return Err(Error::Length { length });
    }
    let mut map = None;
    let mut command_line = CommandLine::default();
    let (mut old, mut new) = (None, None);
    let mut offset = HEADER;
    // A boot loader that leaves out the last tag has said where the end is all the same.
    while offset + HEADER <= u64::from(length) {
        let kind = memory.u32(info, offset).ok_or(unreadable)?;
        let size = memory.u32(info, offset + 4).ok_or(unreadable)?;
        let needed = match kind {
            MEMORY_MAP => ENTRIES,
            OLD_RSDP => HEADER + 20,
            NEW_RSDP => HEADER + 36,
            _ => HEADER,
        };
        let end = offset + u64::from(size);
        if u64::from(size) < needed || end > u64::from(length) {
            return Err(Error::Tag { offset, kind, size });
        }
        let content = info.checked_add(offset + HEADER).ok_or(unreadable)?;
        match kind {
            END => break,
            COMMAND_LINE => {
                command_line = CommandLine::read(content, u64::from(size) - HEADER, memory).ok_or(unreadable)?;
            }
            MEMORY_MAP => read_map(info, offset, end, memory, map.get_or_insert_with(Map::new))?,
            OLD_RSDP => old = Some(content),
            NEW_RSDP => new = Some(content),
            _ => {}
        }
        offset = end.next_multiple_of(ALIGNMENT);
    }
    let mut memory = map.ok_or(Error::NoMemoryMap)?;
    // The copy of the RSDP is in it.
    memory.reserve(info, info.saturating_add(length.into()));
    // The one of ACPI 1.0 refers to the RSDT only, and is cut off where firmware has the later one.
    Ok(Found { memory, rsdp: new.or(old), command_line })
}

/// Adds the entries of the memory map's tag, which is between two offsets in the boot information.
fn read_map(info: u64, tag: u64, end: u64, memory: &impl Physical, map: &mut Map) -> Result<(), Error> {
    let unreadable = Error::Unreadable { address: info };
    let size = memory.u32(info, tag + HEADER).ok_or(unreadable)?;
    if size < ENTRY {
        return Err(Error::Entry { size });
    }
    let mut entry = tag + ENTRIES;
    while entry + u64::from(size) <= end {
        let start = memory.u64(info, entry).ok_or(unreadable)?;
        let length = memory.u64(info, entry + 8).ok_or(unreadable)?;
        let kind = memory.u32(info, entry + 16).ok_or(unreadable)?;
        map.add(Kind::of_e820(kind), start, length);
        entry += u64::from(size);
    }
    Ok(())
}
