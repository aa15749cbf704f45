extern crate std;

use super::*;
use crate::memory::fake::Fake;
use guest_stub::abi::MAX_VCPUS;
use proptest::prelude::*;
use proptest::sample::Index;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

const RSDP: u64 = 0xF_59E0;
const TABLES: u64 = 0x7FE_0000;

/// Makes the sum of the bytes zero, by the byte at `at`.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte));
}

fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend(u32::try_from(36 + body.len()).unwrap().to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(b"BOCHS BXPC    \x01\0\0\0BXPC\x01\0\0\0");
    bytes.extend(body);
    seal(&mut bytes, 9);
    bytes
}

fn rsdp_1(rsdt: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0BOCHS \0".to_vec();
    bytes.extend(u32::try_from(rsdt).unwrap().to_le_bytes());
    seal(&mut bytes, 8);
    bytes
}

fn rsdp_2(rsdt: u64, xsdt: u64) -> Vec<u8> {
    let mut bytes = rsdp_1(rsdt);
    bytes[15] = 2;
    seal(&mut bytes, 8);
    bytes.extend(36_u32.to_le_bytes());
    bytes.extend(xsdt.to_le_bytes());
    bytes.extend([0; 4]);
    seal(&mut bytes, 32);
    bytes
}

fn rsdt(references: &[u64]) -> Vec<u8> {
    let body = references.iter().flat_map(|&reference| u32::try_from(reference).unwrap().to_le_bytes());
    table(*b"RSDT", 1, &body.collect::<Vec<_>>())
}

fn xsdt(references: &[u64]) -> Vec<u8> {
    table(*b"XSDT", 1, &references.iter().flat_map(|reference| reference.to_le_bytes()).collect::<Vec<_>>())
}

fn xapic(id: u8, flags: u32) -> Vec<u8> {
    [&[0, 8, id ^ 0x80, id][..], &flags.to_le_bytes()].concat()
}

fn x2apic(id: u32, flags: u32) -> Vec<u8> {
    [&[9, 16, 0, 0][..], &id.to_le_bytes(), &flags.to_le_bytes(), &id.to_le_bytes()].concat()
}

fn madt(entries: &[Vec<u8>]) -> Vec<u8> {
    table(*b"APIC", 3, &[&0xFEE0_0000_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), &entries.concat()].concat())
}

/// What QEMU lists beside processors: an I/O APIC, an interrupt override, the NMI line of xAPICs and of x2APICs.
fn interrupts() -> Vec<u8> {
    let mut bytes = vec![1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0];
    bytes.extend([4, 6, 0xFF, 0, 0, 1, 10, 12, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]);
    bytes
}

fn fadt(length: usize, revision: u8, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut body = vec![0; length - 36];
    for (offset, bytes) in fields {
        body[offset - 36..][..bytes.len()].copy_from_slice(bytes);
    }
    table(*b"FACP", revision, &body)
}

/// The FADT of a QEMU pc: no reset register, a timer of 24 bits.
fn fadt_pc() -> Vec<u8> {
    fadt(116, 1, &[(76, &[8, 6]), (91, &[4]), (112, &[0xA5, 0x80, 0, 0])])
}

/// The FADT of a QEMU q35.
fn fadt_q35() -> Vec<u8> {
    let reset = [1, 8, 0, 0, 0xF9, 0x0C, 0, 0, 0, 0, 0, 0, 0x0F];
    let timer = [1, 32, 0, 0, 8, 6, 0, 0, 0, 0, 0, 0];
    fadt(244, 3, &[(76, &[8, 6]), (91, &[4]), (112, &[0xA5, 0x84, 0, 0]), (116, &reset), (208, &timer)])
}

/// The FADT of a QEMU microvm: hardware-reduced, reset by a write to memory.
fn fadt_microvm() -> Vec<u8> {
    let reset = [0, 8, 0, 0, 0x02, 0x02, 0xA0, 0xFE, 0, 0, 0, 0, 0x42];
    fadt(268, 5, &[(112, &[0, 4, 0x10, 0]), (116, &reset)])
}

