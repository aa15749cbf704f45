//! The standalone image as a UEFI application: a PE32+ file around the segments of the ELF file.
//!
//! The image runs wherever it is loaded, and its entry for UEFI is its first byte (`guest-stub/standalone/layout.ld`). So
//! nothing is relocated: each segment becomes a section, as far from the first one as in the ELF file.

#![expect(clippy::cast_possible_truncation, reason = "`section` sees to it that all sections end below 1 GiB")]

use object::LittleEndian as LE;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::pe::{self, ImageDataDirectory, ImageDosHeader, ImageNtHeaders64, ImageSectionHeader, SectionFlags};
use object::pod::{bytes_of, bytes_of_slice};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{U16, U32, U64};

#[cfg(test)]
mod tests;

/// Of sections in memory: firmware protects them by pages.
const SECTION_ALIGNMENT: u32 = 0x1000;
/// Of sections in the file.
const FILE_ALIGNMENT: u32 = 0x200;
/// Where the first segment is in memory: behind the page of the headers.
const FIRST: u32 = SECTION_ALIGNMENT;

/// Why an image cannot be made an application.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no ELF file.
    #[error("the standalone image is no ELF file: {0}")]
    Elf(#[from] object::read::Error),
    /// A segment is not where a section can be.
    #[error(
        "the standalone image's segment at {0:#x} cannot be a section: it is not at a page of its own within 4 GiB"
    )]
    Segment(u64),
}

/// What is loaded, and where.
struct Section<'i> {
    name: &'static [u8],
    /// Its address, relative to the image's.
    start: u32,
    /// Bytes in memory; those that the file does not have are zero.
    size: u32,
    bytes: &'i [u8],
    flags: SectionFlags,
}

/// No relocation: a loader that moves an image wants to see a list (PE format, "The .reloc Section").
const NO_RELOCATIONS: [u8; 12] = {
    let mut block = [0; 12];
    // The page's address is zero; the block's size; two entries of type ABSOLUTE.
    block[4] = 12;
    block
};

/// The application.
///
/// # Errors
/// Every variant, of an image that is not kipi's.
pub fn application(image: &[u8]) -> Result<Vec<u8>, Error> {
    let mut sections = sections(image)?;
    let end = sections.iter().map(|section| section.start + section.size).max().unwrap_or(FIRST);
    let relocations = end.next_multiple_of(SECTION_ALIGNMENT);
    sections.push(Section {
        name: b".reloc",
        start: relocations,
        size: NO_RELOCATIONS.len() as u32,
        bytes: &NO_RELOCATIONS,
        flags: pe::IMAGE_SCN_CNT_INITIALIZED_DATA | pe::IMAGE_SCN_MEM_DISCARDABLE | pe::IMAGE_SCN_MEM_READ,
    });

    let mut file = Vec::new();
    let mut data = headers_size(sections.len());
    let headers: Vec<_> = sections.iter().map(|section| section_header(section, &mut data)).collect();
    file.extend_from_slice(bytes_of(&dos_header()));
    file.extend_from_slice(bytes_of(&nt_headers(&sections)));
    file.extend_from_slice(bytes_of_slice(&directories(relocations)));
    file.extend_from_slice(bytes_of_slice(&headers));
    file.resize(headers_size(sections.len()) as usize, 0);
    for section in &sections {
        file.extend_from_slice(section.bytes);
        file.resize(file.len().next_multiple_of(FILE_ALIGNMENT as usize), 0);
    }
    Ok(file)
}

/// The image's segments.
fn sections(image: &[u8]) -> Result<Vec<Section<'_>>, Error> {
    let header = FileHeader64::<LE>::parse(image)?;
    let headers = header.program_headers(LE, image)?;
    let loaded = headers.iter().filter(|header| header.p_type(LE) == elf::PT_LOAD);
    let first = loaded.clone().map(|header| header.p_vaddr(LE)).min().unwrap_or_default();
    let mut sections = Vec::new();
    let mut end = FIRST;
    for header in loaded {
        let section = section(header, first, image).filter(|section| section.start >= end);
        let section = section.ok_or(Error::Segment(header.p_vaddr(LE)))?;
        end = (section.start + section.size).next_multiple_of(SECTION_ALIGNMENT);
        sections.push(section);
    }
    Ok(sections)
}

