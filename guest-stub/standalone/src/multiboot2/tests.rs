extern crate std;

use super::*;
use crate::memory::fake::Fake;
use crate::memory::{Below, Span};
use proptest::prelude::*;
use proptest::sample::Index;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

const INFO: u64 = 0x10_0000;

fn tag(kind: u32, content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(8 + content.len()).unwrap();
    let mut bytes = [&kind.to_le_bytes()[..], &size.to_le_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn memory_map(size: u32, entries: &[(u64, u64, u32)]) -> Vec<u8> {
    let mut content = [size, 0].map(u32::to_le_bytes).concat();
    for &(start, length, kind) in entries {
        let entry = content.len();
        content.extend([start, length].map(u64::to_le_bytes).concat());
        content.extend(kind.to_le_bytes());
        content.resize(entry + size as usize, 0xAA);
    }
    tag(MEMORY_MAP, &content)
}

const MEMORY: [(u64, u64, u32); 4] =
    [(0x9_FC00, 0x400, 2), (0, 0x9_FC00, 1), (0x7FE_0000, 0x2_0000, 2), (0x10_0000, 0x7EE_0000, 1)];

fn info(tags: &[Vec<u8>]) -> Vec<u8> {
    let tags = tags.concat();
    let length = u32::try_from(8 + tags.len()).unwrap();
    [&length.to_le_bytes()[..], &[0; 4], &tags].concat()
}

/// What GRUB hands over on a machine with a BIOS: command line, boot loader's name, modules, memory, RSDP.
fn grub() -> Vec<u8> {
    info(&[
        tag(COMMAND_LINE, b"route=xapic\0"),
        tag(2, b"GRUB 2.06\0"),
        tag(4, &[0x7F, 2, 0, 0, 0x80, 0xFB, 1, 0]),
        memory_map(24, &MEMORY),
        tag(OLD_RSDP, &[1; 20]),
        tag(NEW_RSDP, &[2; 36]),
        tag(END, &[]),
    ])
}

fn read(bytes: impl Into<Vec<u8>>) -> Result<Found, Error> {
    let mut memory = Fake::new();
    memory.put(INFO, bytes);
    parse(INFO, &memory)
}

#[test]
fn memory_rsdp_and_command_line_are_found() {
    let length = grub().len() as u64;
    let Found { memory, rsdp, command_line } = read(grub()).unwrap();
    assert_eq!(command_line.text(), "route=xapic");
    let copy = grub().windows(36).position(|bytes| bytes == [2; 36]).unwrap() as u64;
    assert_eq!(rsdp, Some(INFO + copy));
    let expected = [(0x1000, 0x9_FC00), (INFO + length, 0x7FE_0000)];
    assert!(memory.usable().eq(expected.map(|(start, end)| Span { start, end })));
}

#[test]
fn the_copy_of_an_rsdp_of_acpi_1_is_used_where_there_is_no_other() {
    let found = read(info(&[memory_map(24, &MEMORY), tag(OLD_RSDP, &[1; 20]), tag(END, &[])])).unwrap();
    assert_eq!(found.rsdp, Some(INFO + 8 + 16 + 4 * 24 + 8));
    let found = read(info(&[memory_map(24, &MEMORY), tag(END, &[])])).unwrap();
    assert_eq!((found.rsdp, found.command_line.text()), (None, ""));
}

#[test]
fn entries_may_be_longer_than_what_is_known_of_them() {
    let long = read(info(&[memory_map(40, &MEMORY), tag(END, &[])])).unwrap();
    assert!(long.memory.bytes() > 0x7D0_0000);
    assert_eq!(read(info(&[memory_map(16, &MEMORY)])).unwrap_err(), Error::Entry { size: 16 });
    assert_eq!(read(info(&[tag(MEMORY_MAP, &[0; 32])])).unwrap_err(), Error::Entry { size: 0 });
}

#[test]
fn tags_after_the_last_do_not_count_and_a_last_one_is_not_needed() {
    let ended = read(info(&[memory_map(24, &MEMORY), tag(END, &[]), tag(COMMAND_LINE, b"late\0")])).unwrap();
    assert_eq!(ended.command_line.text(), "");
    let endless = read(info(&[memory_map(24, &MEMORY), tag(COMMAND_LINE, b"last\0")])).unwrap();
    assert_eq!(endless.command_line.text(), "last");
}

#[test]
fn a_command_line_ends_with_its_tag() {
    let found = read(info(&[tag(COMMAND_LINE, b"state=spin, user"), memory_map(24, &MEMORY)])).unwrap();
    assert_eq!(found.command_line.text(), "state=spin, user");
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let error = |tags: &[Vec<u8>]| read(info(tags)).unwrap_err();
    assert_eq!(error(&[tag(END, &[])]), Error::NoMemoryMap);
    assert_eq!(error(&[]).to_string(), "Multiboot2: the boot loader gave no memory map");
    assert_eq!(error(&[vec![2, 0, 0, 0, 0, 0, 0, 0]]), Error::Tag { offset: 8, kind: 2, size: 0 });
    assert_eq!(error(&[vec![2, 0, 0, 0, 7, 0, 0, 0]]), Error::Tag { offset: 8, kind: 2, size: 7 });
    let endless = error(&[tag(2, b"GRUB"), vec![1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]]);
    let text = "Multiboot2: the tag at byte 24, of type 1, cannot be 4294967295 bytes long";
    assert_eq!(endless.to_string(), text);
    assert_eq!(error(&[tag(OLD_RSDP, &[0; 16])]), Error::Tag { offset: 8, kind: 14, size: 24 });
    assert_eq!(error(&[tag(NEW_RSDP, &[0; 32])]), Error::Tag { offset: 8, kind: 15, size: 40 });
    assert_eq!(error(&[tag(MEMORY_MAP, &[])]), Error::Tag { offset: 8, kind: 6, size: 8 });
    assert_eq!(read([7, 0, 0, 0]).unwrap_err(), Error::Length { length: 7 });
    assert_eq!(read([0, 0, 0x20, 0]).unwrap_err(), Error::Length { length: 0x20_0000 });
    assert_eq!(read([]).unwrap_err(), Error::Unreadable { address: INFO });
    assert_eq!(read(&grub()[..100]).unwrap_err(), Error::Unreadable { address: INFO });
    let high = parse(u64::MAX - 7, Fake::new().put(u64::MAX - 7, [100, 0, 0, 0, 0, 0, 0])).unwrap_err();
    assert_eq!(high, Error::Unreadable { address: u64::MAX - 7 });
}

/// A read of each header, of the parts of each entry, and of each byte of each command line's first part.
fn assert_bounded(memory: &Fake) {
    assert!(memory.reads() < 1_200_000, "{} reads", memory.reads());
}

#[test]
fn the_longest_boot_information_is_read_in_bounded_time() {
    for tags in [
        vec![tag(2, &[]); 0x1_FFFE],
        vec![tag(COMMAND_LINE, &[b'x'; 4088]); 0xFF],
        vec![memory_map(24, &[(0x10_0000, 0x10_0000, 1); 43_000])],
    ] {
        let mut memory = Fake::new();
        memory.put(INFO, info(&tags));
        let _ = parse(INFO, &memory);
        assert_bounded(&memory);
    }
}

proptest! {
    #[test]
    fn boot_information_with_damage_is_read_or_refused(
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 0..8), cut in prop::option::of(any::<Index>())
    ) {
        let mut bytes = grub();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut memory = Fake::new();
        memory.put(INFO, bytes);
        match parse(INFO, &memory) {
            Ok(mut found) => {
                let page = found.memory.take(1, Below(1 << 32));
                prop_assert!(page.is_none_or(|page| page >= 0x10_0000));
            }
            Err(error) => prop_assert!(error.to_string().starts_with("Multiboot2: ")),
        }
        assert_bounded(&memory);
    }

    #[test]
    fn any_tags_are_read_or_refused(
        tags in prop::collection::vec((0..24_u32, prop::collection::vec(any::<u8>(), 0..80)), 0..12), at in any::<u64>()
    ) {
        let tags: Vec<_> = tags.iter().map(|(kind, content)| tag(*kind, content)).collect();
        let mut memory = Fake::new();
        memory.put(at, info(&tags));
        let _ = parse(at, &memory).map_err(|error| error.to_string());
        assert_bounded(&memory);
    }
}