/// Tables as a machine of ACPI 1.0 has them: by RSDT, RSDP first, each table in a piece of its own.
fn bios(madt: Vec<u8>, fadt: Vec<u8>) -> Fake {
    let mut memory = Fake::new();
    let root = rsdt(&[TABLES + 0x1000, TABLES + 0x2000, TABLES + 0x3000]);
    memory.put(RSDP, rsdp_1(TABLES)).put(TABLES, root);
    memory.put(TABLES + 0x1000, fadt).put(TABLES + 0x2000, table(*b"HPET", 1, &[0; 20])).put(TABLES + 0x3000, madt);
    memory
}

/// Tables by XSDT above 4 GiB, as later machines have them.
fn extended(madt: Vec<u8>, fadt: Vec<u8>) -> Fake {
    const HIGH: u64 = 5 << 32;
    let mut memory = Fake::new();
    memory.put(RSDP, rsdp_2(0, HIGH)).put(HIGH, xsdt(&[HIGH + 0x1000, HIGH + 0x8_0000]));
    memory.put(HIGH + 0x1000, fadt).put(HIGH + 0x8_0000, madt);
    memory
}

fn two_processors() -> Vec<u8> {
    madt(&[xapic(0, 1), xapic(1, 1), interrupts()])
}

#[test]
fn a_qemu_pc_is_read_by_its_rsdt() {
    let memory = bios(madt(&[xapic(0, 1), xapic(1, 1), xapic(2, 0), xapic(3, 0), interrupts()]), fadt_pc());
    let tables = find(Some(RSDP), &memory).unwrap();
    assert_eq!(tables.processors.ids(), [0, 1]);
    assert_eq!((tables.processors.listed, tables.processors.enabled, tables.processors.beyond), (4, 2, 0));
    assert_eq!(tables.local_apic, 0xFEE0_0000);
    assert_eq!(tables.fixed, Ok(Fixed { timer: Some(Timer { port: 0x608, mask: 0xFF_FFFF }), reset: None }));
}

#[test]
fn a_qemu_q35_says_how_it_is_reset() {
    let fixed = find(Some(RSDP), &bios(two_processors(), fadt_q35())).unwrap().fixed.unwrap();
    assert_eq!(fixed.timer, Some(Timer { port: 0x608, mask: 0xFF_FFFF }));
    assert_eq!(fixed.reset, Some(Reset { register: Register::Port(0xCF9), value: 0x0F }));
}

#[test]
fn a_qemu_microvm_is_read_by_its_xsdt_and_has_no_timer() {
    let tables = find(Some(RSDP), &extended(two_processors(), fadt_microvm())).unwrap();
    assert_eq!(tables.processors.ids(), [0, 1]);
    let reset = Some(Reset { register: Register::Memory(0xFEA0_0202), value: 0x42 });
    assert_eq!(tables.fixed, Ok(Fixed { timer: None, reset }));
}

#[test]
fn a_servers_ids_of_255_and_above_are_those_of_x2apic_entries() {
    let mut entries: Vec<_> = (0..=254).step_by(2).map(|id| xapic(id, 1)).collect();
    entries.extend([xapic(0xFF, 0), xapic(0xFF, 1), x2apic(u32::MAX, 1)]);
    entries.extend((256..512).step_by(2).map(|id| x2apic(id, 1)));
    entries.extend([x2apic(600, 0), x2apic(602, 2), interrupts(), vec![5, 12, 0, 0, 0, 0, 0xE0, 0xFE, 1, 0, 0, 0]]);
    // Some firmware leaves entries of both kinds; those of the x2APIC's do not count below 255.
    entries.extend([x2apic(0, 1), x2apic(1, 1)]);
    let Tables { processors, local_apic, .. } = find(Some(RSDP), &extended(madt(&entries), fadt_q35())).unwrap();
    assert_eq!(processors.ids(), (0..512).step_by(2).collect::<Vec<u32>>());
    assert_eq!(processors.beyond_xapic().collect::<Vec<_>>(), (256..512).step_by(2).collect::<Vec<u32>>());
    assert_eq!((processors.listed, processors.enabled, processors.online_capable), (263, 256, 1));
    assert_eq!(local_apic, 0x1_FEE0_0000);
}

#[test]
fn ids_below_255_are_those_of_x2apic_entries_where_there_are_no_others() {
    let entries = [xapic(0, 0), x2apic(4, 1), x2apic(0, 1), x2apic(4, 1)];
    let processors = find(Some(RSDP), &extended(madt(&entries), fadt_q35())).unwrap().processors;
    assert_eq!(processors.ids(), [4, 0]);
    assert_eq!((processors.listed, processors.enabled), (4, 2));
}

