//! The guest image as it was built: what the loader, a KVM that emulates, and the interrupt path rely on.

use guest_stub::abi::act::Act;
use guest_stub::abi::{self, Destination, GuestRoute, ImageHeader};
use guest_stub::rendezvous::{Packet, Slot};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
    UsedMemory, UsedRegister,
};
use kipi::config::routes::{self, Route};
use kipi::config::{self, CellId, HostOffers};
use kipi::vm::image::EMBEDDED;
use kipi_tests::code::{demangled, image, instruction_at, no_callee, section, shortest_way, symbol};
use kipi_tests::{run_tests, test};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection, SectionKind};
use std::mem::offset_of;

fn main() -> std::process::ExitCode {
    run_tests()
}

/// Instructions from the first of the interrupt entry to the CALL of the worker, that one included, on the shortest
/// way: the gate is open when the target arrives. The worker's own are not counted.
///
/// Raise it only for a reason: each of them delays every target, and a KVM that emulates CPL0 takes 200 ns and more for
/// it.
const ENTRY_TO_WORKER: usize = 32;

/// A loaded segment.
struct Segment {
    start: u64,
    end: u64,
    writable: bool,
    executable: bool,
}

fn segments() -> Vec<Segment> {
    let image = image();
    let loads = image.elf_program_headers().iter().filter(|header| header.p_type(LittleEndian) == elf::PT_LOAD);
    loads
        .map(|header| {
            let (start, flags) = (header.p_vaddr(LittleEndian), header.p_flags(LittleEndian));
            Segment {
                start,
                end: start + header.p_memsz(LittleEndian),
                writable: flags & elf::PF_W == elf::PF_W,
                executable: flags & elf::PF_X == elf::PF_X,
            }
        })
        .collect()
}

fn decode(bytes: &[u8], address: u64, bits: u32) -> Vec<Instruction> {
    Decoder::with_ip(bits, bytes, address, DecoderOptions::NONE).into_iter().collect()
}

#[test]
fn it_is_a_static_executable_for_fixed_addresses() {
    let image = image();
    let header = image.elf_header();
    assert_eq!(header.e_type(LittleEndian), elf::ET_EXEC);
    assert_eq!(header.e_machine(LittleEndian), elf::EM_X86_64);
    for kind in [elf::PT_DYNAMIC, elf::PT_INTERP, elf::PT_TLS] {
        let found = image.elf_program_headers().iter().any(|header| header.p_type(LittleEndian) == kind);
        assert!(!found, "a program header of type {kind}");
    }
    for table in image.elf_section_table().iter() {
        let kind = table.sh_type.get(LittleEndian);
        assert!(![elf::SHT_REL, elf::SHT_RELA, elf::SHT_DYNAMIC].contains(&kind), "a section of type {kind}");
    }
    assert!(image.dynamic_relocations().is_none_or(|mut relocations| relocations.next().is_none()));
}

