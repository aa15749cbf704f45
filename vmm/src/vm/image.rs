//! The guest image: embedded at build time, or read from a file; checked, and loaded into guest memory.

mod segments;

use crate::host::bounded;
use guest_stub::abi::{self, ImageHeader};
use linux_loader::loader::{Elf, KernelLoader as _};
use object::{Object, ObjectSymbol, SymbolKind};
use std::borrow::Cow;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use thiserror::Error;
use vm_memory::GuestMemoryMmap;
use zerocopy::{FromBytes as _, FromZeros as _};

/// The image that this VMM was built with.
pub static EMBEDDED: &[u8] = include_bytes!(env!("KIPI_GUEST_IMAGE"));

/// Why an image cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be read to its end.
    #[error("cannot read guest image {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: bounded::Error,
    },
    /// It is not an ELF file, or one that this machine cannot run.
    #[error("guest image is not a loadable ELF file: {0} (build it with this kipi's guest-stub)")]
    Elf(String),
    /// A segment of it, or its entry, is where none may be.
    #[error("guest image does not fit the guest's memory map: {0} (build it with this kipi's guest-stub)")]
    Layout(String),
    /// It loads, but is not a kipi guest.
    #[error(
        "guest image has no kipi header at {:#x}: found {found:#x} (build it with this kipi's guest-stub)",
        abi::IMAGE
    )]
    NotKipi {
        /// What stands in the header's place.
        found: u64,
    },
    /// It is a kipi guest, for another VMM.
    #[error(
        "guest image has ABI version {found}, this kipi needs {} (rebuild the image from the same sources)",
        abi::ABI_VERSION
    )]
    AbiVersion {
        /// The image's version.
        found: u32,
    },
    /// The header's addresses make no sense.
    #[error("guest image's header is damaged: text {text:#x}, data {data:#x} to {end:#x} (rebuild the image)")]
    Damaged {
        /// Start of the text.
        text: u64,
        /// Start of the data.
        data: u64,
        /// End of the data.
        end: u64,
    },
}

/// The largest image that is read: the embedded one has less than a MiB, and one with debug information a few.
const MAX_BYTES: u64 = 64 << 20;

/// A loaded image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Where vCPU 0 starts.
    pub entry: u64,
    /// The image's own description.
    pub header: ImageHeader,
}

/// Reads an image from `path`, of at most 64 MiB, and checks it as [`load`] does.
///
/// # Errors
/// Every variant.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let image = bounded::read(path, MAX_BYTES).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(&image)?;
    Ok(image)
}

/// Checks that `image` is one for this VMM, and loads it into fresh memory: what a segment has no bytes for stays as it is.
///
/// # Errors
/// Every variant but those of reading.
pub fn load(memory: &GuestMemoryMmap, image: &[u8]) -> Result<Loaded, Error> {
    let loaded = parse(image)?;
    // What linux-loader does not check, and so would write wherever the headers say: segments' places, machine, type.
    Elf::load(memory, None, &mut Cursor::new(image), None).map_err(|error| Error::Elf(error.to_string()))?;
    Ok(loaded)
}

/// What an image for this VMM says about itself.
fn parse(image: &[u8]) -> Result<Loaded, Error> {
    let segments::Parsed { segments, entry } = segments::parse(image)?;
    let at_header = segments.iter().find(|segment| segment.start == abi::IMAGE);
    let found = at_header.and_then(|segment| ImageHeader::read_from_prefix(segment.bytes).ok());
    let header = check(found.map_or_else(ImageHeader::new_zeroed, |(header, _)| header))?;
    if !(header.text_start..header.data_start).contains(&entry) {
        let ImageHeader { text_start, data_start, .. } = header;
        return Err(Error::Layout(format!(
            "its entry {entry:#x} is not in its text, {text_start:#x} to {data_start:#x}"
        )));
    }
    Ok(Loaded { entry, header })
}

fn check(header: ImageHeader) -> Result<ImageHeader, Error> {
    let ImageHeader { text_start: text, data_start: data, data_end: end, .. } = header;
    if header.magic != abi::MAGIC {
        return Err(Error::NotKipi { found: header.magic });
    }
    if header.abi_version != abi::ABI_VERSION {
        return Err(Error::AbiVersion { found: header.abi_version });
    }
    let aligned = [text, data, end].iter().all(|address| address.is_multiple_of(abi::PAGE));
    if !aligned || text < abi::IMAGE || data < text || end < data || end > abi::IMAGE_END {
        return Err(Error::Damaged { text, data, end });
    }
    Ok(header)
}

/// How far a symbol without a size is believed to reach: labels of assembler code, which is short, and which object's own symbol
/// map leaves out.
const UNSIZED: u64 = 0x1000;

/// Names an address of the image as `function+offset`, if its symbols tell.
pub fn symbolise(image: &[u8], address: u64) -> Option<String> {
    let file = object::File::parse(image).ok()?;
    let symbol = file
        .symbols()
        .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown | SymbolKind::Label))
        .filter(|symbol| symbol.address() != 0 && symbol.address() <= address)
        .filter(|symbol| symbol.name().is_ok_and(|name| !name.is_empty()))
        .filter(|symbol| address - symbol.address() < symbol.size().max(UNSIZED))
        .max_by_key(|symbol| (symbol.address(), symbol.size()))?;
    // The alternate form leaves the hash out.
    let name = format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?));
    Some(format!("{}+{:#x}", shortened(&name), address - symbol.address()))
}

/// A name that fits into a line: that of a generic function may have thousands of characters, and that of somebody else's image
/// millions. Its beginning and its end tell which one it is.
fn shortened(name: &str) -> Cow<'_, str> {
    const HEAD: usize = 100;
    const TAIL: usize = 59;
    match name.chars().count().checked_sub(HEAD + TAIL + 1) {
        None | Some(0) => name.into(),
        Some(more) => {
            let head: String = name.chars().take(HEAD).collect();
            let tail: String = name.chars().skip(HEAD + 1 + more).collect();
            format!("{head}…{tail}").into()
        }
    }
}

#[cfg(test)]
mod tests;
