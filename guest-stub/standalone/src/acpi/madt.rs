//! MADT, 5.2.12: the processors and the I/O APICs.

use super::error::Error;
use super::table::Table;
use crate::memory::Physical;
use guest_stub::abi::{APIC_IDS_END, MAX_VCPUS};

/// The processors that can be started, by their APIC ids.
#[derive(Debug, Clone)]
pub struct Processors {
    ids: [u32; MAX_VCPUS],
    count: usize,
    /// One bit for each id below [`APIC_IDS_END`]: whether an enabled processor has it.
    seen: [u64; APIC_IDS_END as usize / 64],
    /// How many entries the MADT has for processors, whatever they say.
    pub listed: u32,
    /// How many of them are enabled and name an APIC id. One that is named twice counts once, if it is below
    /// [`APIC_IDS_END`].
    pub enabled: u32,
    /// How many are not enabled, but may become so while the system runs (Online Capable). INIT and SIPI do not start
    /// them.
    pub online_capable: u32,
    /// How many of the enabled ones [`Self::ids`] leaves out: those past the first [`MAX_VCPUS`], and those of an APIC id
    /// of [`APIC_IDS_END`] or above, which the guest's ABI does not allow.
    pub beyond: u32,
}

impl Processors {
    const NONE: Self = Self {
        ids: [0; MAX_VCPUS],
        count: 0,
        seen: [0; APIC_IDS_END as usize / 64],
        listed: 0,
        enabled: 0,
        online_capable: 0,
        beyond: 0,
    };

    /// The APIC ids of the enabled processors, in the MADT's order, each once.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.count]
    }

    /// Those of them that can be reached in x2APIC mode only: the xAPIC's ids end before 255, its broadcast (SDM Vol. 3A
    /// 12.6.2.1).
    pub fn beyond_xapic(&self) -> impl Iterator<Item = u32> {
        self.ids().iter().copied().filter(|&id| id >= XAPIC_NONE)
    }

    fn add(&mut self, entry: Entry) {
        self.listed += 1;
        let Entry { id: Some(id), flags } = entry else { return };
        if flags & ENABLED == 0 {
            self.online_capable += u32::from(flags & ONLINE_CAPABLE != 0);
            return;
        }
        if let Some(seen) = self.seen.get_mut(id as usize / 64) {
            let bit = 1 << (id % 64);
            if *seen & bit != 0 {
                return;
            }
            *seen |= bit;
        }
        self.enabled += 1;
        if self.count < MAX_VCPUS && id < APIC_IDS_END {
            self.ids[self.count] = id;
            self.count += 1;
        } else {
            self.beyond += 1;
        }
    }
}

/// What the MADT says.
#[derive(Debug)]
pub(super) struct Madt {
    pub(super) processors: Processors,
    pub(super) local_apic: u64,
}

const LOCAL_APIC: u64 = 36;
const ENTRIES: u64 = 44;

// Types of entries.
const PROCESSOR_LOCAL_APIC: u8 = 0;
const IO_APIC: u8 = 1;
const LOCAL_APIC_ADDRESS_OVERRIDE: u8 = 5;
const PROCESSOR_LOCAL_X2APIC: u8 = 9;

// Flags of processors, 5.2.12.2.
const ENABLED: u32 = 1;
const ONLINE_CAPABLE: u32 = 2;

/// What stands for no processor in an entry of the xAPIC's, and the lowest id that an x2APIC's entry may have beside them.
const XAPIC_NONE: u32 = 0xFF;
/// What stands for no processor in an entry of the x2APIC's.
const X2APIC_NONE: u32 = u32::MAX;

pub(super) fn read(table: &Table, memory: &impl Physical) -> Result<Madt, Error> {
    let mut local_apic = u64::from(u32::from_le_bytes(table.needed(LOCAL_APIC, memory)?));
    let mut processors = Processors::NONE;
    let mut xapic = false;
    each(table, memory, |entry| {
        if let Item::LocalApic(entry) = entry {
            xapic |= entry.id.is_some() && entry.flags & ENABLED != 0;
        }
    })?;
    each(table, memory, |entry| match entry {
        Item::LocalApic(entry) => processors.add(entry),
        // Where processors have entries of the xAPIC's, those of the x2APIC's are for ids of 255 and above only
        // (5.2.12.12). Firmware that lists others of them does so by mistake, and Linux ignores them, too.
        Item::LocalX2apic(entry) => processors.add(match entry.id {
            Some(id) if xapic && id < XAPIC_NONE => Entry { id: None, ..entry },
            _ => entry,
        }),
        Item::Address(address) => local_apic = address,
        Item::IoApic(_) => {}
    })?;
    if processors.count == 0 {
        return Err(Error::NoProcessor { listed: processors.listed });
    }
    Ok(Madt { processors, local_apic })
}

/// Calls `with` with the address of each I/O APIC's registers (5.2.12.3). The table has been read.
pub(super) fn each_io_apic(table: &Table, memory: &impl Physical, mut with: impl FnMut(u32)) {
    let of_any = |item| {
        if let Item::IoApic(address) = item {
            with(address);
        }
    };
    // What could be read once can be read again.
    let _ = each(table, memory, of_any);
}

/// An entry that counts.
enum Item {
    LocalApic(Entry),
    LocalX2apic(Entry),
    Address(u64),
    IoApic(u32),
}

/// A processor's entry, without its id where it has none.
#[derive(Clone, Copy)]
struct Entry {
    id: Option<u32>,
    flags: u32,
}

/// Calls `with` with each entry of a type that counts, in the table's order.
fn each(table: &Table, memory: &impl Physical, mut with: impl FnMut(Item)) -> Result<(), Error> {
    let mut offset = ENTRIES;
    // A single byte at the end is no entry.
    while let Some([kind, length]) = table.field(offset, memory) {
        let needed = match kind {
            PROCESSOR_LOCAL_APIC => 8,
            IO_APIC | LOCAL_APIC_ADDRESS_OVERRIDE => 12,
            PROCESSOR_LOCAL_X2APIC => 16,
            _ => 2,
        };
        let end = offset + u64::from(length);
        if length < needed || end > table.length() {
            return Err(Error::Entry { offset, kind, length });
        }
        match kind {
            PROCESSOR_LOCAL_APIC => {
                let [id] = table.needed(offset + 3, memory)?;
                let flags = u32::from_le_bytes(table.needed(offset + 4, memory)?);
                with(Item::LocalApic(Entry { id: Some(id.into()).filter(|&id| id != XAPIC_NONE), flags }));
            }
            IO_APIC => with(Item::IoApic(u32::from_le_bytes(table.needed(offset + 4, memory)?))),
            LOCAL_APIC_ADDRESS_OVERRIDE => {
                with(Item::Address(u64::from_le_bytes(table.needed(offset + 4, memory)?)));
            }
            PROCESSOR_LOCAL_X2APIC => {
                let id = u32::from_le_bytes(table.needed(offset + 4, memory)?);
                let flags = u32::from_le_bytes(table.needed(offset + 8, memory)?);
                with(Item::LocalX2apic(Entry { id: Some(id).filter(|&id| id != X2APIC_NONE), flags }));
            }
            _ => {}
        }
        offset = end;
    }
    Ok(())
}
