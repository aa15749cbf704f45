//! One record on one line of ASCII: `~kipi 3f9c02d100001a2b <record> 9c3d01fe`, then CR LF.
//!
//! The first number is the line's [`Place`], eight digits for the boot and eight for the line; the record is base64 without padding; the
//! last number is the CRC-32 (ISO-HDLC, as in zip and Ethernet) of the place, the blank after it, and the base64 text. Digits are
//! hexadecimal, in lower case. Firmware and others may write to the same line: the prefix tells where a record begins.

#[cfg(any(test, feature = "host"))]
mod decode;

use crate::records::RecordOf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
#[cfg(any(test, feature = "host"))]
pub use decode::{Damage, Line, decode};
use serde::Serialize;

/// The most bytes of a line, CR and LF included.
pub const LINE: usize = 640;

/// What a record's line begins with.
pub const PREFIX: &[u8] = b"~kipi ";

/// Digits of a number.
const DIGITS: usize = 8;

/// Digits of a place, which is two numbers.
const PLACE: usize = 2 * DIGITS;

/// Bytes of a line that are not the record.
const FRAME: usize = PREFIX.len() + PLACE + 1 + 1 + DIGITS + 2;

/// The most bytes of an encoded record: three make four characters.
const RECORD: usize = (LINE - FRAME) * 3 / 4;

/// A serial line is slower than any way to compute it, and a table would be a kilobyte of the image.
static CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// Where a line belongs. A log may lack any part of it, one boot's end and the next one's beginning, too: each line names its boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// A number that tells boots apart which follow each other in a log.
    pub boot: u32,
    /// The line's number in its boot, from zero.
    pub line: u32,
}

/// A record has longer texts or lists than a line can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Writes a record as the line of this place.
///
/// # Errors
/// [`TooLong`]; never where texts have [`TEXT_BYTES`](crate::records::TEXT_BYTES) together, lists of differences have
/// [`DIFFERENCES`](crate::records::DIFFERENCES), and samples are [`in_batches`](crate::records::in_batches).
pub fn encode<'a>(
    place: Place,
    record: &RecordOf<impl Serialize, impl Serialize, impl Serialize>,
    line: &'a mut [u8; LINE],
) -> Result<&'a [u8], TooLong> {
    let mut bytes = [0; RECORD];
    let bytes = postcard::to_slice(record, &mut bytes).map_err(|_| TooLong)?;
    let (start, text) = (PREFIX.len(), PREFIX.len() + PLACE + 1);
    line[..start].copy_from_slice(PREFIX);
    line[start..start + DIGITS].copy_from_slice(&hex(place.boot));
    line[start + DIGITS..start + PLACE].copy_from_slice(&hex(place.line));
    line[text - 1] = b' ';
    let length = STANDARD_NO_PAD.encode_slice(bytes, &mut line[text..]).map_err(|_| TooLong)?;
    let end = text + length;
    let checksum = CRC.checksum(&line[start..end]);
    line[end] = b' ';
    line[end + 1..][..DIGITS].copy_from_slice(&hex(checksum));
    line[end + 1 + DIGITS..][..2].copy_from_slice(b"\r\n");
    Ok(&line[..end + 1 + DIGITS + 2])
}

fn hex(number: u32) -> [u8; DIGITS] {
    core::array::from_fn(|digit| b"0123456789abcdef"[(number >> (28 - 4 * digit)) as usize & 0xF])
}

#[cfg(test)]
mod tests;
