//! A hostile guest: every processor does random things to its local APIC, to the VMM's ports and to memory.
//!
//! The guest's own rules do not hold here, and nothing is restored afterwards: the VMM discards the machine. Accesses that end
//! a machine at once (to a port or an address where nothing is) are rare, so that a run gets far.

use super::faulting;
use crate::activity;
use crate::cpu::msr::{IA32_APIC_BASE, IA32_TSC_DEADLINE};
use crate::cpu::{flags, msr, port, tables, tsc};
use crate::processor::Private;
use crate::routes;
use crate::shared;
use core::arch::{asm, global_asm};
use guest_stub::abi::command::Spray;
use guest_stub::abi::{self, GuestRoute, Report, Status};
use guest_stub::random::SplitMix64;

unsafe extern "C" {
    /// An interrupt that nobody knows. It gets no EOI here: those are random, too.
    pub(crate) fn hostile_entry();
}

global_asm!(".global hostile_entry", "hostile_entry:", "iretq");

/// Random numbers that find reserved bits and edges of ranges.
struct Random(SplitMix64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0.next()
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Any value, a small one, or a single bit: reserved bits are found one by one.
    fn value(&mut self) -> u64 {
        match self.below(4) {
            0 => self.next(),
            1 => self.below(0x200),
            2 => 1 << self.below(64) | self.below(0x100),
            _ => self.next() & 0xFF00_0000_000C_CFFF,
        }
    }
}

/// vCPU 0's part. `None`: the command is not valid.
pub(crate) fn lead(private: &'static Private, processors: usize, command: &Spray) -> Option<Report> {
    let route = GuestRoute::from_wire(command.route)?;
    // SAFETY: vCPU 0 alone does this.
    unsafe { tables::fill_gates(hostile_entry) };
    activity::announce(private, processors);
    spray(private, route, command);
    Some(activity::report(Status::Done))
}

/// Another processor's part.
pub(crate) fn follow(private: &'static Private, command: &Spray) {
    if let Some(route) = GuestRoute::from_wire(command.route) {
        spray(private, route, command);
    }
}

/// Random acts until the time is over. Ends with interrupts off. Every vector has a gate.
fn spray(private: &'static Private, route: GuestRoute, command: &Spray) {
    routes::mode(route).enter(private);
    let until = tsc::now().wrapping_add(command.duration);
    flags::disable_interrupts();
    let mut random = Random(SplitMix64(u64::from(command.seed) << 32 | private.index as u64));
    while tsc::now() < until {
        act(&mut random, route);
    }
}

fn act(random: &mut Random, route: GuestRoute) {
    match random.below(64) {
        0..24 if route != GuestRoute::XApic => write_msr(0x800 + random.below(0x40) as u32, random.value()),
        24..30 if route != GuestRoute::XApic => read_msr(0x800 + random.below(0x42) as u32),
        // SAFETY: the page of the local APIC's registers is mapped, and nothing else lies there.
        0..30 => unsafe {
            let register = (abi::XAPIC_BASE + 16 * random.below(0x40)) as *mut u32;
            if random.one_in(4) { _ = register.read_volatile() } else { register.write_volatile(random.value() as u32) }
        },
        30..40 => send(random, route),
        40..44 if route == GuestRoute::XApic => {
            // SAFETY: as above; the EOI register.
            unsafe { ((abi::XAPIC_BASE + 0xB0) as *mut u32).write_volatile(0) };
        }
        40..44 => write_msr(0x80B, 0),
        44..48 => set_cr8(random.below(16)),
        48..52 => write_msr(IA32_TSC_DEADLINE, tsc::now().wrapping_add(random.below(100_000))),
        52 => write_msr(random.next() as u32, random.next()),
        53 => read_msr(random.next() as u32),
        54 if random.one_in(8) => write_msr(IA32_APIC_BASE, msr::read(IA32_APIC_BASE) ^ 1 << random.below(64)),
        55 if random.one_in(if route == GuestRoute::XApic { 4 } else { 1024 }) => {
            let access = (abi::XAPIC_BASE + random.below(0x1000 - 8)) as *mut u8;
            any_width(random, access);
        }
        56 if random.one_in(64) => write_memory(random),
        57 if random.one_in(4) => {
            let word = random.below(4) << 16 | random.below(0x100);
            let word = if random.one_in(256) { random.next() } else { word };
            port::write(abi::PORT_MSI, word as u32);
        }
        58 if random.one_in(256) => port::write(abi::PORT_DOORBELL + random.below(0x20) as u16, random.next() as u32),
        // SAFETY: nothing relies on IF here, and every vector has a gate.
        59 => unsafe { asm!("sti", "nop", "nop", options(nostack)) },
        // SAFETY: as above.
        60 => unsafe { asm!("cli", options(nostack)) },
        // Somebody wakes it up, or the timer does, or nobody.
        // SAFETY: as above.
        61 if random.one_in(16) => unsafe { asm!("sti", "hlt", options(nostack)) },
        _ => {}
    }
}

/// A command of this route's own kind, to somebody who is there, or to anybody.
fn send(random: &mut Random, route: GuestRoute) {
    let low = random.next() & 0x000C_CFFF;
    // INIT and SIPI end most processors' part in this.
    let low = if random.one_in(64) { low } else { low & !0x700 | random.below(5) << 8 };
    let destination = if random.one_in(4) { random.next() as u32 } else { shared::apic_id(random.below(4) as usize) };
    if route == GuestRoute::XApic {
        let page = abi::XAPIC_BASE as *mut u32;
        // SAFETY: as in `act`; the ICR's high half lies at 0x310, its low one at 0x300.
        unsafe {
            page.byte_add(0x310).write_volatile(destination << 24);
            page.byte_add(0x300).write_volatile(low as u32);
        }
    } else {
        write_msr(0x830, u64::from(destination) << 32 | low);
    }
}

/// An access of one, two, four or eight bytes, where there may be a register.
fn any_width(random: &mut Random, place: *mut u8) {
    let value = random.next();
    // SAFETY: the caller's place is mapped, eight bytes of it; in assembly, since it need not be aligned.
    unsafe {
        match random.below(5) {
            0 => asm!("mov [{}], {}", in(reg) place, in(reg_byte) value as u8, options(nostack)),
            1 => asm!("mov [{}], {:x}", in(reg) place, in(reg) value, options(nostack)),
            2 => asm!("mov [{}], {:e}", in(reg) place, in(reg) value, options(nostack)),
            3 => asm!("mov [{}], {}", in(reg) place, in(reg) value, options(nostack)),
            _ => asm!("mov {}, [{}]", out(reg) _, in(reg) place, options(nostack)),
        }
    }
}

/// A write to what the VMM reads, or to what this or another processor lives on.
fn write_memory(random: &mut Random) {
    let area = abi::vcpu_area(random.below(4) as usize);
    let start = match random.below(8) {
        0..3 => abi::COMMAND_PAGE,
        3..5 => area + abi::area::USER,
        5 => area + abi::area::TALLY,
        6 => area + abi::area::RING,
        _ => area + abi::area::PRIVATE,
    };
    let place = start + random.below(abi::PAGE - 8);
    any_width(random, place as *mut u8);
}

fn write_msr(msr: u32, value: u64) {
    // A value that is refused is as good as one that is not.
    let _ = faulting::write_msr(msr, value);
}

fn read_msr(msr: u32) {
    let _ = faulting::read_msr(msr);
}

fn set_cr8(value: u64) {
    // SAFETY: changes which interrupts come, and none does.
    unsafe { asm!("mov cr8, {}", in(reg) value, options(nostack)) };
}
