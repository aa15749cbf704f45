//! UEFI (UEFI specification 2.10): what firmware's tables say of ACPI, the command line and memory.
//!
//! Firmware's structures are at physical addresses, since it maps memory to itself (2.3.4).

use crate::boot::CommandLine;
use crate::memory::{Kind, Map, Physical};
use core::fmt;
use core::mem::offset_of;
use uefi_raw::protocol::loaded_image::LoadedImageProtocol;
use uefi_raw::table::boot::{MemoryAttribute, MemoryDescriptor, MemoryType};
use uefi_raw::table::configuration::ConfigurationTable;
use uefi_raw::table::system::SystemTable;
use uefi_raw::{Guid, guid};

#[cfg(test)]
mod tests;

/// EFI_ACPI_20_TABLE_GUID (4.6.1): the RSDP, of ACPI 2.0 or later.
const ACPI_2: Guid = guid!("8868e871-e4f1-11d3-bc22-0080c73c8881");
/// ACPI_TABLE_GUID: the RSDP of ACPI 1.0.
const ACPI_1: Guid = guid!("eb9d2d30-2d88-11d3-9a16-0090273fc14d");

/// The most configuration tables that are looked through. Firmware has one or two dozen.
const MOST_TABLES: u64 = 256;
/// The most UTF-16 code units of load options that are read.
const MOST_UNITS: usize = 4096;
/// A page of the memory map, whatever the processor's page size (7.2.3).
const EFI_PAGE: u64 = 0x1000;

/// Why what firmware hands over is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A part of it is at an address that cannot be read.
    Unreadable {
        /// Which part.
        part: &'static str,
        /// Where it begins.
        address: u64,
    },
    /// Something else is where the system table should be.
    Signature {
        /// Its first eight bytes.
        found: u64,
    },
    /// The memory map's descriptors are shorter than the specification's.
    Descriptor {
        /// Bytes of a descriptor, as firmware says.
        bytes: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unreadable { part, address } => write!(f, "UEFI: the {part} at {address:#x} cannot be read"),
            Self::Signature { found } => write!(f, "UEFI: no system table is where RDX says ({found:#x} is there)"),
            Self::Descriptor { bytes } => write!(f, "UEFI: the memory map's descriptors have {bytes} bytes"),
        }
    }
}

impl core::error::Error for Error {}

/// What of the system table is used. An address of zero stands for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System {
    /// The boot services' table.
    pub boot_services: u64,
    /// The protocol that writes to the console.
    pub console: u64,
    /// Where ACPI's RSDP is.
    pub rsdp: Option<u64>,
}

impl System {
    /// Reads the system table and the list of configuration tables.
    ///
    /// # Errors
    /// One of them cannot be read, or is none.
    pub fn read(table: u64, memory: &impl Physical) -> Result<Self, Error> {
        let unreadable = Error::Unreadable { part: "system table", address: table };
        let field = |offset: usize| memory.u64(table, offset as u64).ok_or(unreadable);
        let found = field(0)?;
        if found != SystemTable::SIGNATURE {
            return Err(Error::Signature { found });
        }
        let count = field(offset_of!(SystemTable, number_of_configuration_table_entries))?;
        let list = field(offset_of!(SystemTable, configuration_table))?;
        Ok(Self {
            boot_services: field(offset_of!(SystemTable, boot_services))?,
            console: field(offset_of!(SystemTable, stdout))?,
            rsdp: find_rsdp(list, count, memory)?,
        })
    }
}

/// ACPI 2.0's is preferred: the RSDP of ACPI 1.0 has no XSDT.
fn find_rsdp(list: u64, count: u64, memory: &impl Physical) -> Result<Option<u64>, Error> {
    const ENTRY: u64 = size_of::<ConfigurationTable>() as u64;
    let unreadable = Error::Unreadable { part: "list of configuration tables", address: list };
    let mut of_acpi_1 = None;
    for number in 0..count.min(MOST_TABLES) {
        let entry = number * ENTRY;
        let guid = Guid::from_bytes(memory.array(list, entry).ok_or(unreadable)?);
        let address = offset_of!(ConfigurationTable, vendor_table) as u64;
        let address = memory.u64(list, entry + address).ok_or(unreadable)?;
        match guid {
            ACPI_2 => return Ok(Some(address)),
            ACPI_1 => of_acpi_1 = Some(address),
            _ => {}
        }
    }
    Ok(of_acpi_1)
}

