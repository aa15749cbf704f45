extern crate std;

use super::*;
use crate::memory::fake::Fake;
use crate::memory::{Below, Span};
use proptest::prelude::*;
use proptest::sample::Index;
use std::string::ToString;
use std::vec::Vec;

const INFO: u64 = 0x6000;
const TABLE: u64 = 0x6040;
const LINE: u64 = 0x2_0000;

fn start_info(version: u32, entries: u32) -> Vec<u8> {
    let words = [MAGIC, version, 0, 0].map(u32::to_le_bytes).concat();
    let addresses = [0, LINE, 0xF_59E0, TABLE].map(u64::to_le_bytes).concat();
    [words, addresses, [entries, 0].map(u32::to_le_bytes).concat()].concat()
}

fn table(entries: &[(u64, u64, u32)]) -> Vec<u8> {
    let entry = |&(start, size, kind): &(u64, u64, u32)| {
        [&start.to_le_bytes()[..], &size.to_le_bytes(), &kind.to_le_bytes(), &[0; 4]].concat()
    };
    entries.iter().flat_map(entry).collect()
}

/// What Firecracker and QEMU hand over, in the order of the pieces: start info, memory map, command line.
fn machine() -> Fake {
    let map = [(0, 0x9_FC00, 1), (0x9_FC00, 0x6_0400, 2), (0x10_0000, 0x7F0_0000, 1), (0x400_0000, 0x1000, 3)];
    let mut memory = Fake::new();
    memory.put(INFO, start_info(1, 4)).put(TABLE, table(&map)).put(LINE, *b"route=x2apic rounds=50\0");
    memory
}

#[test]
fn memory_rsdp_and_command_line_are_found() {
    let Found { memory, rsdp, command_line } = parse(INFO, &machine()).unwrap();
    assert_eq!(command_line.text(), "route=x2apic rounds=50");
    assert_eq!(rsdp, Some(0xF_59E0));
    let expected = [(0x1000, 0x9_FC00), (0x10_0000, 0x400_0000), (0x400_1000, 0x800_0000)];
    assert!(memory.usable().eq(expected.map(|(start, end)| Span { start, end })));
}

#[test]
fn an_address_of_zero_is_none() {
    let mut memory = machine();
    memory.piece(0)[24..40].fill(0);
    let found = parse(INFO, &memory).unwrap();
    assert_eq!((found.rsdp, found.command_line.text()), (None, ""));
    memory.piece(0)[40..48].fill(0);
    assert_eq!(parse(INFO, &memory).unwrap_err(), Error::NoMemoryMap { version: 1 });
}

#[test]
fn later_versions_are_read_as_the_first_that_has_a_memory_map() {
    let mut memory = machine();
    memory.put(INFO, start_info(2, 4));
    assert!(parse(INFO, &memory).is_ok());
}

#[test]
fn what_is_missing_is_named() {
    let error = |info: Vec<u8>| parse(INFO, machine().put(INFO, info)).unwrap_err();
    assert_eq!(error(start_info(0, 4)), Error::NoMemoryMap { version: 0 });
    assert_eq!(error(start_info(1, 0)), Error::NoMemoryMap { version: 1 });
    assert_eq!(error(start_info(1, 1025)), Error::MemoryMap { entries: 1025 });
    assert_eq!(error(start_info(1, 5)), Error::Unreadable { part: "memory map", address: TABLE });
    assert_eq!(error([0; 56].into()).to_string(), "PVH: no start info is where EBX says (0x0 is there)");
    let error = parse(0x9000, &machine()).unwrap_err();
    assert_eq!(error.to_string(), "PVH: the start info at 0x9000 cannot be read");
    let mut memory = machine();
    memory.piece(2).pop();
    assert_eq!(parse(INFO, &memory).unwrap_err(), Error::Unreadable { part: "command line", address: LINE });
    memory.piece(0).truncate(40);
    assert_eq!(parse(INFO, &memory).unwrap_err(), Error::Unreadable { part: "start info", address: INFO });
}

proptest! {
    #[test]
    fn a_start_info_with_damage_is_read_or_refused(
        damage in prop::collection::vec((any::<Index>(), any::<Index>(), any::<u8>()), 0..8),
        cut in prop::option::of((any::<Index>(), any::<Index>()))
    ) {
        let mut memory = machine();
        for (piece, at, value) in damage {
            let piece = memory.piece(piece.index(3));
            let at = at.index(piece.len());
            piece[at] = value;
        }
        if let Some((piece, at)) = cut {
            let piece = memory.piece(piece.index(3));
            piece.truncate(at.index(piece.len()));
        }
        match parse(INFO, &memory) {
            Ok(mut found) => {
                let page = found.memory.take(1, Below(1 << 32));
                prop_assert!(page.is_none_or(|page| page >= 0x10_0000));
            }
            Err(error) => prop_assert!(error.to_string().starts_with("PVH: ")),
        }
        prop_assert!(memory.reads() < 6000);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<u64>()) {
        let mut memory = Fake::new();
        memory.put(at, [&MAGIC.to_le_bytes()[..], &bytes].concat());
        let _ = parse(at, &memory).map_err(|error| error.to_string());
        prop_assert!(memory.reads() < 6000);
    }
}