/// One segment; `None`: there is no such section.
fn section<'i>(header: &ProgramHeader64<LE>, first: u64, image: &'i [u8]) -> Option<Section<'i>> {
    /// What all sections of an image of a few MiB are far below.
    const HIGHEST: u32 = 1 << 30;
    let start = u32::try_from(header.p_vaddr(LE) - first).ok()?.checked_add(FIRST)?;
    let size = u32::try_from(header.p_memsz(LE)).ok()?;
    let bytes = header.data(LE, image).ok()?;
    let flags = header.p_flags(LE);
    let (name, flags): (&[u8], _) = if flags.0 & elf::PF_X.0 != 0 {
        (b".text", pe::IMAGE_SCN_CNT_CODE | pe::IMAGE_SCN_MEM_EXECUTE | pe::IMAGE_SCN_MEM_READ)
    } else if flags.0 & elf::PF_W.0 != 0 {
        (b".data", pe::IMAGE_SCN_CNT_INITIALIZED_DATA | pe::IMAGE_SCN_MEM_READ | pe::IMAGE_SCN_MEM_WRITE)
    } else {
        (b".rodata", pe::IMAGE_SCN_CNT_INITIALIZED_DATA | pe::IMAGE_SCN_MEM_READ)
    };
    let fits = start % SECTION_ALIGNMENT == 0 && bytes.len() <= size as usize && start.checked_add(size)? < HIGHEST;
    fits.then_some(Section { name, start, size, bytes, flags })
}

/// Bytes of the headers in the file.
fn headers_size(sections: usize) -> u32 {
    let size = size_of::<ImageDosHeader>()
        + size_of::<ImageNtHeaders64>()
        + pe::IMAGE_NUMBEROF_DIRECTORY_ENTRIES * size_of::<ImageDataDirectory>()
        + sections * size_of::<ImageSectionHeader>();
    (size as u32).next_multiple_of(FILE_ALIGNMENT)
}

fn u16(value: u16) -> U16<LE> {
    U16::new(LE, value)
}

fn u32(value: u32) -> U32<LE> {
    U32::new(LE, value)
}

fn u64(value: u64) -> U64<LE> {
    U64::new(LE, value)
}

/// The PE header follows at once: no program for DOS is between them.
fn dos_header() -> ImageDosHeader {
    let zero = u16(0);
    ImageDosHeader {
        e_magic: u16(pe::IMAGE_DOS_SIGNATURE),
        e_cblp: zero,
        e_cp: zero,
        e_crlc: zero,
        e_cparhdr: zero,
        e_minalloc: zero,
        e_maxalloc: zero,
        e_ss: zero,
        e_sp: zero,
        e_csum: zero,
        e_ip: zero,
        e_cs: zero,
        e_lfarlc: zero,
        e_ovno: zero,
        e_res: [zero; 4],
        e_oemid: zero,
        e_oeminfo: zero,
        e_res2: [zero; 10],
        e_lfanew: u32(size_of::<ImageDosHeader>() as u32),
    }
}

