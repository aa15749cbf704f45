//! Images of this VMM's guest load; what is damaged, and what belongs to others, is refused by its bytes alone.

use super::*;
use object::LittleEndian;
use object::elf;
use proptest::prelude::*;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use vm_memory::{Bytes as _, GuestAddress};

const GOOD: ImageHeader = ImageHeader {
    magic: abi::MAGIC,
    abi_version: abi::ABI_VERSION,
    reserved: 0,
    text_start: abi::IMAGE + 0x1000,
    data_start: abi::IMAGE + 0x2000,
    data_end: abi::IMAGE + 0x3000,
    join: abi::IMAGE + 0x1000,
};

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap()
}

#[test]
fn the_embedded_image_loads_and_knows_its_entry() {
    let loaded = load(&memory(), EMBEDDED).unwrap();
    assert!((loaded.header.text_start..loaded.header.data_start).contains(&loaded.entry));
    assert_eq!(symbolise(EMBEDDED, loaded.entry).as_deref(), Some("_start+0x0"));
}

#[test]
fn an_image_of_another_abi_version_is_refused() {
    let other = ImageHeader { abi_version: abi::ABI_VERSION + 1, ..GOOD };
    let error = check(other).unwrap_err().to_string();
    assert!(error.contains(&format!("ABI version {}", abi::ABI_VERSION + 1)), "{error}");
}

#[test]
fn addresses_outside_the_image_have_no_name() {
    // Where a reset processor starts, and where the host's kernel may lie.
    for address in [0xFFF0, 0xFFFF_FFFF_C035_120C, u64::MAX] {
        assert_eq!(symbolise(EMBEDDED, address), None, "{address:#x}");
    }
}

/// The embedded image, with these bytes from `offset` on.
fn patched(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = EMBEDDED.to_vec();
    image[offset..][..bytes.len()].copy_from_slice(bytes);
    image
}

/// Where a field of a program header is: [`field::PADDR`] and its like, of the header with this index.
fn at(header: usize, field: usize) -> usize {
    size_of::<elf::FileHeader64<LittleEndian>>() + header * size_of::<elf::ProgramHeader64<LittleEndian>>() + field
}

/// Offsets in an ELF header (`E_`) and in a program header (`P_`) of class 64.
mod field {
    pub(super) const E_CLASS: usize = 4;
    pub(super) const E_DATA: usize = 5;
    pub(super) const E_TYPE: usize = 16;
    pub(super) const E_MACHINE: usize = 18;
    pub(super) const E_ENTRY: usize = 24;
    pub(super) const E_PHNUM: usize = 56;
    pub(super) const P_FLAGS: usize = 4;
    pub(super) const P_OFFSET: usize = 8;
    pub(super) const P_VADDR: usize = 16;
    pub(super) const P_PADDR: usize = 24;
    pub(super) const P_FILESZ: usize = 32;
    pub(super) const P_MEMSZ: usize = 40;
}

/// The program headers of `layout.ld`, by index.
mod header {
    pub(super) const TRAMPOLINE: usize = 0;
    pub(super) const TEXT: usize = 3;
    pub(super) const DATA: usize = 4;
}

fn refusal(image: &[u8]) -> String {
    load(&memory(), image).unwrap_err().to_string()
}

#[test]
fn files_of_others_are_refused() {
    use field::{E_CLASS, E_DATA, E_MACHINE, E_TYPE};
    let aarch64 = 183_u16.to_le_bytes();
    for (image, says) in [
        (b"not an ELF file, but long enough to hold a header of one.....".to_vec(), "not a loadable ELF file"),
        (EMBEDDED[..40].to_vec(), "not a loadable ELF file"),
        (patched(E_CLASS, &[1]), "ELFCLASS32"),
        (patched(E_DATA, &[2]), "endian"),
        (patched(E_MACHINE, &aarch64), "its machine is 183, not 62"),
        (patched(E_TYPE, &[3]), "its type is 3, not 2"),
    ] {
        let refusal = refusal(&image);
        assert!(refusal.contains(says), "no {says:?} in {refusal}");
    }
    assert!(matches!(check(ImageHeader { magic: 7, ..GOOD }), Err(Error::NotKipi { found: 7 })));
}

#[test]
fn a_segment_is_where_the_memory_map_has_one() {
    use field::{E_ENTRY, E_PHNUM, P_FILESZ, P_FLAGS, P_MEMSZ, P_OFFSET, P_PADDR, P_VADDR};
    use header::{DATA, TEXT, TRAMPOLINE};
    let moved = |header, to: u64| {
        let mut image = patched(at(header, P_PADDR), &to.to_le_bytes());
        image[at(header, P_VADDR)..][..8].copy_from_slice(&to.to_le_bytes());
        image
    };
    let sized = |size: u64| patched(at(DATA, P_MEMSZ), &size.to_le_bytes());
    let entered = |entry: u64| patched(E_ENTRY, &entry.to_le_bytes());
    for (image, says) in [
        (sized(1 << 62), "0x4000000000000000 bytes"),
        (sized(u64::MAX), "0xffffffffffffffff bytes"),
        (sized(1), "more than the segment holds"),
        (moved(TRAMPOLINE, abi::COMMAND_PAGE), "0x10000"),
        (moved(DATA, abi::PAGE_TABLES), "0x400000"),
        (moved(DATA, abi::VCPU_AREAS), "0x600000"),
        (moved(DATA, abi::IMAGE_END - abi::PAGE), "not where a segment"),
        (moved(DATA, u64::MAX - 7), "not where a segment"),
        (moved(DATA, abi::IMAGE + 0x2000), "overlap"),
        (patched(at(TEXT, P_VADDR), &[0xFF]), "another address"),
        (patched(at(TEXT, P_OFFSET), &u64::MAX.to_le_bytes()), "not in the file"),
        (patched(at(TEXT, P_FILESZ), &u64::MAX.to_le_bytes()), "not in the file"),
        (patched(at(TEXT, P_FLAGS), &[4]), "no executable segment"),
        (patched(E_PHNUM, &[0xFF, 0x10]), "4351 program headers"),
        (entered(0), "no executable segment"),
        (entered(u64::MAX), "no executable segment"),
        (entered(abi::TRAMPOLINE), "not in its text"),
    ] {
        let refusal = refusal(&image);
        assert!(refusal.contains(says), "no {says:?} in {refusal}");
    }
}