#[test]
fn each_io_apic_is_told_of() {
    let io_apic = |id: u8, address: u32| [&[1, 12, id, 0][..], &address.to_le_bytes(), &[0; 4]].concat();
    let entries = [xapic(0, 1), io_apic(0, 0xFEC0_0000), interrupts(), io_apic(9, 0xFEC0_1000)];
    let memory = bios(madt(&entries), fadt_pc());
    let mut told = Vec::new();
    find(Some(RSDP), &memory).unwrap().each_io_apic(&memory, |address| told.push(address));
    assert_eq!(told, [0xFEC0_0000, 0xFEC0_0000, 0xFEC0_1000]);
}

#[test]
fn of_4096_processors_the_first_are_used_and_the_rest_counted() {
    let entries: Vec<_> = (0..4096).map(|id| x2apic(id, 1)).collect();
    let processors = find(Some(RSDP), &extended(madt(&entries), fadt_q35())).unwrap().processors;
    assert_eq!(processors.ids(), (0..1024).collect::<Vec<u32>>());
    assert_eq!((processors.listed, processors.enabled, processors.beyond), (4096, 4096, 3072));
    let odd = [x2apic(0, 1), x2apic(0x1000, 1), x2apic(0xFFF, 1), x2apic(u32::MAX - 1, 1)];
    let processors = find(Some(RSDP), &extended(madt(&odd), fadt_q35())).unwrap().processors;
    assert_eq!((processors.ids(), processors.beyond), (&[0, 0xFFF][..], 2));
}

#[test]
fn the_rsdp_is_searched_for_in_the_ebda_and_below_1_mib() {
    let found = |memory: &Fake| find(None, memory).map(|tables| tables.processors.ids().len());
    assert_eq!(found(&bios(two_processors(), fadt_pc())), Ok(2));
    let mut memory = bios(madt(&[xapic(0, 1)]), fadt_pc());
    assert_eq!(found(&memory), Ok(1));
    // The EBDA's RSDP, which comes first, refers to another root.
    let other = TABLES + 0x10_0000;
    memory.put(0x40E, 0x9FC0_u16.to_le_bytes()).put(0x9_FC00 + 0x3F0, rsdp_1(other));
    memory.put(other, rsdt(&[other + 0x1000])).put(other + 0x1000, two_processors());
    assert_eq!(found(&memory), Ok(2));
    // One that is damaged does not count.
    let last = memory.pieces() - 3;
    memory.piece(last)[10] ^= 1;
    assert_eq!(found(&memory), Ok(1));
    assert_eq!(found(&Fake::new()), Err(Error::NoRsdp));
}

#[test]
fn an_rsdp_that_is_damaged_is_searched_for_and_named_where_there_is_no_other() {
    let mut memory = bios(two_processors(), fadt_pc());
    let mut damaged = rsdp_2(0, TABLES);
    damaged[35] = 3;
    memory.put(0x50_0000, damaged.clone());
    assert!(find(Some(0x50_0000), &memory).is_ok());
    let mut memory = Fake::new();
    memory.put(0x50_0000, damaged);
    let error = find(Some(0x50_0000), &memory).unwrap_err();
    assert_eq!(error, Error::Checksum { table: Name::Rsdp, address: 0x50_0000 });
    assert_eq!(error.to_string(), "ACPI's RSDP at 0x500000 is damaged: its checksum is wrong");
    let error = find(Some(u64::MAX - 3), &memory).unwrap_err();
    assert_eq!(error, Error::Unreadable { table: Name::Rsdp, address: u64::MAX - 3 });
}

#[test]
fn an_rsdp_before_revision_2_ends_after_20_bytes() {
    let mut memory = bios(two_processors(), fadt_pc());
    memory.piece(0)[15] = 1;
    seal(memory.piece(0), 8);
    assert!(find(Some(RSDP), &memory).is_ok());
}

