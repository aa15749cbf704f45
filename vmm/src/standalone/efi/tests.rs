use super::*;
use crate::standalone::image::STANDALONE;
use object::read::pe::PeFile64;
use object::{Object as _, ObjectSection as _};
use proptest::prelude::*;

/// Where the segments begin.
const VIRTUAL: u64 = 0x80_0000_0000;
/// The bytes of all segments are here in the file.
const BYTES: usize = 0x1000;

/// An ELF file with these segments: address, bytes in the file, bytes in memory, flags.
fn image(segments: &[(u64, u64, u64, u32)]) -> Vec<u8> {
    let mut file = vec![0; BYTES];
    file[..8].copy_from_slice(b"\x7FELF\x02\x01\x01\0");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &elf::ET_EXEC.0.to_le_bytes());
    put(18, &elf::EM_X86_64.0.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    // Program headers follow the file's, which has 64 bytes; each has 56.
    put(32, &64u64.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &u16::try_from(segments.len()).unwrap().to_le_bytes());
    for (number, &(address, in_file, in_memory, flags)) in segments.iter().enumerate() {
        let at = 64 + 56 * number;
        put(at, &elf::PT_LOAD.0.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        for (place, word) in [(8, BYTES as u64), (16, address), (24, address), (32, in_file), (40, in_memory)] {
            put(at + place, &word.to_le_bytes());
        }
    }
    let longest = segments.iter().map(|segment| segment.1).max().unwrap_or_default();
    file.extend((0..longest).map(|at| (at % 251) as u8));
    file
}

const CODE: u32 = elf::PF_R.0 | elf::PF_X.0;
const DATA: u32 = elf::PF_R.0 | elf::PF_W.0;

fn three() -> Vec<u8> {
    image(&[
        (VIRTUAL, 0x1F00, 0x1F00, CODE),
        (VIRTUAL + 0x2000, 0x300, 0x300, elf::PF_R.0),
        (VIRTUAL + 0x3000, 0x20, 0x5000, DATA),
    ])
}

#[test]
fn each_segment_is_a_section_as_far_from_the_first_as_in_the_image() {
    let file = application(&three()).unwrap();
    let pe = PeFile64::parse(&*file).unwrap();
    let sections: Vec<_> =
        pe.sections().map(|section| (section.name().unwrap().to_owned(), section.address(), section.size())).collect();
    let expected =
        [(".text", 0x1000, 0x1F00), (".rodata", 0x3000, 0x300), (".data", 0x4000, 0x5000), (".reloc", 0x9000, 12)];
    assert_eq!(sections, expected.map(|(name, start, size)| (name.to_owned(), start, size)));
    let bytes: Vec<u8> = (0..=250).cycle().take(0x1F00).collect();
    let text = pe.section_by_name(".text").unwrap();
    assert_eq!(text.data().unwrap(), bytes);
    assert_eq!(pe.section_by_name(".data").unwrap().data().unwrap()[..0x20], bytes[..0x20]);
}

#[test]
fn firmware_enters_it_at_the_first_byte_of_the_first_segment() {
    let file = application(&three()).unwrap();
    let pe = PeFile64::parse(&*file).unwrap();
    let headers = pe.nt_headers();
    assert_eq!(headers.file_header.machine.get(LE), pe::IMAGE_FILE_MACHINE_AMD64);
    let optional = &headers.optional_header;
    assert_eq!(optional.subsystem.get(LE), pe::IMAGE_SUBSYSTEM_EFI_APPLICATION);
    assert_eq!(optional.address_of_entry_point.get(LE), 0x1000);
    assert_eq!(optional.size_of_image.get(LE), 0xA000);
    assert_eq!(file.len() % FILE_ALIGNMENT as usize, 0);
}

#[test]
fn kipis_own_image_is_made_one() {
    let file = application(STANDALONE).unwrap();
    let pe = PeFile64::parse(&*file).unwrap();
    let names: Vec<_> = pe.sections().map(|section| section.name().unwrap().to_owned()).collect();
    assert_eq!(names, [".text", ".rodata", ".data", ".reloc"]);
}

#[test]
fn no_section_can_be_written_and_executed() {
    let file = application(&three()).unwrap();
    let pe = PeFile64::parse(&*file).unwrap();
    for section in pe.section_table().iter() {
        let flags = section.characteristics.get(LE).0;
        let both = pe::IMAGE_SCN_MEM_EXECUTE.0 | pe::IMAGE_SCN_MEM_WRITE.0;
        assert!(flags & both != both && flags & pe::IMAGE_SCN_MEM_READ.0 != 0);
    }
}

#[test]
fn a_loader_that_moves_it_finds_nothing_to_relocate() {
    let file = application(&three()).unwrap();
    let pe = PeFile64::parse(&*file).unwrap();
    assert_eq!(pe.nt_headers().file_header.characteristics.get(LE).0 & pe::IMAGE_FILE_RELOCS_STRIPPED.0, 0);
    let mut blocks = pe.data_directories().relocation_blocks(&*file, &pe.section_table()).unwrap().unwrap();
    let mut block = blocks.next().unwrap().unwrap();
    assert!(block.all(|relocation| relocation.typ == pe::IMAGE_REL_BASED_ABSOLUTE));
    assert!(blocks.next().unwrap().is_none());
}

#[test]
fn segments_that_share_a_page_or_hold_less_than_their_bytes_are_refused() {
    let refused = |segments: &[_]| application(&image(segments)).unwrap_err().to_string();
    let of = |address: u64| Error::Segment(address).to_string();
    assert_eq!(refused(&[(VIRTUAL, 8, 8, CODE), (VIRTUAL + 0x800, 8, 8, DATA)]), of(VIRTUAL + 0x800));
    assert_eq!(refused(&[(VIRTUAL, 8, 0x1001, CODE), (VIRTUAL + 0x1000, 8, 8, DATA)]), of(VIRTUAL + 0x1000));
    assert_eq!(refused(&[(VIRTUAL, 8, 4, CODE)]), of(VIRTUAL));
    assert_eq!(refused(&[(VIRTUAL, 8, 8, CODE), (VIRTUAL + (1 << 32), 8, 8, DATA)]), of(VIRTUAL + (1 << 32)));
    assert_eq!(refused(&[(VIRTUAL, 8, u64::MAX, CODE)]), of(VIRTUAL));
}

proptest! {
    #[test]
    fn a_damaged_image_is_refused_or_made_one(at in 0usize..400, bytes in prop::collection::vec(any::<u8>(), 1..8)) {
        let mut image = three();
        image[at..at + bytes.len()].copy_from_slice(&bytes);
        if let Ok(file) = application(&image) {
            prop_assert!(file.len() <= 4 * image.len() + 0x1000);
        }
    }
}
