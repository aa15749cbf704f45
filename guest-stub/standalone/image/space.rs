//! The guest's address space, made of whatever memory there is; with this image in it, which the guest calls.

use core::arch::asm;
use guest_stub::abi::{self, ImageHeader, PAGE};
use guest_stub::paging::{self, ADDRESS, Access, ENTRIES, PRESENT};
use kipi_standalone::memory::{Below, Map};

unsafe extern "C" {
    static __image_start: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __image_end: u8;
    static start_tables: [u64; ENTRIES];
}

/// The addresses of a symbol of layout.ld.
macro_rules! address {
    ($symbol:ident) => {
        // Only the symbol's address is used.
        (&raw const $symbol) as u64
    };
}

/// What lies below it can be written by its physical address: the start code's tables map it so.
pub(crate) const IDENTITY_END: u64 = 1 << 32;

/// Why there is no address space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoMemory {
    /// Pages that were wanted in one piece.
    pub(crate) pages: u64,
}

/// Where something of this image is in physical memory.
pub(crate) fn physical(address: u64) -> u64 {
    // SAFETY: the start code's tables are there for as long as the image is; the table of the image's 2 MiB is the last.
    let first = unsafe { *(&raw const start_tables).add(LAST_TABLE).cast::<u64>() } & ADDRESS;
    first + (address - address!(__image_start))
}

/// The physical address of the start code's PML4.
pub(crate) fn start_root() -> u64 {
    physical((&raw const start_tables) as u64)
}

/// The number of the start code's table that maps the image.
const LAST_TABLE: usize = 8;

/// This image in physical memory, from and to.
pub(crate) fn image() -> (u64, u64) {
    (physical(address!(__image_start)), physical(address!(__image_end)))
}

/// Page tables in the making.
pub(crate) struct Space<'m> {
    memory: &'m mut Map,
    /// Physical address of the PML4.
    pub(crate) root: u64,
}

impl<'m> Space<'m> {
    /// With nothing in it but this image.
    pub(crate) fn new(memory: &'m mut Map) -> Result<Self, NoMemory> {
        let root = zeroed(memory, 1)?;
        let mut space = Self { memory, root };
        let parts = [
            (address!(__image_start), address!(__rodata_start), Access::UserExecute),
            (address!(__rodata_start), address!(__data_start), Access::UserRead),
            (address!(__data_start), address!(__image_end), Access::UserWrite),
        ];
        for (start, end, access) in parts {
            space.map(start, end, physical(start), access)?;
        }
        Ok(space)
    }

    /// All that a guest of `processors` needs, each range in fresh, zeroed memory.
    pub(crate) fn map_guest(&mut self, header: &ImageHeader, processors: usize) -> Result<(), NoMemory> {
        for (start, end, access) in paging::ranges(header, processors) {
            let physical = match access {
                Access::Device => start,
                Access::Read
                | Access::Write
                | Access::Execute
                | Access::UserRead
                | Access::UserWrite
                | Access::UserExecute
                | Access::PagedOut => zeroed(self.memory, (end - start) / PAGE)?,
            };
            // Its bell, at CPL3, reads reports and writes commands.
            let access = if start == abi::COMMAND_PAGE { Access::UserWrite } else { access };
            self.map(start, end, physical, access)?;
        }
        Ok(())
    }

    /// Maps a range to memory in one piece.
    pub(crate) fn map(&mut self, start: u64, end: u64, physical: u64, access: Access) -> Result<(), NoMemory> {
        for offset in (0..end - start).step_by(PAGE as usize) {
            let table = self.table_of(start + offset)?;
            write_entry(table, paging::index(start + offset, 0), (physical + offset) | access.flags());
        }
        Ok(())
    }

    fn table_of(&mut self, address: u64) -> Result<u64, NoMemory> {
        let mut table = self.root;
        for level in [3, 2, 1] {
            let place = paging::index(address, level);
            let entry = read_entry(table, place);
            table = if entry & PRESENT == 0 {
                let fresh = zeroed(self.memory, 1)?;
                write_entry(table, place, paging::table_entry(fresh));
                fresh
            } else {
                entry & ADDRESS
            };
        }
        Ok(table)
    }

    /// The physical address of one of the guest's; `None`: it has no memory there.
    pub(crate) fn translate(&self, address: u64) -> Option<u64> {
        let mut table = self.root;
        for level in [3, 2, 1] {
            let entry = read_entry(table, paging::index(address, level));
            if entry & PRESENT == 0 {
                return None;
            }
            table = entry & ADDRESS;
        }
        let page = read_entry(table, paging::index(address, 0)) & ADDRESS;
        (page != 0).then(|| page + address % PAGE)
    }

    /// Copies bytes to the guest's address `start`, which is mapped. Not there: nothing is written.
    pub(crate) fn write(&self, start: u64, bytes: &[u8]) -> Option<()> {
        let mut address = start;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min((PAGE - address % PAGE) as usize));
            let place = self.translate(address)?;
            // SAFETY: the page is the guest's, which does not run yet, and below IDENTITY_END, where `zeroed` has taken it.
            unsafe { copy(now, place) };
            address += now.len() as u64;
            rest = later;
        }
        Some(())
    }
}

/// Takes pages in one piece, and clears them.
fn zeroed(memory: &mut Map, pages: u64) -> Result<u64, NoMemory> {
    let start = memory.take(pages, Below(IDENTITY_END)).ok_or(NoMemory { pages })?;
    // SAFETY: nobody else has these pages (`Map::take`), and they are mapped to themselves.
    unsafe { clear(start, pages) };
    Ok(start)
}

/// Clears pages, by words: where a hypervisor emulates CPL0, each store takes its time.
///
/// # Safety
/// The pages are mapped, and nobody else's.
unsafe fn clear(start: u64, pages: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep stosq", inout("rdi") start => _, inout("rcx") pages * (PAGE / 8) => _, in("rax") 0,
            options(nostack, preserves_flags));
    }
}

/// Copies bytes, by words for the same reason.
///
/// # Safety
/// There is room at `to`, which is nobody else's.
unsafe fn copy(from: &[u8], to: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep movsq", "mov rcx, {rest}", "rep movsb", rest = in(reg) from.len() % 8,
            inout("rsi") from.as_ptr() => _, inout("rdi") to => _, inout("rcx") from.len() / 8 => _,
            options(nostack, preserves_flags));
    }
}

fn write_entry(table: u64, place: usize, entry: u64) {
    // SAFETY: `table` is a page of `zeroed`, and `place` is below ENTRIES.
    unsafe { (table as *mut u64).add(place).write(entry) };
}

fn read_entry(table: u64, place: usize) -> u64 {
    // SAFETY: as in `write_entry`.
    unsafe { (table as *const u64).add(place).read() }
}