/// The command line, from the load options of the loaded-image protocol at `image` (9.1.1).
///
/// They are text by convention only. What a shell puts first, the image's name, is left out: no word of a plan is
/// without an equals sign. What is not text, as boot managers' own data, counts as nothing.
///
/// # Errors
/// The protocol or its load options cannot be read.
pub fn load_options(image: u64, memory: &impl Physical) -> Result<CommandLine, Error> {
    let unreadable = Error::Unreadable { part: "loaded image's protocol", address: image };
    let bytes = memory.u32(image, offset_of!(LoadedImageProtocol, load_options_size) as u64).ok_or(unreadable)?;
    let options = memory.u64(image, offset_of!(LoadedImageProtocol, load_options) as u64).ok_or(unreadable)?;
    if options == 0 || bytes % 2 != 0 {
        return Ok(CommandLine::default());
    }
    let mut units = [0; MOST_UNITS];
    let mut length = 0;
    for place in units.iter_mut().take(bytes as usize / 2) {
        let unit = memory.array(options, 2 * length as u64).map(u16::from_le_bytes);
        match unit.ok_or(Error::Unreadable { part: "load options", address: options })? {
            0 => break,
            unit => *place = unit,
        }
        length += 1;
    }
    Ok(text(&units[..length]))
}

fn text(units: &[u16]) -> CommandLine {
    let chars = || char::decode_utf16(units.iter().copied()).map(|char| char.unwrap_or('?'));
    if chars().any(|char| char.is_control() && !char.is_whitespace()) {
        return CommandLine::default();
    }
    let of_first_word = |char: &char| !char.is_whitespace();
    let words = chars().skip_while(|char| char.is_whitespace());
    let is_name = words.clone().take_while(of_first_word).all(|char| char != '=');
    CommandLine::of(words.skip_while(|char| is_name && of_first_word(char)))
}

/// The memory of the machine after ExitBootServices: `map` is GetMemoryMap's (7.2.3).
///
/// # Errors
/// [`Error::Descriptor`].
pub fn memory_map(map: &[u8], descriptor_bytes: usize) -> Result<Map, Error> {
    if descriptor_bytes < size_of::<MemoryDescriptor>() {
        return Err(Error::Descriptor { bytes: descriptor_bytes });
    }
    let mut memory = Map::new();
    for descriptor in map.chunks_exact(descriptor_bytes) {
        let field = |offset: usize| {
            let bytes = descriptor[offset..].first_chunk().copied();
            bytes.map(u64::from_le_bytes).unwrap_or_default()
        };
        let number = descriptor[offset_of!(MemoryDescriptor, ty)..].first_chunk().copied();
        let number = number.map(u32::from_le_bytes).unwrap_or_default();
        let attributes = MemoryAttribute::from_bits_retain(field(offset_of!(MemoryDescriptor, att)));
        let bytes = field(offset_of!(MemoryDescriptor, page_count)).saturating_mul(EFI_PAGE);
        let start = field(offset_of!(MemoryDescriptor, phys_start));
        memory.add(kind(MemoryType(number), attributes), start, bytes);
    }
    Ok(memory)
}

/// What a type of memory is after ExitBootServices (table 7.10). Loaders' and boot services' memory is free then; ACPI's
/// tables are still to be read. Memory for a special purpose is asked for by whoever knows the purpose, and what cannot
/// be cached is no RAM.
const fn kind(of: MemoryType, attributes: MemoryAttribute) -> Kind {
    let is_ram = attributes.contains(MemoryAttribute::WRITE_BACK);
    let is_for_all = !attributes.contains(MemoryAttribute::SPECIAL_PURPOSE);
    match of {
        MemoryType::CONVENTIONAL
        | MemoryType::LOADER_CODE
        | MemoryType::LOADER_DATA
        | MemoryType::BOOT_SERVICES_CODE
        | MemoryType::BOOT_SERVICES_DATA
            if is_ram && is_for_all =>
        {
            Kind::Usable
        }
        _ => Kind::Reserved,
    }
}