#[test]
fn the_rsdt_is_read_where_the_xsdt_is_damaged() {
    let mut memory = bios(two_processors(), fadt_pc());
    let mut damaged = xsdt(&[TABLES + 0x1000]);
    damaged[9] ^= 1;
    memory.put(RSDP, rsdp_2(TABLES, 0x60_0000)).put(0x60_0000, damaged.clone());
    assert!(find(Some(RSDP), &memory).is_ok());
    memory.put(RSDP, rsdp_2(0, 0x60_0000));
    assert_eq!(find(Some(RSDP), &memory).unwrap_err(), Error::Checksum { table: Name::Xsdt, address: 0x60_0000 });
    memory.put(RSDP, rsdp_2(0, 0));
    assert_eq!(find(Some(RSDP), &memory).unwrap_err(), Error::Missing(Name::Rsdt));
}

#[test]
fn a_machine_without_a_madt_or_a_processor_says_so() {
    let error = |madt: Vec<u8>| find(Some(RSDP), &bios(madt, fadt_pc())).unwrap_err();
    assert_eq!(error(table(*b"SSDT", 1, &[])), Error::Missing(Name::Madt));
    assert_eq!(error(madt(&[])), Error::NoProcessor { listed: 0 });
    let none = error(madt(&[xapic(0, 0), xapic(0xFF, 1), x2apic(5000, 1), x2apic(1, 2)]));
    assert_eq!(none.to_string(), "ACPI's MADT has no enabled processor with a usable APIC id (4 listed)");
}

#[test]
fn a_damaged_madt_says_where() {
    let error = |entries: &[Vec<u8>]| find(Some(RSDP), &bios(madt(entries), fadt_pc())).unwrap_err();
    assert_eq!(error(&[xapic(0, 1), vec![0; 8]]), Error::Entry { offset: 52, kind: 0, length: 0 });
    assert_eq!(error(&[xapic(0, 1), vec![1, 1]]), Error::Entry { offset: 52, kind: 1, length: 1 });
    assert_eq!(error(&[vec![0, 7, 0, 0, 1, 0, 0]]), Error::Entry { offset: 44, kind: 0, length: 7 });
    assert_eq!(error(&[vec![9, 15], vec![0; 13]]), Error::Entry { offset: 44, kind: 9, length: 15 });
    assert_eq!(error(&[vec![5, 8], vec![0; 6]]), Error::Entry { offset: 44, kind: 5, length: 8 });
    let past = error(&[xapic(0, 1), vec![200, 9, 0, 0]]);
    let text = "ACPI's MADT is damaged: its entry at byte 52, of type 200, cannot be 9 bytes long";
    assert_eq!(past.to_string(), text);
    let mut short = table(*b"APIC", 3, &[0; 3]);
    assert_eq!(
        find(Some(RSDP), &bios(short.clone(), fadt_pc())).unwrap_err(),
        Error::Length { table: Name::Madt, length: 39 }
    );
    for length in [0, 35, u32::MAX, 0x10_0000] {
        short[4..8].copy_from_slice(&length.to_le_bytes());
        let error = find(Some(RSDP), &bios(short.clone(), fadt_pc())).unwrap_err();
        assert_eq!(error, Error::Length { table: Name::Madt, length });
    }
    short[4..8].copy_from_slice(&5000_u32.to_le_bytes());
    let error = find(Some(RSDP), &bios(short, fadt_pc())).unwrap_err();
    assert_eq!(error, Error::Unreadable { table: Name::Madt, address: TABLES + 0x3000 });
}

#[test]
fn processors_are_found_without_a_fadt() {
    let fixed = |fadt: Vec<u8>| find(Some(RSDP), &bios(two_processors(), fadt)).unwrap().fixed;
    assert_eq!(fixed(table(*b"SSDT", 1, &[])), Err(Error::Missing(Name::Fadt)));
    let mut damaged = fadt_q35();
    damaged[100] ^= 1;
    assert_eq!(fixed(damaged), Err(Error::Checksum { table: Name::Fadt, address: TABLES + 0x1000 }));
    assert_eq!(fixed(fadt(100, 1, &[])), Err(Error::Length { table: Name::Fadt, length: 100 }));
}

