//! Files of others, read to their end if that is not too far away.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use thiserror::Error;

/// Why a file was not read.
#[derive(Debug, Error)]
pub enum Error {
    /// The system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something whose end need not come: which.
    #[error("it is a {0}, not a file or a pipe")]
    Endless(&'static str),
    /// It has more bytes than it may, which is so many.
    #[error("it has more than {} MiB", .0 >> 20)]
    TooLarge(u64),
}

/// The bytes of a file or a pipe, if they are no more than `most`.
///
/// # Errors
/// Every variant.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    // Found before it is opened: opening a device can have effects, or wait.
    let kind = fs::metadata(path)?.file_type();
    let endless = [
        (kind.is_char_device(), "character device"),
        (kind.is_block_device(), "block device"),
        (kind.is_socket(), "socket"),
    ];
    if let Some((_, kind)) = endless.into_iter().find(|(is_one, _)| *is_one) {
        return Err(Error::Endless(kind));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Error::TooLarge(most)) } else { Ok(bytes) }
}