#[test]
fn a_name_of_any_length_fits_into_a_line() {
    let of = |length: usize| ('a'..='z').cycle().take(length).collect::<String>();
    for length in [0, 1, 160] {
        assert_eq!(shortened(&of(length)), of(length));
    }
    for length in [161, 162, 1_454, 100_000] {
        let (whole, short) = (of(length), shortened(&of(length)).into_owned());
        assert_eq!(short.chars().count(), 160, "{length}");
        let (head, tail) = short.split_once('…').unwrap();
        assert!(whole.starts_with(head) && whole.ends_with(tail), "{length}: {short}");
    }
}

#[test]
fn what_is_not_a_file_is_not_read() {
    let kind = |path: &str| read(Path::new(path)).unwrap_err();
    assert!(matches!(kind("/dev/zero"), Error::Read { source: bounded::Error::Endless("character device"), .. }));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listening = UnixListener::bind(&path).unwrap();
    assert!(matches!(read(&path), Err(Error::Read { source: bounded::Error::Endless("socket"), .. })));
}

#[test]
fn a_file_is_read_up_to_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest");
    // Sparse: a hole takes no room on the disk.
    File::create(&path).unwrap().set_len(24 << 30).unwrap();
    assert!(matches!(read(&path), Err(Error::Read { source: bounded::Error::TooLarge(_), .. })));
    std::fs::write(&path, EMBEDDED).unwrap();
    assert_eq!(read(&path).unwrap(), EMBEDDED);
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let (reader, mut writer) = io::pipe().unwrap();
    let filler = std::thread::spawn(move || writer.write_all(EMBEDDED).unwrap());
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    assert_eq!(read(Path::new(&path)).unwrap(), EMBEDDED);
    filler.join().unwrap();
}

#[test]
fn a_header_cannot_map_what_is_not_the_images() {
    for damaged in [
        ImageHeader { text_start: 0, ..GOOD },
        ImageHeader { data_start: abi::IMAGE, ..GOOD },
        ImageHeader { data_end: abi::IMAGE_END + 0x1000, ..GOOD },
        ImageHeader { data_end: u64::MAX, ..GOOD },
        ImageHeader { text_start: abi::IMAGE + 1, ..GOOD },
    ] {
        assert!(matches!(check(damaged), Err(Error::Damaged { .. })), "{damaged:?}");
    }
}

/// What happens to an image: bytes of its headers are replaced (a place, and what is written there), and it loses its end.
fn damage() -> impl Strategy<Value = Vec<u8>> {
    const HEADERS: usize = 64 + 6 * 56;
    let word = prop_oneof![
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
        (0..64_u32).prop_map(|bit| 1 << bit),
        (0..64_u32).prop_map(|bit| u64::MAX >> bit),
        (0..0x420_u64).prop_map(|page| page * abi::PAGE),
    ];
    let in_file = (0..EMBEDDED.len() - 8).prop_map(|offset| offset & !7);
    let place = prop_oneof![4 => (0..HEADERS / 4).prop_map(|word| word * 4), 1 => in_file];
    let writes = proptest::collection::vec((place, word, 1..=8_usize), 0..6);
    let length = prop_oneof![4 => Just(EMBEDDED.len()), 1 => 0..EMBEDDED.len()];
    (writes, length).prop_map(|(writes, length)| {
        let mut image = EMBEDDED.to_vec();
        for (offset, word, size) in writes {
            image[offset..][..size].copy_from_slice(&word.to_le_bytes()[..size]);
        }
        image.truncate(length);
        image
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Its own segments stay what they are, and nothing outside of the image's places is written: there the memory is as it was.
    #[test]
    fn a_damaged_image_is_refused_or_loads_into_its_places(image in damage()) {
        let memory = memory();
        match load(&memory, &image) {
            Ok(Loaded { entry, header }) => {
                prop_assert!((header.text_start..header.data_start).contains(&entry));
                prop_assert!(header.text_start >= abi::IMAGE && header.data_end <= abi::IMAGE_END);
            }
            Err(error) => prop_assert!(error.to_string().starts_with("guest image"), "{error}"),
        }
        for (start, end) in [(0, abi::TRAMPOLINE), (abi::PROBE_RECORD, abi::IMAGE), (abi::PAGE_TABLES, 4 << 20)] {
            let mut between = vec![0; usize::try_from(end - start).unwrap()];
            memory.read_slice(&mut between, GuestAddress(start)).unwrap();
            prop_assert!(between.iter().all(|&byte| byte == 0), "written between {start:#x} and {end:#x}");
        }
        // Names are for messages only: any answer will do, soon.
        let _ = symbolise(&image, abi::IMAGE + 0x3000);
    }
}
