extern crate std;

use super::*;
use crate::memory::Span;
use crate::memory::fake::Fake;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const TABLE: u64 = 0x1000;
const LIST: u64 = 0x2000;
const IMAGE: u64 = 0x3000;
const OPTIONS: u64 = 0x4000;

/// A table that is none of ACPI's.
const SMBIOS: Guid = guid!("eb9d2d31-2d88-11d3-9a16-0090273fc14d");

/// A structure of 64-bit fields at these offsets.
fn structure(fields: &[(usize, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    for &(offset, value) in fields {
        bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn system(count: u64, tables: &[(Guid, u64)]) -> Fake {
    let mut memory = Fake::new();
    memory.put(
        TABLE,
        structure(&[
            (0, SystemTable::SIGNATURE),
            (offset_of!(SystemTable, boot_services), 0xB007),
            (offset_of!(SystemTable, stdout), 0xC0),
            (offset_of!(SystemTable, number_of_configuration_table_entries), count),
            (offset_of!(SystemTable, configuration_table), LIST),
        ]),
    );
    let list = tables.iter().flat_map(|(guid, address)| guid.to_bytes().into_iter().chain(address.to_le_bytes()));
    memory.put(LIST, list.collect::<Vec<_>>());
    memory
}

fn options_of(units: &[u16], bytes: u32) -> Result<CommandLine, Error> {
    let mut memory = Fake::new();
    memory.put(
        IMAGE,
        structure(&[
            (offset_of!(LoadedImageProtocol, load_options_size), bytes.into()),
            (offset_of!(LoadedImageProtocol, load_options), OPTIONS),
        ]),
    );
    memory.put(OPTIONS, units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>());
    load_options(IMAGE, &memory)
}

fn words(text: &str) -> std::string::String {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    options_of(&units, u32::try_from(2 * units.len()).unwrap()).unwrap().text().into()
}

fn descriptor(of: MemoryType, start: u64, pages: u64, attributes: MemoryAttribute) -> Vec<u8> {
    let mut bytes = structure(&[
        (offset_of!(MemoryDescriptor, ty), of.0.into()),
        (offset_of!(MemoryDescriptor, phys_start), start),
        (offset_of!(MemoryDescriptor, page_count), pages),
        (offset_of!(MemoryDescriptor, att), attributes.bits()),
    ]);
    // As EDK II's, which are longer than the specification's.
    bytes.truncate(48);
    bytes
}

#[test]
fn the_system_table_tells_where_the_rest_is() {
    let tables = [(SMBIOS, 1), (ACPI_2, 2)];
    let expected = System { boot_services: 0xB007, console: 0xC0, rsdp: Some(2) };
    assert_eq!(System::read(TABLE, &system(2, &tables)), Ok(expected));
}

#[test]
fn the_rsdp_of_acpi_2_is_preferred() {
    let (one, two) = ((ACPI_1, 1), (ACPI_2, 2));
    let rsdp = |tables: &[_]| System::read(TABLE, &system(tables.len() as u64, tables)).unwrap().rsdp;
    assert_eq!(rsdp(&[one, two]), Some(2));
    assert_eq!(rsdp(&[two, one]), Some(2));
    assert_eq!(rsdp(&[one]), Some(1));
    assert_eq!(rsdp(&[]), None);
}

#[test]
fn what_is_no_system_table_is_refused() {
    let mut memory = system(0, &[]);
    memory.piece(0)[0] = 0;
    let error = System::read(TABLE, &memory).unwrap_err();
    assert_eq!(error, Error::Signature { found: SystemTable::SIGNATURE & !0xFF });
    let error = System::read(TABLE + 0x1_0000, &memory).unwrap_err();
    assert_eq!(error, Error::Unreadable { part: "system table", address: TABLE + 0x1_0000 });
    let error = System::read(TABLE, &system(2, &[(SMBIOS, 1)])).unwrap_err();
    assert_eq!(error, Error::Unreadable { part: "list of configuration tables", address: LIST });
}

#[test]
fn no_more_than_256_configuration_tables_are_looked_through() {
    let tables = vec![(SMBIOS, 1); 256];
    let memory = system(u64::MAX, &tables);
    assert_eq!(System::read(TABLE, &memory).unwrap().rsdp, None);
}

#[test]
fn load_options_are_words_without_the_images_name() {
    assert_eq!(words("rounds=20 end=qemu"), "rounds=20 end=qemu");
    assert_eq!(words("kipi.efi rounds=20").trim(), "rounds=20");
    assert_eq!(words(r"  FS0:\EFI\BOOT\BOOTX64.EFI  rounds=20 end=halt").trim(), "rounds=20 end=halt");
    assert_eq!(words("kipi"), "");
    assert_eq!(words(""), "");
    assert_eq!(words("rounds=20 ünï=😀"), "rounds=20 ünï=😀");
}

#[test]
fn load_options_that_are_no_text_are_ignored() {
    assert_eq!(words("rounds=20\u{1}"), "");
    assert_eq!(options_of(&[0x61, 0x3D], 3).unwrap().text(), "", "an odd number of bytes");
    assert_eq!(options_of(&[0x61, 0xD800, 0x3D], 6).unwrap().text(), "a?=", "half a surrogate pair");
}

#[test]
fn load_options_end_at_their_size_or_where_memory_ends() {
    assert_eq!(options_of(&[0x61, 0x3D, 0x62], 4).unwrap().text(), "a=");
    let error = Error::Unreadable { part: "load options", address: OPTIONS };
    assert_eq!(options_of(&[0x61, 0x3D], 6).unwrap_err(), error);
    let long = options_of(&[0x3D; 5000], 10_000).unwrap();
    assert!(long.is_truncated() && long.text().len() == 2048);
}

#[test]
fn loaders_and_boot_services_memory_is_free_and_nothing_else() {
    let cached = MemoryAttribute::WRITE_BACK;
    let types = 0..20u32;
    let map: Vec<u8> =
        types.flat_map(|of| descriptor(MemoryType(of), 0x100_0000 + 0x2000 * u64::from(of), 1, cached)).collect();
    let usable: Vec<u64> =
        memory_map(&map, 48).unwrap().usable().map(|span| (span.start - 0x100_0000) / 0x2000).collect();
    assert_eq!(usable, [1, 2, 3, 4, 7]);
}

#[test]
fn memory_for_a_purpose_or_without_a_cache_is_not_used() {
    let cached = MemoryAttribute::WRITE_BACK;
    let map = [
        descriptor(MemoryType::CONVENTIONAL, 0x10_0000, 16, cached | MemoryAttribute::MORE_RELIABLE),
        descriptor(MemoryType::CONVENTIONAL, 0x20_0000, 16, MemoryAttribute::UNCACHEABLE),
        descriptor(MemoryType::CONVENTIONAL, 0x30_0000, 16, cached | MemoryAttribute::SPECIAL_PURPOSE),
    ]
    .concat();
    let usable: Vec<Span> = memory_map(&map, 48).unwrap().usable().collect();
    assert_eq!(usable, [Span { start: 0x10_0000, end: 0x11_0000 }]);
}

#[test]
fn short_descriptors_are_refused() {
    for bytes in [0, 39] {
        assert_eq!(memory_map(&[0; 80], bytes).err(), Some(Error::Descriptor { bytes }));
    }
    assert_eq!(memory_map(&[0; 80], 40).unwrap().bytes(), 0);
}

proptest! {
    #[test]
    fn any_map_is_read(bytes in prop::collection::vec(any::<u8>(), 0..500), size in 40usize..100) {
        let map = memory_map(&bytes, size).unwrap();
        for span in map.usable() {
            prop_assert!(span.start < span.end && span.start >= EFI_PAGE);
        }
    }

    #[test]
    fn any_load_options_are_read(units in prop::collection::vec(any::<u16>(), 0..50), bytes in any::<u32>()) {
        if let Ok(line) = options_of(&units, bytes) {
            prop_assert!(line.text().chars().all(|char| !char.is_control() || char.is_whitespace()));
        }
    }

    #[test]
    fn any_system_table_is_read(bytes in prop::collection::vec(any::<u8>(), 0..120), at in 8usize..100, count: u8) {
        let mut memory = system(count.into(), &[(ACPI_1, 1)]);
        let table = memory.piece(0);
        let end = table.len().min(at + bytes.len());
        table[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = System::read(TABLE, &memory);
        prop_assert!((memory.reads() as u64) < 2 * MOST_TABLES + 8);
    }
}
