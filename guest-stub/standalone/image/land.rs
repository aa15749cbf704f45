//! From a door to the guest's first instruction: what there is, what is wanted, and an address space of it.

use crate::console::Console;
use crate::cpu;
use crate::efi;
use crate::frequency;
use crate::out::Out;
use crate::platform;
use crate::power::{self, Power};
use crate::run::{self, Run};
use crate::space::{self, IDENTITY_END, Space};
use crate::start::Door;
use crate::{trampoline, words};
use core::arch::asm;
use elf::ElfBytes;
use elf::abi::PT_LOAD;
use elf::endian::LittleEndian;
use guest_stub::abi::cell::Route;
use guest_stub::abi::{self, Boot, ImageHeader, MAX_VCPUS, PAGE, area};
use guest_stub::paging::Access;
use kipi_standalone::acpi;
use kipi_standalone::memory::{Below, Physical};
use kipi_standalone::plan::{self, Offers, Plan, Planned};
use kipi_standalone::records::{RECORDS_VERSION, Record, clip};
use kipi_standalone::{multiboot2, pvh};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The guest's image, which knows nothing of where it is.
static GUEST: &[u8] = include_bytes!(env!("KIPI_GUEST_IMAGE"));

/// Memory by its physical address, as the start code maps it.
struct Low;

impl Physical for Low {
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        if address.checked_add(bytes.len() as u64).is_none_or(|end| end > IDENTITY_END) {
            return false;
        }
        for (offset, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: below IDENTITY_END everything is mapped to itself, and what is no memory reads as ones.
            *byte = unsafe { ((address + offset as u64) as *const u8).read_volatile() };
        }
        true
    }
}

/// Ends it with a line that says why.
macro_rules! give_up {
    ($out:expr, $power:expr, $($why:tt)+) => {{
        $out.say(format_args!($($why)+));
        power::end($power, false);
        cpu::halt()
    }};
}

/// Never returns: the guest runs, and calls [`run::bell`].
pub(crate) fn run(door: Door, information: u64) -> ! {
    let mut out = Out::new(Console::open());
    out.print(format_args!("\nkipi {}, standalone image, started by {}\n", env!("CARGO_PKG_VERSION"), door.name()));
    let found = match door {
        Door::Pvh => pvh::parse(information, &Low).map_err(|error| out.say(format_args!("{error}"))),
        Door::Multiboot2 => multiboot2::parse(information, &Low).map_err(|error| out.say(format_args!("{error}"))),
        Door::Efi => efi::found().map_err(|error| out.say(format_args!("{error}"))),
    };
    let Ok(mut found) = found else { cpu::halt() };
    let (start, end) = space::image();
    found.memory.reserve(start, end);
    let given = found.command_line.text();
    let command_line = if given.trim().is_empty() { words::stored() } else { given };
    out.record(&Record::Start {
        abi: RECORDS_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        run: cpu::tsc(),
        door: door.name(),
        command_line: clip(command_line, 300),
    });
    let tables = acpi::find(found.rsdp, &Low);
    let fixed = tables.as_ref().ok().and_then(|tables| tables.fixed.as_ref().ok());
    let plan = match plan::parse(command_line) {
        Ok(plan) => plan,
        Err(error) => give_up!(out, &Power::HALT, "{error}"),
    };
    out.choose(plan.console);
    let power = Power { end: plan.end, fixed: fixed.copied() };
    let own = platform::apic_id();
    let mut ids = Ids::of(own);
    let listed = match &tables {
        Ok(tables) => {
            tables.processors.ids().iter().for_each(|&id| ids.add(id));
            tables.processors.listed
        }
        Err(error) => {
            out.say(format_args!("{error}: this processor alone is used"));
            1
        }
    };
    let usable = found.memory.bytes() / 1024;
    let Some(frequency) = frequency::find(fixed.and_then(|fixed| fixed.timer.as_ref()).map(|timer| timer.port)) else {
        give_up!(out, &power, "the TSC's frequency is not known: neither CPUID, KVM's clock, PM timer nor PIT tell it");
    };
    let offers = Offers {
        x2apic: platform::has_x2apic(),
        // Ids that 8 bits cannot hold, or 255 of a broadcast, are no xAPIC's.
        xapic: platform::has_xapic() && ids.all().iter().all(|&id| id < 0xFF),
        processors: ids.count as u32,
    };
    if !offers.x2apic && !offers.xapic {
        give_up!(out, &power, "there are APIC ids above 254, and no x2APIC mode to reach them in");
    }
    let processors = plan.vcpus(offers.processors) as usize;
    if processors > ids.count || processors == 0 {
        give_up!(out, &power, "vcpus={processors}: this machine has {} processors", ids.count);
    }
    ids.keep(processors);
    let modes = Modes::of(&plan, offers);
    if modes.xapic && modes.x2apic && !platform::can_leave_x2apic() {
        give_up!(
            out,
            &power,
            "this local APIC stays disabled once it is: measure route=xapic and the other routes in runs apart"
        );
    }
    out.record(&Record::Platform {
        cpu: clip(platform::brand().text(), 48),
        hypervisor: platform::hypervisor().text(),
        listed,
        processors: processors as u32,
        x2apic: offers.x2apic,
        memory_kib: usable,
    });
    let frequency::Frequency { khz, error_ppm, source } = frequency;
    out.record(&Record::Tsc { khz, error_ppm, source });
    out.print(format_args!(
        "{} · {} processors of {listed} listed · TSC {khz} kHz ± {error_ppm} ppm ({source})\n",
        platform::brand().text(),
        processors
    ));
    // The timer interrupt and the others of the time before have no handler in the guest.
    quieten();
    let prepared = prepare(&mut found.memory, &ids, &plan, modes, khz);
    let Prepared { root, entry } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => give_up!(out, &power, "{error}"),
    };
    run::set(Run::new(out, plan, offers, khz, power));
    // SAFETY: the guest's address space has this image at the same addresses, and its first processor's stack.
    unsafe {
        asm!(
            "mov cr3, {root}",
            "mov rsp, {stack}",
            "jmp {entry}",
            root = in(reg) root,
            stack = in(reg) abi::vcpu_area(0) + area::KERNEL_STACK_TOP,
            entry = in(reg) entry,
            options(noreturn),
        )
    }
}

