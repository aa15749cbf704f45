//! The guest image: embedded at build time, or read from a file; checked, and loaded into guest memory.

use crate::vm::wire;
use guest_stub::abi::{self, ImageHeader};
use linux_loader::loader::{Elf, KernelLoader};
use object::{Object, ObjectSymbol, SymbolKind};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use thiserror::Error;
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// The image that this VMM was built with.
pub static EMBEDDED: &[u8] = include_bytes!(env!("KIPI_GUEST_IMAGE"));

/// Why an image cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read guest image {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// linux-loader refuses it.
    #[error("guest image is not a loadable ELF file: {0} (build it with this kipi's guest-stub)")]
    Elf(#[from] linux_loader::loader::Error),
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
    /// Guest memory cannot be accessed.
    #[error("cannot read the guest image's header back: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

/// A loaded image.
#[derive(Debug, Clone, Copy)]
pub struct Loaded {
    /// Where vCPU 0 starts.
    pub entry: u64,
    /// The image's own description.
    pub header: ImageHeader,
}

/// Reads an image from `path`.
///
/// # Errors
/// [`Error::Read`].
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Loads `image` into fresh memory (the loader zeroes no BSS) and checks that it is one for this VMM.
///
/// # Errors
/// Every variant but [`Error::Read`].
pub fn load(memory: &GuestMemoryMmap, image: &[u8]) -> Result<Loaded, Error> {
    let loaded = Elf::load(memory, None, &mut Cursor::new(image), None)?;
    let header: ImageHeader = wire::read(memory, GuestAddress(abi::IMAGE))?;
    let header = check(header)?;
    Ok(Loaded { entry: loaded.kernel_load.0, header })
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
    let name = rustc_demangle::demangle(symbol.name().ok()?);
    // The alternate form leaves the hash out.
    Some(format!("{name:#}+{:#x}", address - symbol.address()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: ImageHeader = ImageHeader {
        magic: abi::MAGIC,
        abi_version: abi::ABI_VERSION,
        reserved: 0,
        text_start: abi::IMAGE + 0x1000,
        data_start: abi::IMAGE + 0x2000,
        data_end: abi::IMAGE + 0x3000,
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

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(
            load(&memory(), b"not an ELF file, but long enough to hold a header of one....."),
            Err(Error::Elf(_))
        ));
        assert!(matches!(check(ImageHeader { magic: 7, ..GOOD }), Err(Error::NotKipi { found: 7 })));
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
}
