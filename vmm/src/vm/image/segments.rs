//! The loadable segments of an image, each where the guest's memory map has a place for it.

use super::Error;
use guest_stub::abi;
use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use std::ops::Range;

/// The entry, and all segments by rising address: apart from each other, and each in one of [`PLACES`].
pub(super) struct Parsed<'i> {
    pub(super) segments: Vec<Segment<'i>>,
    pub(super) entry: u64,
}

/// What is loaded, and where.
pub(super) struct Segment<'i> {
    pub(super) start: u64,
    /// First address past it: the segment may be longer than its bytes.
    end: u64,
    pub(super) bytes: &'i [u8],
    is_code: bool,
}

/// Where the memory map has a segment of the image. Everywhere else is what the VMM writes before the guest starts, or what vCPUs work in.
const PLACES: [Range<u64>; 4] = [
    abi::TRAMPOLINE..abi::TRAMPOLINE + abi::PAGE,
    abi::PROBES..abi::PROBES + abi::PROBE_PAGES * abi::PAGE,
    abi::IMAGE..abi::IMAGE_END,
    abi::USER_TEXT..abi::USER_TEXT + abi::PAGE,
];

/// No image has more program headers; those of `layout.ld` are six.
const MAX_HEADERS: usize = 64;

/// Finds the segments and checks where they are. What it allocates is bounded by [`MAX_HEADERS`], whatever the image says.
pub(super) fn parse(image: &[u8]) -> Result<Parsed<'_>, Error> {
    let elf = |reason: &str| Error::Elf(reason.to_owned());
    let is_of_class = |class| image.get(..5).is_some_and(|start| start[..4] == elf::ELFMAG && start[4] == class);
    if is_of_class(elf::ELFCLASS32.0) {
        return Err(elf("its class is ELFCLASS32, not ELFCLASS64"));
    }
    let header = FileHeader64::<LittleEndian>::parse(image).map_err(|error| elf(&error.to_string()))?;
    let endian = header.endian().map_err(|error| elf(&error.to_string()))?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        return Err(Error::Elf(format!(
            "its machine is {}, not {} (x86-64)",
            header.e_machine(endian).0,
            elf::EM_X86_64.0
        )));
    }
    if header.e_type(endian) != elf::ET_EXEC {
        return Err(Error::Elf(format!("its type is {}, not {} (ET_EXEC)", header.e_type(endian).0, elf::ET_EXEC.0)));
    }
    let headers = header.program_headers(endian, image).map_err(|error| elf(&error.to_string()))?;
    if headers.len() > MAX_HEADERS {
        return Err(Error::Elf(format!("it has {} program headers, more than {MAX_HEADERS}", headers.len())));
    }
    // One that takes no memory and has bytes all the same is refused below: the loader would write them.
    let is_empty =
        |header: &elf::ProgramHeader64<LittleEndian>| header.p_memsz(endian).max(header.p_filesz(endian)) == 0;
    let loadable = headers.iter().filter(|header| header.p_type(endian) == elf::PT_LOAD && !is_empty(header));
    let mut segments = loadable.map(|header| segment(header, endian, image)).collect::<Result<Vec<_>, _>>()?;
    segments.sort_by_key(|segment| segment.start);
    if let Some([one, other]) = segments.array_windows().find(|[one, other]| one.end > other.start) {
        let ([start, end], [other_start, other_end]) = ([one.start, one.end], [other.start, other.end]);
        return Err(Error::Layout(format!(
            "its segments {start:#x} to {end:#x} and {other_start:#x} to {other_end:#x} overlap"
        )));
    }
    let entry = header.e_entry(endian);
    if !segments.iter().any(|segment| segment.is_code && (segment.start..segment.end).contains(&entry)) {
        return Err(Error::Layout(format!("its entry {entry:#x} is in no executable segment")));
    }
    Ok(Parsed { segments, entry })
}

/// One segment, which is in one of [`PLACES`].
fn segment<'i>(
    header: &elf::ProgramHeader64<LittleEndian>,
    endian: LittleEndian,
    image: &'i [u8],
) -> Result<Segment<'i>, Error> {
    let (start, size) = (header.p_paddr(endian), header.p_memsz(endian));
    let place = PLACES.iter().find(|place| place.contains(&start));
    let end = start.checked_add(size).filter(|&end| place.is_some_and(|place| end <= place.end)).ok_or_else(|| {
        Error::Layout(format!(
            "its segment at {start:#x} with {size:#x} bytes is not where a segment of the image may be"
        ))
    })?;
    if header.p_vaddr(endian) != start {
        let address = header.p_vaddr(endian);
        return Err(Error::Layout(format!("its segment at {start:#x} is linked for another address, {address:#x}")));
    }
    let bytes = header.data(endian, image).ok().filter(|bytes| bytes.len() as u64 <= size);
    let bytes = bytes.ok_or_else(|| {
        Error::Elf(format!(
            "the bytes of its segment at {start:#x} are not in the file, or more than the segment holds"
        ))
    })?;
    Ok(Segment { start, end, bytes, is_code: header.p_flags(endian).0 & elf::PF_X.0 != 0 })
}
