//! Which physical memory may be used.

use super::Span;
use super::ranges::{Full, Ranges};
use guest_stub::abi::PAGE;

#[cfg(test)]
mod tests;

const MIB: u64 = 0x10_0000;

/// What is never used, whatever the map says: the page of the real-mode vector table and the BIOS data area, and the
/// range of video memory and option ROMs. QEMU's microvm lists both as RAM.
const NEVER: [Span; 2] = [Span { start: 0, end: PAGE }, Span { start: 0xA_0000, end: MIB }];

/// What firmware says of a range of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RAM that nobody uses.
    Usable,
    /// Anything else: firmware's own, devices, ACPI tables, defective, not known.
    Reserved,
}

impl Kind {
    /// The kind that an address range type stands for: those of INT 15H, E820H (ACPI specification 6.5, chapter 15), which
    /// the PVH boot ABI (`XEN_HVM_MEMMAP_TYPE_*`) and Multiboot2 (3.6.8) took over. ACPI-reclaimable memory (3) counts
    /// as reserved: it holds the tables, which are still to be read.
    pub const fn of_e820(number: u32) -> Self {
        match number {
            1 => Self::Usable,
            _ => Self::Reserved,
        }
    }
}

/// An upper bound: the first address that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Below(pub u64);

/// Which physical memory may be used: what firmware gives, without what it or anybody else keeps. About 4 KiB large.
///
/// Ranges come in any order and may overlap; what is reserved once is never usable. A map of more than 128 separate
/// ranges loses usable memory, never reserved memory: the shortest usable ranges are left out, and the narrowest gaps
/// between reserved ones are reserved, too.
#[derive(Debug, Clone)]
pub struct Map {
    given: Ranges,
    taken: Ranges,
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}

impl Map {
    /// A map without usable memory.
    pub fn new() -> Self {
        let (given, mut taken) = (Ranges::new(Full::Drop), Ranges::new(Full::Fuse));
        for span in NEVER {
            taken.insert(span);
        }
        Self { given, taken }
    }

    /// An entry of firmware's map. One that would reach past the last address ends there.
    pub fn add(&mut self, kind: Kind, start: u64, length: u64) {
        let span = Span { start, end: start.saturating_add(length) };
        match kind {
            Kind::Usable => self.given.insert(span),
            Kind::Reserved => self.taken.insert(span),
        }
    }

    /// Takes the addresses from `start` up to, but without, `end`, whether they are usable or not.
    pub fn reserve(&mut self, start: u64, end: u64) {
        self.taken.insert(Span { start, end });
    }

    /// Takes `pages` contiguous pages of 4 KiB that end at or below the bound, and returns the address of the first. They
    /// are the lowest that are free from 1 MiB up; a bound of 1 MiB or less asks for memory below it. `None` where no
    /// such pages are free, and for zero pages.
    pub fn take(&mut self, pages: u64, Below(below): Below) -> Option<u64> {
        let bytes = pages.checked_mul(PAGE).filter(|&bytes| bytes != 0)?;
        let lowest = if below > MIB { MIB } else { 0 };
        let taken = self.usable().find_map(|span| {
            let start = span.start.max(lowest).checked_next_multiple_of(PAGE)?;
            let end = start.checked_add(bytes)?;
            (end <= span.end.min(below)).then_some(Span { start, end })
        })?;
        self.taken.insert(taken);
        Some(taken.start)
    }

    /// What is usable and not yet taken, in rising order; no span touches another. Spans need not begin or end at pages.
    pub fn usable(&self) -> impl Iterator<Item = Span> {
        core::iter::successors(self.usable_from(0), |span| self.usable_from(span.end))
    }

    /// How many bytes are usable and not yet taken.
    pub fn bytes(&self) -> u64 {
        self.usable().map(Span::bytes).sum()
    }

    fn usable_from(&self, from: u64) -> Option<Span> {
        self.given.spans().iter().find_map(|given| self.usable_within(Span { start: given.start.max(from), ..*given }))
    }

    /// The lowest span of `given` that is not taken.
    fn usable_within(&self, given: Span) -> Option<Span> {
        let Span { mut start, mut end } = given;
        for taken in self.taken.spans() {
            if taken.start > start {
                end = end.min(taken.start);
                break;
            }
            start = start.max(taken.end);
        }
        (start < end).then_some(Span { start, end })
    }
}
