//! The pointer and the table that all tables are found by: RSDP, and RSDT or XSDT.

use super::error::{Error, Name};
use super::table::{self, HEADER, Table};
use crate::memory::Physical;

/// Where the BIOS data area holds the EBDA's segment.
const EBDA_SEGMENT: u64 = 0x40E;
/// How much of the EBDA may hold the RSDP.
const EBDA_SEARCHED: u64 = 0x400;
/// Where a BIOS may leave the RSDP otherwise.
const BIOS: core::ops::Range<u64> = 0xE_0000..0x10_0000;
/// The RSDP is at a multiple of it.
const STEP: usize = 16;
/// Length of the RSDP that ACPI 1.0 defines, which the first checksum is for.
const RSDP_1: u64 = 20;
/// Length of the RSDP since, which the second checksum is for.
const RSDP_2: u64 = 36;

/// The table that refers to all others.
#[derive(Debug)]
pub(super) struct Root {
    table: Table,
    /// Whether it is the XSDT, whose references have 8 bytes, rather than the RSDT, whose have 4.
    extended: bool,
}

/// Finds the root table by the RSDP at `rsdp`, or else by one that a BIOS left.
pub(super) fn find(rsdp: Option<u64>, memory: &impl Physical) -> Result<Root, Error> {
    let given = rsdp.map(|address| Rsdp::at(address, memory));
    if let Some(Ok(rsdp)) = given {
        return rsdp.root(memory);
    }
    match (search(memory), given) {
        (Some(found), _) => found.root(memory),
        (None, Some(Err(damaged))) => Err(damaged),
        (None, _) => Err(Error::NoRsdp),
    }
}

/// What an RSDP refers to; zero for none.
#[derive(Debug)]
struct Rsdp {
    rsdt: u32,
    xsdt: u64,
}

impl Rsdp {
    fn at(address: u64, memory: &impl Physical) -> Result<Self, Error> {
        let (table, unreadable) = (Name::Rsdp, Error::Unreadable { table: Name::Rsdp, address });
        if memory.array(address, 0).ok_or(unreadable)? != *b"RSD PTR " {
            return Err(Error::Signature { table, address });
        }
        if table::sum(address, RSDP_1, memory).ok_or(unreadable)? != 0 {
            return Err(Error::Checksum { table, address });
        }
        let [revision] = memory.array(address, 15).ok_or(unreadable)?;
        let rsdt = memory.u32(address, 16).ok_or(unreadable)?;
        if revision < 2 {
            return Ok(Self { rsdt, xsdt: 0 });
        }
        if table::sum(address, RSDP_2, memory).ok_or(unreadable)? != 0 {
            return Err(Error::Checksum { table, address });
        }
        Ok(Self { rsdt, xsdt: memory.u64(address, 24).ok_or(unreadable)? })
    }

    /// The XSDT where there is one that is whole, the RSDT otherwise. Of two that are of no use, the XSDT says why.
    fn root(&self, memory: &impl Physical) -> Result<Root, Error> {
        let xsdt = (self.xsdt != 0).then(|| Table::at(self.xsdt, Name::Xsdt, memory));
        if let Some(Ok(table)) = xsdt {
            return Ok(Root { table, extended: true });
        }
        let rsdt = (self.rsdt != 0).then(|| Table::at(self.rsdt.into(), Name::Rsdt, memory));
        match (rsdt, xsdt) {
            (Some(Ok(table)), _) => Ok(Root { table, extended: false }),
            (_, Some(Err(error))) | (Some(Err(error)), _) => Err(error),
            (None, _) => Err(Error::Missing(Name::Rsdt)),
        }
    }
}

fn search(memory: &impl Physical) -> Option<Rsdp> {
    let segment = memory.array(EBDA_SEGMENT, 0).map_or(0, u16::from_le_bytes);
    let ebda = u64::from(segment) << 4;
    // A segment below that of the BIOS data area is none.
    let ebda = if ebda > 0x400 { ebda..ebda + EBDA_SEARCHED } else { 0..0 };
    ebda.step_by(STEP).chain(BIOS.step_by(STEP)).find_map(|address| Rsdp::at(address, memory).ok())
}

impl Root {
    /// The first table of that name that the root refers to.
    pub(super) fn table(&self, memory: &impl Physical, name: Name) -> Result<Table, Error> {
        let width = if self.extended { 8 } else { 4 };
        let mut references = (HEADER..self.table.length()).step_by(width).map_while(|at| {
            if self.extended {
                self.table.field(at, memory).map(u64::from_le_bytes)
            } else {
                self.table.field(at, memory).map(|reference| u32::from_le_bytes(reference).into())
            }
        });
        let named = |&address: &u64| address != 0 && table::signature(address, memory) == Some(name.signature());
        let address = references.find(named).ok_or(Error::Missing(name))?;
        Table::at(address, name, memory)
    }
}