#[test]
fn every_segment_lies_where_the_abi_says() {
    let segments = segments();
    let rooms = [
        (abi::TRAMPOLINE, abi::TRAMPOLINE + abi::PAGE),
        (abi::PROBES, abi::PROBES + abi::PROBE_PAGES * abi::PAGE),
        (abi::IMAGE, abi::IMAGE_END),
        (abi::USER_TEXT, abi::USER_TEXT + abi::PAGE),
    ];
    for &Segment { start, end, .. } in &segments {
        let fits = rooms.iter().any(|&(from, to)| (from..to).contains(&start) && end <= to);
        assert!(fits, "{start:#x} to {end:#x} belongs to nobody");
    }
    for (from, _) in rooms {
        assert!(segments.iter().any(|segment| segment.start == from), "nothing is loaded at {from:#x}");
    }
    // Each segment's pages have their own permissions.
    let mut pages: Vec<_> = segments.iter().map(|it| (it.start / abi::PAGE, it.end.div_ceil(abi::PAGE))).collect();
    pages.sort_unstable();
    assert!(pages.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two segments share a page: {pages:x?}");
}

#[test]
fn the_link_script_has_the_abis_addresses() {
    let script = include_str!("../../guest-stub/layout.ld");
    let constant = |name: &str| {
        let line = script.lines().find(|line| line.split_whitespace().next() == Some(name));
        let value = line.and_then(|line| line.split("0x").nth(1)).and_then(|value| value.strip_suffix(';'));
        let value = value.unwrap_or_else(|| panic!("{name} is not in the link script"));
        u64::from_str_radix(value, 16).expect("a hexadecimal number")
    };
    assert_eq!(constant("TRAMPOLINE"), abi::TRAMPOLINE);
    assert_eq!(constant("PROBES"), abi::PROBES);
    assert_eq!(constant("IMAGE"), abi::IMAGE);
    assert_eq!(constant("IMAGE_END"), abi::IMAGE_END);
    assert_eq!(constant("USER_TEXT"), abi::USER_TEXT);
}

#[test]
fn nothing_is_both_writable_and_executable() {
    for segment in segments() {
        assert!(!(segment.writable && segment.executable), "the segment at {:#x}", segment.start);
    }
    assert_eq!(segments().iter().filter(|it| it.executable).count(), 4, "trampoline, probes, text and user text");
    assert_eq!(segments().iter().filter(|it| it.writable).count(), 1, "data");
}

#[test]
fn the_header_tells_the_abi_version_and_the_segments() {
    let offset = kipi_tests::file_offset(EMBEDDED, abi::IMAGE);
    let word = |field: usize| {
        let bytes = &EMBEDDED[offset + field..][..8];
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    };
    assert_eq!(word(offset_of!(ImageHeader, magic)), abi::MAGIC);
    assert_eq!(word(offset_of!(ImageHeader, abi_version)), u64::from(abi::ABI_VERSION), "and `reserved` is zero");
    let (text, data) = (word(offset_of!(ImageHeader, text_start)), word(offset_of!(ImageHeader, data_start)));
    let end = word(offset_of!(ImageHeader, data_end));
    for segment in segments().iter().filter(|segment| (abi::IMAGE..abi::IMAGE_END).contains(&segment.start)) {
        let range = match (segment.executable, segment.writable) {
            (true, _) => text..data,
            (_, true) => data..end,
            _ => abi::IMAGE..text,
        };
        let Segment { start, end, .. } = *segment;
        assert!(range.contains(&start) && end <= range.end, "{start:#x} to {end:#x} in {range:#x?}");
    }
}

/// The image's code by section, the trampoline's in the two modes that it runs in, the probes' in real mode. What is no code, the
/// trampoline's GDT, begins at `trampoline_gdt`.
fn code() -> Vec<Instruction> {
    let image = image();
    let names: Vec<&str> = image
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .map(|section| section.name().expect("sections have names"))
        .collect();
    assert!([".trampoline", ".probes", ".text", ".user_text"].iter().all(|name| names.contains(name)), "{names:?}");
    let mut code = Vec::new();
    for name in names {
        let (address, bytes) = section(name);
        if name == ".trampoline" {
            let part = |from: u64, to: u64| {
                let index = |at: u64| usize::try_from(at - address).expect("within the section");
                &bytes[index(from)..index(to)]
            };
            let (long, gdt) = (symbol("trampoline_long"), symbol("trampoline_gdt"));
            code.extend(decode(part(address, long), address, 16));
            // The padding before the GDT is never reached.
            code.extend(decode(part(long, gdt), long, 64).into_iter().take_while(|it| !it.is_invalid()));
        } else {
            code.extend(decode(bytes, address, if name == ".probes" { 16 } else { 64 }));
        }
    }
    code
}

fn is_vector(register: Register) -> bool {
    register.is_vector_register() || register.is_mm() || register.is_st() || register.is_k() || register.is_tmm()
}

/// Interrupts save no vector registers, and a KVM that emulates CPL0 does not know the instructions.
#[test]
fn no_instruction_touches_a_vector_or_floating_point_register() {
    let mut info = InstructionInfoFactory::new();
    let code = code();
    assert!(code.len() > 1000, "only {} instructions were found", code.len());
    for instruction in &code {
        let ip = instruction.ip();
        assert!(!instruction.is_invalid(), "{ip:#x} does not decode: data among the code?");
        let vectors: Vec<Register> = info
            .info(instruction)
            .used_registers()
            .iter()
            .map(UsedRegister::register)
            .filter(|&it| is_vector(it))
            .collect();
        assert!(vectors.is_empty(), "{ip:#x} {instruction} uses {vectors:?}");
    }
}

/// SDM Vol. 2B, RDTSC: "if software requires RDTSC to be executed prior to execution of any subsequent instruction […] it can
/// execute the sequence LFENCE immediately after RDTSC".
#[test]
fn an_act_begins_only_when_its_first_stamp_has_been_read() {
    let code = code();
    let is_move = |it: &Instruction, to| it.mnemonic() == Mnemonic::Mov && it.op0_register() == to;
    let is_saved = |it: &[Instruction]| is_move(&it[0], Register::R8D) && is_move(&it[1], Register::R9D);
    let is_first = |it: &&[Instruction]| it[1].mnemonic() == Mnemonic::Rdtsc && it[2..].windows(2).any(is_saved);
    let first_stamps: Vec<&[Instruction]> = code.windows(5).filter(is_first).collect();
    for stamp in &first_stamps {
        let fences = [stamp[0].mnemonic(), stamp[2].mnemonic()];
        assert_eq!(fences, [Mnemonic::Lfence; 2], "at {:#x}", stamp[1].ip());
    }
    // Acts but the two of HLT lie between such stamps; the two loads share theirs unless the compiler inlines them.
    assert!(first_stamps.len() >= Act::ALL.len() - 3, "{}", first_stamps.len());
}

#[test]
fn the_symbols_that_diagnoses_and_tests_rely_on_are_there() {
    let (text, bytes) = section(".text");
    for name in ["_start", "ipi_entry", "ipi_worker_call", "halt_instruction", "halt_resume"] {
        let address = symbol(name);
        assert!((text..text + bytes.len() as u64).contains(&address), "{name} at {address:#x} is not in the text");
    }
}

#[test]
fn few_instructions_lie_between_interrupt_and_worker() {
    let call = symbol("ipi_worker_call");
    let instruction = instruction_at(call);
    assert_eq!(instruction.mnemonic(), Mnemonic::Call, "{instruction}");
    // IRQL has to be raised. Without that, the way of an interrupt with nothing to do would count, which comes back without
    // a worker.
    let raises = |it: &Instruction| it.code() == Code::Mov_cr_r64 && it.op0_register() == Register::CR8;
    let count = shortest_way(
        symbol("ipi_entry"),
        |raised, instruction| Some(raised | usize::from(raises(instruction))),
        no_callee,
        |raised, instruction| raised == 1 && instruction.ip() == call,
    );
    let count = count.expect("a way from the interrupt to the worker");
    println!("{count} instructions from interrupt entry to worker");
    // Nine registers to save and a stamp to take: a shorter way would have been followed wrongly.
    assert!(count > 20, "{count} instructions cannot be all");
    assert!(count <= ENTRY_TO_WORKER, "{count} instructions from interrupt entry to worker, {ENTRY_TO_WORKER} allowed");
}

/// How a send looks among instructions.
#[derive(Clone, Copy)]
enum Send {
    /// The instruction of a hypercall.
    Hypercall(Mnemonic),
    /// A WRMSR.
    Msr,
    /// An OUT.
    Port,
    /// So many stores outside of the stack, the last of which is the send.
    Stores(usize),
}

/// The most instructions from the stamp before the send to the send, that one included, for one target.
const TO_THE_SEND: usize = 8;
/// The same of a hypercall, whose number and four arguments go to registers.
const TO_THE_HYPERCALL: usize = 12;
/// The same of one whose parameters, for one of more than 64 processors, are written to memory.
const TO_A_SET_OF_ONE: usize = 18;

/// A measured window: the types of its route and destination, how its sends look, and the most instructions from one send to
/// the next, that one included, with every poll at its shortest; `None`: there is one send.
struct Sends(&'static str, &'static str, Send, Option<usize>);

const ALL_BUT_SELF: &str = "all_but_self::AllButSelf";
const ALL: &str = "all::All";
const UNICAST: &str = "unicast::Unicast";
const LOGICAL: &str = "logical::Logical";

/// The windows of a guest route and a destination: two where it depends on the machine which mode the local APICs are in. Or why there
/// is none.
fn windows(route: GuestRoute, destination: Destination) -> Result<Vec<Sends>, &'static str> {
    const XAPIC: &str = "xapic::XApic<kipi_guest::routes::message::Fixed>";
    const XAPIC_NMI: &str = "xapic::XApic<kipi_guest::routes::message::Nmi>";
    const X2APIC: &str = "x2apic::X2Apic<kipi_guest::routes::message::Fixed>";
    const X2APIC_NMI: &str = "x2apic::X2Apic<kipi_guest::routes::message::Nmi>";
    const MEMORY: &str = "memory::Memory";
    const MSI: &str = "msi::Msi";
    const KVM_PV: [(&str, Mnemonic); 2] = [
        ("kvm_pv::KvmPv<kipi_guest::cpu::hypercall::Vmcall>", Mnemonic::Vmcall),
        ("kvm_pv::KvmPv<kipi_guest::cpu::hypercall::Vmmcall>", Mnemonic::Vmmcall),
    ];
    const HYPERV: [&str; 2] = ["hyperv::HyperVMask", "hyperv::HyperVSet"];
    // The ICR's high half, and its low one.
    let halves = Send::Stores(2);
    // Three of them are the poll of the delivery status.
    let to_next_halves = Some(10);
    let one = |route, send| {
        let shorthand = match destination {
            Destination::AllButSelf => ALL_BUT_SELF,
            Destination::All => ALL,
            Destination::Unicast | Destination::Logical => unreachable!("they have many sends"),
            Destination::Itself | Destination::SelfIpi | Destination::Mesh => unreachable!("they are of pings"),
        };
        Sends(route, shorthand, send, None)
    };
    let by_hyperv = |destination, further| {
        HYPERV.map(|route| Sends(route, destination, Send::Hypercall(Mnemonic::Vmcall), further)).into()
    };
    let by_hypercall = |destination, further| {
        let sends = |(route, instruction)| Sends(route, destination, Send::Hypercall(instruction), Some(further));
        KVM_PV.map(sends).into()
    };
    Ok(match (route, destination) {
        (GuestRoute::KvmPv, Destination::AllButSelf) => by_hypercall(ALL_BUT_SELF, 15),
        (GuestRoute::KvmPv, Destination::All) => by_hypercall(ALL, 15),
        (GuestRoute::KvmPv, Destination::Unicast) => by_hypercall(UNICAST, 14),
        (GuestRoute::HyperV, Destination::AllButSelf) => by_hyperv(ALL_BUT_SELF, None),
        (GuestRoute::HyperV, Destination::All) => by_hyperv(ALL, None),
        (GuestRoute::HyperV, Destination::Unicast) => by_hyperv(UNICAST, Some(22)),
        (GuestRoute::KvmPv | GuestRoute::HyperV, Destination::Logical) => return Err("hypercalls have no logical ids"),
        (GuestRoute::XApic, Destination::AllButSelf | Destination::All) => vec![one(XAPIC, Send::Stores(1))],
        (GuestRoute::XApic, Destination::Unicast) => vec![Sends(XAPIC, UNICAST, halves, to_next_halves)],
        (GuestRoute::XApic, Destination::Logical) => vec![Sends(XAPIC, LOGICAL, halves, to_next_halves)],
        (GuestRoute::X2Apic, Destination::AllButSelf | Destination::All) => vec![one(X2APIC, Send::Msr)],
        (GuestRoute::X2Apic, Destination::Unicast) => vec![Sends(X2APIC, UNICAST, Send::Msr, Some(7))],
        (GuestRoute::X2Apic, Destination::Logical) => vec![Sends(X2APIC, LOGICAL, Send::Msr, Some(7))],
        (GuestRoute::Memory, Destination::AllButSelf) => vec![one(MEMORY, Send::Stores(1))],
        (GuestRoute::Memory, Destination::All) => return Err("a sender does not poll its own line"),
        (GuestRoute::Memory, Destination::Unicast) => vec![Sends(MEMORY, UNICAST, Send::Stores(1), Some(6))],
        (GuestRoute::Memory, Destination::Logical) => return Err("lines of memory have no logical ids"),
        (GuestRoute::Nmi, Destination::AllButSelf) => {
            vec![one(X2APIC_NMI, Send::Msr), one(XAPIC_NMI, Send::Stores(1))]
        }
        (GuestRoute::Nmi, Destination::All) => {
            return Err("the shorthand that includes the sender is for fixed interrupts only");
        }
        (GuestRoute::Nmi, Destination::Unicast) => {
            vec![Sends(X2APIC_NMI, UNICAST, Send::Msr, Some(7)), Sends(XAPIC_NMI, UNICAST, halves, to_next_halves)]
        }
        (GuestRoute::Nmi, Destination::Logical) => {
            vec![Sends(X2APIC_NMI, LOGICAL, Send::Msr, Some(7)), Sends(XAPIC_NMI, LOGICAL, halves, to_next_halves)]
        }
        (GuestRoute::Msi, Destination::AllButSelf | Destination::All) => vec![one(MSI, Send::Port)],
        (GuestRoute::Msi, Destination::Unicast) => vec![Sends(MSI, UNICAST, Send::Port, Some(6))],
        (GuestRoute::Msi, Destination::Logical) => return Err("the VMM's interrupt messages go to APIC ids"),
        (
            GuestRoute::Host,
            Destination::AllButSelf | Destination::All | Destination::Unicast | Destination::Logical,
        ) => return Err("the host sends"),
        (
            GuestRoute::XApic
            | GuestRoute::X2Apic
            | GuestRoute::Memory
            | GuestRoute::Nmi
            | GuestRoute::Msi
            | GuestRoute::KvmPv
            | GuestRoute::HyperV
            | GuestRoute::Host,
            Destination::Itself | Destination::SelfIpi,
        ) => return Err("a broadcast call is for every processor"),
        (
            GuestRoute::XApic
            | GuestRoute::X2Apic
            | GuestRoute::Memory
            | GuestRoute::Nmi
            | GuestRoute::Msi
            | GuestRoute::KvmPv
            | GuestRoute::HyperV
            | GuestRoute::Host,
            Destination::Mesh,
        ) => return Err("a broadcast call has one initiator"),
    })
}

