//! The guest in memory: its address space, its image, and what it is told before its first instruction.

use crate::bell;
use crate::space::{self, Space};
use crate::trampoline;
use core::fmt;
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use guest_stub::abi::cell::Route;
use guest_stub::abi::{self, Boot, ImageHeader, MAX_VCPUS, PAGE};
use guest_stub::paging::Access;
use kipi_standalone::memory::{Below, Map};
use kipi_standalone::plan::{Offers, Plan, Planned};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The guest's image, which knows nothing of where it is.
static GUEST: &[u8] = include_bytes!(env!("KIPI_GUEST_IMAGE"));

/// APIC ids, that of this processor first: the guest's vCPU 0.
pub(crate) struct Ids {
    ids: [u32; MAX_VCPUS],
    pub(crate) count: usize,
}

impl Ids {
    pub(crate) fn of(own: u32) -> Self {
        let mut ids = [u32::MAX; MAX_VCPUS];
        ids[0] = own;
        Self { ids, count: 1 }
    }

    pub(crate) fn add(&mut self, id: u32) {
        if self.count < MAX_VCPUS && !self.all().contains(&id) {
            self.ids[self.count] = id;
            self.count += 1;
        }
    }

    /// Leaves out those beyond the first `count`: the guest finds nobody by them.
    pub(crate) fn keep(&mut self, count: usize) {
        self.count = count;
        self.ids[count..].fill(u32::MAX);
    }

    pub(crate) fn all(&self) -> &[u32] {
        &self.ids[..self.count]
    }
}

/// The modes that the guest brings local APICs into.
#[derive(Clone, Copy)]
pub(crate) struct Modes {
    pub(crate) xapic: bool,
    pub(crate) x2apic: bool,
}

impl Modes {
    /// NMIs and the guest's own IPIs are sent in x2APIC mode where there is one, unless all that is measured needs xAPIC mode alone.
    pub(crate) fn of(plan: &Plan, offers: Offers) -> Self {
        let routes = || {
            plan.cells(offers).filter_map(|planned| match planned {
                Planned::Cell(cell) => Some(cell.route),
                Planned::Skipped(..) => None,
            })
        };
        let xapic = routes().any(|route| route == Route::XApic);
        let is_xapic_enough = xapic && routes().all(|route| matches!(route, Route::XApic | Route::Memory));
        Self { xapic, x2apic: offers.x2apic && !is_xapic_enough }
    }
}

/// Why the guest cannot run.
#[derive(Debug)]
pub(crate) enum Error {
    Memory { pages: u64, processors: usize },
    Trampoline,
    Guest,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { pages, processors } => {
                let way_out =
                    if *processors > 1 { "fewer processors (vcpus=) need less" } else { "this machine has too little" };
                write!(f, "no {} KiB of memory in one piece are left below 4 GiB: {way_out}", pages * 4)
            }
            Self::Trampoline => f.write_str("no page below 1 MiB is usable, where processors start"),
            Self::Guest => f.write_str("the guest in this image is damaged"),
        }
    }
}

/// A guest in memory.
pub(crate) struct Prepared {
    /// Physical address of the PML4.
    pub(crate) root: u64,
    /// Where its first processor starts.
    pub(crate) entry: u64,
}

/// Builds the guest's address space.
pub(crate) fn prepare(memory: &mut Map, ids: &Ids, plan: &Plan, modes: Modes, khz: u64) -> Result<Prepared, Error> {
    let guest = ElfBytes::<LittleEndian>::minimal_parse(GUEST).map_err(|_| Error::Guest)?;
    let segments = guest.segments().ok_or(Error::Guest)?;
    let mut loaded = segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    let header = loaded.find(|segment| segment.p_vaddr == abi::IMAGE).ok_or(Error::Guest)?;
    let header = guest.segment_data(&header).map_err(|_| Error::Guest)?;
    let (header, _) = ImageHeader::read_from_prefix(header).map_err(|_| Error::Guest)?;
    let page = trampoline_page(memory).ok_or(Error::Trampoline)?;
    let no_memory = |space::NoMemory { pages }| Error::Memory { pages, processors: ids.count };
    let mut space = Space::new(memory).map_err(no_memory)?;
    space.map_guest(&header, ids.count).map_err(no_memory)?;
    // Where the trampoline turns paging on.
    if space.translate(page).is_none() {
        space.map(page, page + PAGE, page, Access::Execute).map_err(no_memory)?;
    }
    for segment in segments.iter().filter(|segment| segment.p_type == PT_LOAD) {
        let bytes = guest.segment_data(&segment).map_err(|_| Error::Guest)?;
        // The real-mode code of the VMM's own tests and trampoline has no page where it is not used.
        let is_mapped = space.translate(segment.p_vaddr).is_some();
        if is_mapped && segment.p_vaddr != page {
            space.write(segment.p_vaddr, bytes).ok_or(Error::Guest)?;
        }
    }
    // SAFETY: the page is taken, below 1 MiB, and mapped to itself in both address spaces.
    unsafe { trampoline::write(page, space.root, &header) };
    space.write(abi::APIC_IDS, ids.ids.as_bytes()).ok_or(Error::Guest)?;
    let milliseconds = |time: u64| time * khz;
    let boot = Boot {
        vcpus: ids.count as u32,
        x2apic: modes.x2apic.into(),
        deadline: milliseconds(u64::from(plan.deadline_ms)),
        yield_cpu: 0,
        hyperv: 0,
        pageable_entry: 0,
        bell: bell::bell as *const () as u64,
        init_wait: milliseconds(10),
        sipi_vector: (page >> 12) as u32,
        reserved: 0,
    };
    space.write(abi::COMMAND_PAGE, boot.as_bytes()).ok_or(Error::Guest)?;
    Ok(Prepared { root: space.root, entry: guest.ehdr.e_entry })
}

/// A page below 1 MiB whose address the guest uses for nothing else.
fn trampoline_page(memory: &mut Map) -> Option<u64> {
    const MIB: u64 = 1 << 20;
    let is_the_guests =
        |page: u64| [abi::PROBE_RECORD, abi::COMMAND_PAGE, abi::APIC_IDS, abi::TRAMPOLINE].contains(&page);
    // Those that do not fit stay taken.
    (0..8).map_while(|_| memory.take(1, Below(MIB))).find(|&page| !is_the_guests(page))
}