/// APIC ids, that of this processor first: the guest's vCPU 0.
struct Ids {
    ids: [u32; MAX_VCPUS],
    count: usize,
}

impl Ids {
    fn of(own: u32) -> Self {
        let mut ids = [u32::MAX; MAX_VCPUS];
        ids[0] = own;
        Self { ids, count: 1 }
    }

    fn add(&mut self, id: u32) {
        if self.count < MAX_VCPUS && !self.all().contains(&id) {
            self.ids[self.count] = id;
            self.count += 1;
        }
    }

    /// Leaves out those beyond the first `count`: the guest finds nobody by them.
    fn keep(&mut self, count: usize) {
        self.count = count;
        self.ids[count..].fill(u32::MAX);
    }

    fn all(&self) -> &[u32] {
        &self.ids[..self.count]
    }
}

/// The modes that the guest brings local APICs into.
#[derive(Clone, Copy)]
struct Modes {
    xapic: bool,
    x2apic: bool,
}

impl Modes {
    /// NMIs and the guest's own IPIs are sent in x2APIC mode where there is one, unless all that is measured needs xAPIC mode alone.
    fn of(plan: &Plan, offers: Offers) -> Self {
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
enum Error {
    Memory(space::NoMemory),
    Trampoline,
    Guest,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Memory(space::NoMemory { pages }) => {
                write!(
                    f,
                    "no {} KiB of memory in one piece are left below 4 GiB: fewer processors (vcpus=) need less",
                    pages * 4
                )
            }
            Self::Trampoline => f.write_str("no page below 1 MiB is usable, where processors start"),
            Self::Guest => f.write_str("the guest in this image is damaged"),
        }
    }
}

impl From<space::NoMemory> for Error {
    fn from(error: space::NoMemory) -> Self {
        Self::Memory(error)
    }
}

struct Prepared {
    root: u64,
    entry: u64,
}

/// Builds the guest's address space.
fn prepare(
    memory: &mut kipi_standalone::memory::Map,
    ids: &Ids,
    plan: &Plan,
    modes: Modes,
    khz: u64,
) -> Result<Prepared, Error> {
    let guest = ElfBytes::<LittleEndian>::minimal_parse(GUEST).map_err(|_| Error::Guest)?;
    let segments = guest.segments().ok_or(Error::Guest)?;
    let mut loaded = segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    let header = loaded.find(|segment| segment.p_vaddr == abi::IMAGE).ok_or(Error::Guest)?;
    let header = guest.segment_data(&header).map_err(|_| Error::Guest)?;
    let (header, _) = ImageHeader::read_from_prefix(header).map_err(|_| Error::Guest)?;
    let page = trampoline_page(memory).ok_or(Error::Trampoline)?;
    let mut space = Space::new(memory)?;
    space.map_guest(&header, ids.count)?;
    // Where the trampoline turns paging on.
    if space.translate(page).is_none() {
        space.map(page, page + PAGE, page, Access::Execute)?;
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
        bell: run::bell as *const () as u64,
        init_wait: milliseconds(10),
        sipi_vector: (page >> 12) as u32,
        reserved: 0,
    };
    space.write(abi::COMMAND_PAGE, boot.as_bytes()).ok_or(Error::Guest)?;
    Ok(Prepared { root: space.root, entry: guest.ehdr.e_entry })
}

/// A page below 1 MiB whose address the guest uses for nothing else.
fn trampoline_page(memory: &mut kipi_standalone::memory::Map) -> Option<u64> {
    const MIB: u64 = 1 << 20;
    let is_the_guests =
        |page: u64| [abi::PROBE_RECORD, abi::COMMAND_PAGE, abi::APIC_IDS, abi::TRAMPOLINE].contains(&page);
    // Those that do not fit stay taken.
    (0..8).map_while(|_| memory.take(1, Below(MIB))).find(|&page| !is_the_guests(page))
}

/// Masks what may still interrupt: both PICs, and this local APIC's timer and LINT0, which a PIC may be behind.
fn quieten() {
    const PIC_DATA: [u16; 2] = [0x21, 0xA1];
    const IA32_APIC_BASE: u32 = 0x1B;
    const X2APIC_ENABLE: u64 = 1 << 10;
    const LVT_TIMER: u32 = 0x320;
    const LVT_LINT0: u32 = 0x350;
    const MASKED: u32 = 1 << 16;
    for port in PIC_DATA {
        cpu::outb(port, 0xFF);
    }
    let base = cpu::read_msr(IA32_APIC_BASE);
    for register in [LVT_TIMER, LVT_LINT0] {
        if base & X2APIC_ENABLE != 0 {
            cpu::write_msr(0x800 + (register >> 4), MASKED.into());
        } else {
            let address = (base & 0xF_FFFF_F000) + u64::from(register);
            // SAFETY: the local APIC's registers, which are mapped to themselves below 4 GiB.
            unsafe { (address as *mut u32).write_volatile(MASKED) };
        }
    }
}