/// The function that makes the rounds of a route and a destination. Where the code of two is the same, as of unicast and logical on a route that
/// does not tell them apart, one name is left.
fn rounds(route: &str, destination: &str) -> u64 {
    let name = |destination| {
        format!(
            "kipi_guest::block::rounds::<kipi_guest::call::everybody::Over<kipi_guest::routes::{route}, \
             guest_stub::destinations::{destination}>>"
        )
    };
    let names = if destination == UNICAST { vec![name(UNICAST), name(LOGICAL)] } else { vec![name(destination)] };
    let symbols = demangled();
    *names.iter().find_map(|name| symbols.get(name)).unwrap_or_else(|| panic!("the image has none of {names:?}"))
}

/// Whether an instruction stores to memory outside of the stack.
fn stores(instruction: &Instruction) -> bool {
    let mut info = InstructionInfoFactory::new();
    let is_store = |it: &UsedMemory| it.access() == OpAccess::Write && it.base() != Register::RSP;
    info.info(instruction).used_memory().iter().any(is_store)
}

/// The number of instructions on the shortest way from `from` to the `nth` send, that one included, if no stamp comes before.
fn way_to_send(from: u64, send: Send, nth: usize) -> Option<usize> {
    /// The stamp, half by half, is stored before.
    const STAMP: usize = 2;
    let (is_part, parts, before_all): (fn(&Instruction) -> bool, usize, usize) = match send {
        Send::Msr => (|it| it.mnemonic() == Mnemonic::Wrmsr, 1, 0),
        Send::Hypercall(Mnemonic::Vmmcall) => (|it| it.mnemonic() == Mnemonic::Vmmcall, 1, 0),
        Send::Hypercall(_) => (|it| it.mnemonic() == Mnemonic::Vmcall, 1, 0),
        Send::Port => (|it| it.mnemonic() == Mnemonic::Out, 1, 0),
        Send::Stores(parts) => (stores, parts, STAMP),
    };
    shortest_way(
        from,
        |before, it| (it.mnemonic() != Mnemonic::Rdtsc).then(|| before + usize::from(is_part(it))),
        no_callee,
        |before, it| before + 1 == before_all + nth * parts && is_part(it),
    )
}

