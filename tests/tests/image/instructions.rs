//! Which instructions the image is made of.

use guest_stub::abi::act::Act;
use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, Register, UsedRegister};
use kipi_tests::code::{image, section, symbol};
use kipi_tests::test;
use object::{Object, ObjectSection, SectionKind};

fn decode(bytes: &[u8], address: u64, bits: u32) -> Vec<Instruction> {
    Decoder::with_ip(bits, bytes, address, DecoderOptions::NONE).into_iter().collect()
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
