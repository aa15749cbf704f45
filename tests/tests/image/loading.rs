//! What the image is loaded by: an ELF file whose segments and header are as the ABI says, and whose symbols are there.

use guest_stub::abi::{self, ImageHeader};
use kipi::vm::image::EMBEDDED;
use kipi_tests::code::{image, section, symbol};
use kipi_tests::test;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, Object};
use std::mem::offset_of;

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
    let script = include_str!("../../../guest-stub/layout.ld");
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

#[test]
fn the_symbols_that_diagnoses_and_tests_rely_on_are_there() {
    let (text, bytes) = section(".text");
    for name in ["_start", "ipi_entry", "ipi_worker_call", "halt_instruction", "halt_resume"] {
        let address = symbol(name);
        assert!((text..text + bytes.len() as u64).contains(&address), "{name} at {address:#x} is not in the text");
    }
}