#[test]
fn few_instructions_lie_between_the_stamp_and_the_send_and_between_two_sends() {
    for &route in GuestRoute::ALL {
        for &destination in Destination::ALL {
            for Sends(route, destination, send, allowed) in windows(route, destination).into_iter().flatten() {
                let mut stamp = rounds(route, destination);
                for looked_for in [Mnemonic::Mfence, Mnemonic::Rdtsc] {
                    while instruction_at(stamp).mnemonic() != looked_for {
                        stamp = instruction_at(stamp).next_ip();
                    }
                }
                let to_send = |nth| way_to_send(instruction_at(stamp).next_ip(), send, nth);
                let first = to_send(1).unwrap_or_else(|| panic!("{route}, {destination}: no send after the stamp"));
                let further = to_send(2).map(|second| second - first);
                println!("{route}, {destination}: {first} instructions to the send, {further:?} to the next");
                let most = match send {
                    Send::Hypercall(_) if route == "hyperv::HyperVSet" && destination == UNICAST => TO_A_SET_OF_ONE,
                    Send::Hypercall(_) => TO_THE_HYPERCALL,
                    Send::Msr | Send::Port | Send::Stores(_) => TO_THE_SEND,
                };
                assert!(first <= most, "{route}, {destination}: {first} instructions, {most} allowed");
                assert_eq!(further.is_some(), allowed.is_some(), "{route}, {destination}: one send or many?");
                assert!(further <= allowed, "{route}, {destination}: {further:?} to the next, {allowed:?} allowed");
            }
        }
    }
}