#[test]
fn fields_of_the_fadt_count_where_they_name_a_register() {
    let fixed = |fields: &[(usize, &[u8])]| {
        find(Some(RSDP), &bios(two_processors(), fadt(244, 3, fields))).unwrap().fixed.unwrap()
    };
    let none = Fixed { timer: None, reset: None };
    let port = |port| Some(Timer { port, mask: u32::MAX });
    let all: (usize, &[u8]) = (112, &[0, 5, 0, 0]);
    assert_eq!(fixed(&[all]), none);
    assert_eq!(fixed(&[all, (91, &[4])]), none, "at no port");
    assert_eq!(fixed(&[all, (76, &[8, 6]), (91, &[4])]).timer, port(0x608));
    assert_eq!(fixed(&[all, (76, &[8, 6])]).timer, None, "of no length");
    assert_eq!(fixed(&[all, (76, &[8, 6, 1, 0]), (91, &[4])]).timer, None, "past the last port");
    assert_eq!(fixed(&[all, (76, &[8, 6]), (91, &[4]), (208, &[1, 32, 0, 0, 8, 4])]).timer, port(0x408));
    assert_eq!(fixed(&[all, (208, &[0, 32, 0, 0, 8, 4])]).timer, None, "in memory");
    let device = Register::Pci { device: 0x1F, function: 3, offset: 0x44 };
    let reset = fixed(&[all, (116, &[2, 8, 0, 0, 0x44, 0, 3, 0, 0x1F, 0, 0, 0, 6])]).reset;
    assert_eq!(reset, Some(Reset { register: device, value: 6 }));
    assert_eq!(fixed(&[all, (116, &[0x7F, 8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 6])]).reset, None, "elsewhere");
    assert_eq!(fixed(&[all, (116, &[1, 8, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 6])]).reset, None, "past the last port");
    assert_eq!(fixed(&[(116, &[1, 8, 0, 0, 0xF9, 0x0C, 0, 0, 0, 0, 0, 0, 6])]), none, "not supported");
}

#[test]
fn roots_that_refer_to_themselves_and_tables_that_overlap_are_read_once() {
    let mut memory = Fake::new();
    memory.put(RSDP, rsdp_2(0, TABLES)).put(TABLES, xsdt(&[TABLES, RSDP, 0, u64::MAX, TABLES + 8]));
    memory.put(0, two_processors());
    assert_eq!(find(Some(RSDP), &memory).unwrap_err(), Error::Missing(Name::Madt), "zero refers to nothing");
    // The MADT begins within the root, which it is a part of.
    let inner = madt(&[xapic(7, 1)]);
    let outer = table(*b"XSDT", 1, &[&(TABLES + 44).to_le_bytes()[..], &inner].concat());
    let mut memory = Fake::new();
    memory.put(RSDP, rsdp_2(0, TABLES)).put(TABLES, outer);
    assert_eq!(find(Some(RSDP), &memory).unwrap().processors.ids(), [7]);
}

/// No more than this, whatever the tables hold: the search, and of each table the checksum and every entry.
fn assert_bounded(memory: &Fake) {
    assert!(memory.reads() < 500_000, "{} reads", memory.reads());
    assert!(memory.bytes() < 4 << 20, "{} bytes", memory.bytes());
}

#[test]
fn the_largest_tables_are_read_in_bounded_time() {
    let most = usize::try_from(table::LONGEST).unwrap();
    let full = |signature, body: &[u8]| table(signature, 1, &body.repeat(most / body.len())[..most - 36]);
    let mut memory = Fake::new();
    memory.put(RSDP, rsdp_2(0, TABLES)).put(TABLES, full(*b"XSDT", &TABLES.to_le_bytes()));
    assert_eq!(find(None, &memory).unwrap_err(), Error::Missing(Name::Madt));
    assert_bounded(&memory);
    let entries: Vec<_> = (0..(most - 44) / 8).map(|id| xapic(u8::try_from(id % 256).unwrap(), 1)).collect();
    let memory = extended(madt(&entries), fadt_q35());
    assert_eq!(find(None, &memory).unwrap().processors.ids().len(), 255);
    assert_bounded(&memory);
    let memory = extended(madt(&vec![vec![7, 2]; (most - 44) / 2]), fadt_q35());
    assert_eq!(find(None, &memory).unwrap_err(), Error::NoProcessor { listed: 0 });
    assert_bounded(&memory);
}

/// A processor's entry: whether it is an x2APIC's, the id, the flags.
type Processor = (bool, u32, u32);

fn a_processor() -> impl Strategy<Value = Processor> {
    let id = prop_oneof![0..20_u32, 250..260_u32, 0xFFC..0x1004_u32, Just(u32::MAX), any::<u32>()];
    (any::<bool>(), id, 0..4_u32)
        .prop_map(|(extended, id, flags)| (extended, if extended { id } else { id & 0xFF }, flags))
}

