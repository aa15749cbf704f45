//! From a door to the guest's first instruction: what there is, what is wanted, and an address space of it.

use crate::bell;
use crate::console::Console;
use crate::cpu;
use crate::efi;
use crate::frequency;
use crate::guest::{self, Ids, Modes, Prepared};
use crate::out::Out;
use crate::platform;
use crate::power::{self, Power};
use crate::run::Run;
use crate::space::{self, IDENTITY_END};
use crate::start::Door;
use crate::words;
use core::arch::asm;
use guest_stub::abi::{self, area};
use kipi_standalone::acpi;
use kipi_standalone::memory::Physical;
use kipi_standalone::plan::{self, Offers};
use kipi_standalone::records::{RECORDS_VERSION, Record, clip};
use kipi_standalone::{multiboot2, pvh};

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

/// Never returns: the guest runs, and calls [`bell::bell`].
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
    let prepared = guest::prepare(&mut found.memory, &ids, &plan, modes, khz);
    let Prepared { root, entry } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => give_up!(out, &power, "{error}"),
    };
    bell::set(Run::new(out, plan, offers, khz, power));
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