/// What is not counted above is what the VMM refuses to measure.
#[test]
fn the_windows_are_those_that_can_be_measured() {
    for &route in Route::ALL {
        let spec = routes::of(route);
        let Some(in_guest) = spec.in_guest() else { continue };
        for &destination in Destination::ALL {
            let cell = CellId::broadcast(route, destination, spec.probe_state, 4);
            let refusal = config::refuse(&cell, HostOffers::EVERYTHING);
            let guest_sends = refusal.is_none() && in_guest != GuestRoute::Host;
            let counted = windows(in_guest, destination);
            assert_eq!(counted.is_ok(), guest_sends, "{}, {}", route.name(), destination.name());
            if let (Some(refusal), Err(reason)) = (refusal, counted) {
                let same = refusal.reason() == reason || spec.is_host();
                assert!(same, "{}, {}: {reason}", route.name(), destination.name());
            }
        }
    }
}

/// The most instructions of a whole round of two processors on its initiator, from one send's fence to the next, and on its target, from
/// the interrupt's entry to its IRETQ, with every poll at its shortest; and of the latter those up to the EOI.
const ROUND_OF_INITIATOR: usize = 115;
const ROUND_OF_TARGET: usize = 82;
const ENTRY_TO_EOI: usize = 53;

/// An instruction that a way has to pass.
type Milestone = (&'static str, fn(&Instruction) -> bool);

fn is_load_of(it: &Instruction, offset: usize) -> bool {
    let mut info = InstructionInfoFactory::new();
    let is_read = |memory: &UsedMemory| {
        memory.access() == OpAccess::Read
            && memory.base() != Register::RSP
            && memory.memory_size().size() == 4
            && memory.displacement() % abi::PAGE == offset as u64
    };
    info.info(it).used_memory().iter().any(is_read)
}

fn is_store_of(it: &Instruction, offset: usize) -> bool {
    stores(it)
        && it.op_count() > 0
        && it.memory_size().size() == 4
        && it.memory_displacement64() % abi::PAGE == offset as u64
}

/// What a round of two processors has to pass on its initiator, in this order.
const ROUND: [Milestone; 17] = [
    ("fence", |it| it.mnemonic() == Mnemonic::Mfence),
    ("t0", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("send", |it| it.mnemonic() == Mnemonic::Wrmsr),
    ("t1", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("raise", |it| it.code() == Code::Mov_cr_r64),
    ("arrived?", |it| is_load_of(it, Slot::ARRIVED)),
    ("gate", |it| it.mnemonic() == Mnemonic::Cmpxchg),
    ("w", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("worker", |it| it.flow_control() == FlowControl::IndirectCall),
    ("x", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("done?", |it| is_load_of(it, Slot::DONE)),
    ("t2", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("restored?", |it| it.mnemonic() == Mnemonic::Pushfq),
    ("ready?", |it| is_load_of(it, offset_of!(abi::UserPage, ready))),
    ("settled", |it| it.mnemonic() == Mnemonic::Rdtsc),
    ("request", |it| is_store_of(it, Slot::REQUEST)),
    ("fence", |it| it.mnemonic() == Mnemonic::Mfence),
];

/// The same on its target, from the interrupt to the return.
const SERVED: [Milestone; 8] = [
    ("raise", |it| it.code() == Code::Mov_cr_r64),
    ("arrive", |it| is_store_of(it, Slot::ARRIVED)),
    ("gate", |it| it.mnemonic() == Mnemonic::Cmp && is_load_of(it, Packet::GATE)),
    ("worker", |it| it.flow_control() == FlowControl::IndirectCall),
    ("EOI", |it| it.mnemonic() == Mnemonic::Wrmsr),
    ("restored?", |it| it.mnemonic() == Mnemonic::Pushfq),
    ("lower", |it| it.code() == Code::Mov_cr_r64),
    ("return", |it| it.mnemonic() == Mnemonic::Iretq),
];

/// Which instruction each milestone is on the shortest way from `from` that passes them in order.
fn numbers(from: u64, milestones: &[Milestone], callee: impl Fn(u64) -> Option<u64>) -> Vec<(&'static str, usize)> {
    let passes = |passed: usize, it: &Instruction| Some(passed + usize::from(milestones[passed].1(it)));
    let number = |(index, &(name, is_it)): (usize, &Milestone)| {
        let number = shortest_way(from, passes, &callee, |passed, it| passed == index && is_it(it));
        (name, number.unwrap_or_else(|| panic!("no way to {name:?}")))
    };
    milestones.iter().enumerate().map(number).collect()
}

/// The worker of a measured round.
fn worker() -> u64 {
    *demangled().get("kipi_guest::call::worker::stamp").expect("the worker of a measured round")
}

/// From a round's fence to the next round's.
fn round_of_initiator() -> Vec<(&'static str, usize)> {
    let rounds = rounds("x2apic::X2Apic<kipi_guest::routes::message::Fixed>", ALL_BUT_SELF);
    let end = demangled().values().copied().filter(|&at| at > rounds).min().expect("a symbol after it");
    let mut numbers = numbers(rounds, &ROUND, |at| (rounds..end).contains(&at).then(worker));
    let fence = numbers[0].1;
    for (_, number) in &mut numbers {
        *number -= fence;
    }
    numbers
}

fn round_of_target() -> Vec<(&'static str, usize)> {
    numbers(symbol("ipi_entry"), &SERVED, |_| Some(worker()))
}

#[test]
fn few_instructions_make_a_round() {
    let (initiator, target) = (round_of_initiator(), round_of_target());
    println!("{initiator:?}\n{target:?}");
    let last = |numbers: &[(&str, usize)]| numbers.last().expect("milestones").1;
    assert!(last(&initiator) <= ROUND_OF_INITIATOR, "{initiator:?}");
    assert!(last(&target) <= ROUND_OF_TARGET, "{target:?}");
    let eoi = target.iter().find(|(name, _)| *name == "EOI").expect("a milestone").1;
    assert!(eoi <= ENTRY_TO_EOI, "{target:?}");
}

/// How far apart workers start is the barrier's own doing: see the entry in `guest-stub/src/call/entry.rs`.
#[test]
fn a_target_is_at_the_gate_when_it_opens_and_starts_as_the_initiator_does() {
    let between = |numbers: &[(&str, usize)], from, to| {
        let number = |looked_for| numbers.iter().find(|(name, _)| *name == looked_for).expect("a milestone").1;
        number(to) - number(from)
    };
    let (initiator, target) = (round_of_initiator(), round_of_target());
    let to_the_gate = between(&target, "arrive", "gate");
    let to_open_it = between(&initiator, "arrived?", "gate");
    assert!(to_the_gate < to_open_it, "{to_the_gate} instructions to the gate, {to_open_it} to open it");
    // A poll is a compare and a branch: on average, a target sees the gate one instruction after it has opened.
    let [initiator, target] = [&initiator, &target].map(|numbers| between(numbers, "gate", "worker"));
    assert_eq!(initiator, target + 1, "instructions from the gate to the worker");
}