fn nt_headers(sections: &[Section<'_>]) -> ImageNtHeaders64 {
    let size_of_optional =
        size_of::<pe::ImageOptionalHeader64>() + pe::IMAGE_NUMBEROF_DIRECTORY_ENTRIES * size_of::<ImageDataDirectory>();
    let end = sections.last().map_or(FIRST, |last| last.start + last.size);
    let total = |of: fn(&Section<'_>) -> bool| {
        let sizes = sections.iter().filter(|section| of(section)).map(|section| section.bytes.len() as u32);
        u32(sizes.map(|size| size.next_multiple_of(FILE_ALIGNMENT)).sum())
    };
    let is_code = |section: &Section<'_>| section.flags.0 & pe::IMAGE_SCN_CNT_CODE.0 != 0;
    ImageNtHeaders64 {
        signature: u32(pe::IMAGE_NT_SIGNATURE),
        file_header: pe::ImageFileHeader {
            machine: U16::new(LE, pe::IMAGE_FILE_MACHINE_AMD64),
            number_of_sections: u16(sections.len() as u16),
            time_date_stamp: u32(0),
            pointer_to_symbol_table: u32(0),
            number_of_symbols: u32(0),
            size_of_optional_header: u16(size_of_optional as u16),
            characteristics: U16::new(LE, pe::IMAGE_FILE_EXECUTABLE_IMAGE | pe::IMAGE_FILE_LARGE_ADDRESS_AWARE),
        },
        optional_header: pe::ImageOptionalHeader64 {
            magic: u16(pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC),
            major_linker_version: 0,
            minor_linker_version: 0,
            size_of_code: total(is_code),
            size_of_initialized_data: total(|section| section.flags.0 & pe::IMAGE_SCN_CNT_CODE.0 == 0),
            size_of_uninitialized_data: u32(0),
            address_of_entry_point: u32(FIRST),
            base_of_code: u32(FIRST),
            image_base: u64(0),
            section_alignment: u32(SECTION_ALIGNMENT),
            file_alignment: u32(FILE_ALIGNMENT),
            major_operating_system_version: u16(0),
            minor_operating_system_version: u16(0),
            major_image_version: u16(0),
            minor_image_version: u16(0),
            major_subsystem_version: u16(0),
            minor_subsystem_version: u16(0),
            win32_version_value: u32(0),
            size_of_image: u32(end.next_multiple_of(SECTION_ALIGNMENT)),
            size_of_headers: u32(headers_size(sections.len())),
            check_sum: u32(0),
            subsystem: U16::new(LE, pe::IMAGE_SUBSYSTEM_EFI_APPLICATION),
            dll_characteristics: U16::new(LE, pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT),
            size_of_stack_reserve: u64(0),
            size_of_stack_commit: u64(0),
            size_of_heap_reserve: u64(0),
            size_of_heap_commit: u64(0),
            loader_flags: u32(0),
            number_of_rva_and_sizes: u32(pe::IMAGE_NUMBEROF_DIRECTORY_ENTRIES as u32),
        },
    }
}

/// All empty, but that of relocations.
fn directories(relocations: u32) -> [ImageDataDirectory; pe::IMAGE_NUMBEROF_DIRECTORY_ENTRIES] {
    let empty = ImageDataDirectory { virtual_address: u32(0), size: u32(0) };
    let mut directories = [empty; pe::IMAGE_NUMBEROF_DIRECTORY_ENTRIES];
    directories[pe::IMAGE_DIRECTORY_ENTRY_BASERELOC] =
        ImageDataDirectory { virtual_address: u32(relocations), size: u32(NO_RELOCATIONS.len() as u32) };
    directories
}

/// `data`: where the section's bytes begin in the file; and then, where the next one's do.
fn section_header(section: &Section<'_>, data: &mut u32) -> ImageSectionHeader {
    let mut name = [0; pe::IMAGE_SIZEOF_SHORT_NAME];
    name[..section.name.len()].copy_from_slice(section.name);
    let size = (section.bytes.len() as u32).next_multiple_of(FILE_ALIGNMENT);
    let header = ImageSectionHeader {
        name,
        virtual_size: u32(section.size),
        virtual_address: u32(section.start),
        size_of_raw_data: u32(size),
        pointer_to_raw_data: u32(*data),
        pointer_to_relocations: u32(0),
        pointer_to_linenumbers: u32(0),
        number_of_relocations: u16(0),
        number_of_linenumbers: u16(0),
        characteristics: U32::new(LE, section.flags),
    };
    *data += size;
    header
}
