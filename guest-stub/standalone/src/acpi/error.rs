//! Why tables are of no use.

use core::fmt;

/// A table that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Root System Description Pointer, 5.2.5.
    Rsdp,
    /// Root System Description Table, 5.2.7.
    Rsdt,
    /// Extended System Description Table, 5.2.8.
    Xsdt,
    /// Multiple APIC Description Table, 5.2.12.
    Madt,
    /// Fixed ACPI Description Table, 5.2.9.
    Fadt,
}

impl Name {
    /// The signature that the table begins with. The RSDP's is of twice the length: its first half.
    pub(super) const fn signature(self) -> [u8; 4] {
        *match self {
            Self::Rsdp => b"RSD ",
            Self::Rsdt => b"RSDT",
            Self::Xsdt => b"XSDT",
            Self::Madt => b"APIC",
            Self::Fadt => b"FACP",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsdp => "RSDP",
            Self::Rsdt => "RSDT",
            Self::Xsdt => "XSDT",
            Self::Madt => "MADT",
            Self::Fadt => "FADT",
        })
    }
}

/// Why tables are of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// No RSDP was given, and none is where a BIOS leaves it.
    NoRsdp,
    /// Nothing refers to the table.
    Missing(Name),
    /// A table is at an address that cannot be read, in whole or in part.
    Unreadable {
        /// Which.
        table: Name,
        /// Where it begins.
        address: u64,
    },
    /// Something else is where the table should be.
    Signature {
        /// Which.
        table: Name,
        /// Where it should be.
        address: u64,
    },
    /// The table's bytes do not sum up to zero.
    Checksum {
        /// Which.
        table: Name,
        /// Where it begins.
        address: u64,
    },
    /// The table is shorter than what it must hold, or longer than what is read.
    Length {
        /// Which.
        table: Name,
        /// Its length in bytes, as it says itself.
        length: u32,
    },
    /// An entry of the MADT is too short for its type, or reaches past the table's end.
    Entry {
        /// Where it begins in the table.
        offset: u64,
        /// Its type.
        kind: u8,
        /// Its length in bytes, as it says itself.
        length: u8,
    },
    /// The MADT lists no processor that is enabled and has a usable APIC id.
    NoProcessor {
        /// How many it lists.
        listed: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoRsdp => {
                f.write_str("no ACPI tables: no RSDP was given, and none is in the EBDA or at E0000H-FFFFFH")
            }
            Self::Missing(table) => write!(f, "the ACPI tables have no {table}"),
            Self::Unreadable { table, address } => write!(f, "ACPI's {table} at {address:#x} cannot be read"),
            Self::Signature { table, address } => {
                write!(f, "there is no {table} at {address:#x}, where ACPI says it is")
            }
            Self::Checksum { table, address } => {
                write!(f, "ACPI's {table} at {address:#x} is damaged: its checksum is wrong")
            }
            Self::Length { table, length } => write!(f, "ACPI's {table} cannot be {length} bytes long"),
            Self::Entry { offset, kind, length } => {
                write!(
                    f,
                    "ACPI's MADT is damaged: its entry at byte {offset}, of type {kind}, cannot be {length} bytes long"
                )
            }
            Self::NoProcessor { listed } => {
                write!(f, "ACPI's MADT has no enabled processor with a usable APIC id ({listed} listed)")
            }
        }
    }
}

impl core::error::Error for Error {}