proptest! {
    #[test]
    fn processors_are_what_the_entries_say(listed in prop::collection::vec(a_processor(), 0..40)) {
        let bytes = |&(extended, id, flags): &Processor| {
            if extended { x2apic(id, flags) } else { xapic(u8::try_from(id).unwrap(), flags) }
        };
        // Other entries are between them.
        let entries: Vec<_> = listed.iter().flat_map(|entry| [bytes(entry), interrupts()]).collect();
        let enabled = |&&(extended, id, flags): &&Processor| {
            flags & 1 != 0 && id != if extended { u32::MAX } else { 0xFF }
        };
        let xapics = listed.iter().filter(enabled).any(|&(extended, ..)| !extended);
        let mut ids = Vec::new();
        for &(extended, id, _) in listed.iter().filter(enabled) {
            if !(id < 0x1000 && ids.contains(&id) || extended && xapics && id < 255) {
                ids.push(id);
            }
        }
        let enabled = ids.len();
        ids.retain(|&id| id < 0x1000);
        match find(Some(RSDP), &extended(madt(&entries), fadt_q35())) {
            Ok(Tables { processors, .. }) => {
                prop_assert_eq!(processors.ids(), &ids[..]);
                prop_assert_eq!(processors.listed as usize, listed.len());
                prop_assert_eq!(processors.enabled as usize, enabled);
                prop_assert_eq!(processors.beyond as usize, enabled - ids.len());
            }
            Err(error) => {
                prop_assert_eq!(error, Error::NoProcessor { listed: u32::try_from(listed.len()).unwrap() });
                prop_assert!(ids.is_empty());
            }
        }
    }

    #[test]
    fn tables_with_damage_are_read_or_refused(
        wide in any::<bool>(), sealed in any::<bool>(),
        damage in prop::collection::vec((any::<Index>(), any::<Index>(), any::<u8>()), 0..6),
        cut in prop::option::of((any::<Index>(), any::<Index>()))
    ) {
        let entries = [xapic(0, 1), xapic(1, 1), x2apic(300, 1), interrupts()];
        let layout = if wide { extended } else { bios };
        let mut memory = layout(madt(&entries), fadt_q35());
        for (piece, at, value) in damage {
            let piece = memory.piece(piece.index(if wide { 4 } else { 5 }));
            let at = at.index(piece.len());
            piece[at] = value;
            // Damage that checksums do not show goes further.
            if sealed && piece.starts_with(b"RSD PTR ") {
                seal(&mut piece[..20], 8);
                if piece.len() > 20 {
                    seal(piece, 32);
                }
            } else if sealed {
                seal(piece, 9);
            }
        }
        if let Some((piece, at)) = cut {
            let piece = memory.piece(piece.index(if wide { 4 } else { 5 }));
            piece.truncate(at.index(piece.len()));
        }
        for rsdp in [Some(RSDP), None] {
            match find(rsdp, &memory) {
                Ok(Tables { processors, .. }) => prop_assert!((1..=MAX_VCPUS).contains(&processors.ids().len())),
                Err(error) => prop_assert!(!error.to_string().contains('\n') && error.to_string().len() < 120),
            }
        }
        assert_bounded(&memory);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        body in prop::collection::vec(any::<u8>(), 0..400), root in prop::collection::vec(any::<u8>(), 0..64),
        rsdp in prop::collection::vec(any::<u8>(), 0..48), length in prop::option::of(any::<u32>())
    ) {
        let mut memory = extended(table(*b"APIC", 3, &body), table(*b"FACP", 3, &body));
        prop_assert_eq!(find(Some(RSDP), &memory).is_ok(), find(None, &memory).is_ok());
        if let Some(length) = length {
            memory.piece(3)[4..8].copy_from_slice(&length.to_le_bytes());
            let _ = find(None, &memory).map_err(|error| error.to_string());
        }
        let high = 5 << 32;
        memory.put(high, table(*b"XSDT", 1, &root));
        let _ = find(None, &memory).map_err(|error| error.to_string());
        memory.put(RSDP, [&b"RSD PTR "[..], &rsdp].concat());
        let _ = find(Some(RSDP), &memory).map_err(|error| error.to_string());
        assert_bounded(&memory);
    }
}
