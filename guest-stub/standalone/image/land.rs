//! From a door to the guest's first instruction: what there is, what is wanted, and an address space of it.

use crate::bell;
use crate::console::Console;
use crate::cpu;
use crate::efi;
use crate::guest::{self, Prepared};
use crate::machine::{self, Machine};
use crate::out::Out;
use crate::power::{self, Power};
use crate::quiet;
use crate::run::Run;
use crate::space::{self, IDENTITY_END};
use crate::start::Door;
use crate::words;
use core::arch::asm;
use core::fmt;
use guest_stub::abi::{self, area};
use kipi_standalone::boot::{self, Found};
use kipi_standalone::memory::Physical;
use kipi_standalone::plan::{self, End, Plan};
use kipi_standalone::records::{RECORDS_VERSION, Record, clip};
use kipi_standalone::{acpi, multiboot2, pvh};

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

/// Why the guest is not started.
enum Error<'a> {
    Pvh(pvh::Error),
    Multiboot2(multiboot2::Error),
    Efi(kipi_standalone::efi::Error),
    CommandLine,
    Plan(plan::Error<'a>),
    Machine(machine::Error),
    Pending,
    Guest(guest::Error),
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pvh(error) => error.fmt(f),
            Self::Multiboot2(error) => error.fmt(f),
            Self::Efi(error) => error.fmt(f),
            Self::CommandLine => {
                write!(f, "the command line has more than {} bytes: what it ends with is lost", boot::LONGEST)
            }
            Self::Plan(error) => error.fmt(f),
            Self::Machine(error) => error.fmt(f),
            Self::Pending => {
                f.write_str("an interrupt of firmware's is pending in the local APIC, and cannot be removed")
            }
            Self::Guest(error) => error.fmt(f),
        }
    }
}

/// Never returns: the guest runs, and calls [`bell::bell`].
pub(crate) fn run(door: Door, information: u64) -> ! {
    let found = find(door, information);
    let command_line = found.as_ref().map(|found| found.command_line.clone()).unwrap_or_default();
    let command_line = words::of(&command_line);
    let mut out = open(door, command_line);
    let mut power = Power::of(End::chosen_by(command_line), None).unwrap_or(Power::Halt);
    match found.and_then(|found| prepare(found, door, command_line, &mut out, &mut power)) {
        Ok(ready) => start(out, ready, power),
        Err(error) => {
            out.say(format_args!("{error}"));
            // Whoever waits for the image need not wait any longer.
            out.record(&Record::End { blocks: 0 });
            power::end(power, false);
            cpu::halt()
        }
    }
}

/// What the boot loader hands over.
fn find(door: Door, information: u64) -> Result<Found, Error<'static>> {
    match door {
        Door::Pvh => pvh::parse(information, &Low).map_err(Error::Pvh),
        Door::Multiboot2 => multiboot2::parse(information, &Low).map_err(Error::Multiboot2),
        Door::Efi => efi::found().map_err(Error::Efi),
    }
}

/// Opens the console that the command line chooses, and says who speaks.
fn open(door: Door, command_line: &str) -> Out<Console> {
    let wanted = plan::Console::chosen_by(command_line);
    let console = Console::open(wanted);
    let there = console.outputs();
    let mut out = Out::first(console, cpu::tsc());
    out.print(format_args!("\nkipi {}, standalone image, started by {}\n", env!("CARGO_PKG_VERSION"), door.name()));
    if wanted.serial != there.serial {
        out.print(format_args!("kipi: {wanted} does not answer: this is {there}\n"));
    }
    out
}

/// The guest in memory, and what it is to measure.
struct Ready {
    guest: Prepared,
    plan: Plan,
    machine: Machine,
}

/// Prepares everything, and says what it finds. `power`: what is to happen at the end, as far as it is known without ACPI's tables; and
/// as soon as they are found, by them.
fn prepare<'a>(
    mut found: Found,
    door: Door,
    command_line: &'a str,
    out: &mut Out<Console>,
    power: &mut Power,
) -> Result<Ready, Error<'a>> {
    let (start, end) = space::image();
    found.memory.reserve(start, end);
    out.record(&Record::Start {
        abi: RECORDS_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        door: door.name(),
        command_line: clip(command_line, 300),
    });
    let tables = acpi::find(found.rsdp, &Low);
    match Power::of(End::chosen_by(command_line), machine::fixed(&tables)) {
        Some(wanted) => *power = wanted,
        None => out.say(format_args!(
            "end=acpi: ACPI's FADT has no reset register in a port or in memory below 4 GiB: the machine halts at the end"
        )),
    }
    if found.command_line.is_truncated() {
        return Err(Error::CommandLine);
    }
    let plan = plan::parse(command_line).map_err(Error::Plan)?;
    let mut machine = Machine::look(tables, found.memory.bytes() / 1024).map_err(Error::Machine)?;
    let modes = machine.follow(&plan).map_err(Error::Machine)?;
    machine.tell(out);
    if !quiet::make(machine.tables.as_ref().ok(), &Low) {
        return Err(Error::Pending);
    }
    let guest = guest::prepare(&mut found.memory, &machine.ids, &plan, modes, machine.frequency.khz);
    Ok(Ready { guest: guest.map_err(Error::Guest)?, plan, machine })
}

/// Starts the guest.
fn start(out: Out<Console>, ready: Ready, power: Power) -> ! {
    let Ready { guest: Prepared { root, entry }, plan, machine } = ready;
    bell::set(Run::new(out, plan, machine.offers, machine.frequency.khz, power));
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
