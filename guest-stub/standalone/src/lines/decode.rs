//! Lines of a log, which may be anything: records, what else was written there, and records that something has happened to.

use super::{CRC, DIGITS, LINE, PLACE, PREFIX, Place, RECORD};
use crate::records::{BATCH, DIFFERENCES, OwnedRecord, RecordOf};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use core::fmt;

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// A record, and its place.
    Record(Place, OwnedRecord),
    /// It begins as a record does, and is none.
    Damaged(Damage),
    /// Something else than a record, of at least one character that is not blank.
    Other(&'a [u8]),
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The line ends too soon, or something else goes on in it.
    Cut,
    /// It is longer than any record.
    TooLong,
    /// The checksum is another one.
    Checksum,
    /// It is whole, but says nothing that this version of kipi knows.
    Unknown,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "it is cut off, or something else was written into it",
            Self::TooLong => "it is longer than any record",
            Self::Checksum => "its checksum is wrong",
            Self::Unknown => "this version of kipi does not know what it says",
        })
    }
}

/// The parts of a log, or of a line of it: records, and what is between them. A record that its line end has got lost of is followed by
/// the next one all the same. Control characters in a record (NUL, CR, XON and XOFF) mean nothing, which the checksum makes safe.
pub fn decode(log: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut rest = log;
    core::iter::from_fn(move || {
        while !rest.is_empty() {
            let found = if let Some(frame) = rest.strip_prefix(PREFIX) {
                let frame = &frame[..part_len(frame)];
                let (line, used) = match read(frame) {
                    Ok((place, record, used)) => (Line::Record(place, record), used),
                    Err(damage) => (Line::Damaged(damage), frame.len()),
                };
                rest = &rest[PREFIX.len() + used..];
                Some(line)
            } else {
                let (other, after) = rest.split_at(part_len(rest).max(1));
                rest = after;
                let is_blank = other.iter().all(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control());
                (!is_blank).then_some(Line::Other(other))
            };
            if found.is_some() {
                return found;
            }
        }
        None
    })
}

/// Where the line ends, or the next record begins.
fn part_len(bytes: &[u8]) -> usize {
    let is_end = |&at: &usize| bytes[at] == b'\n' || bytes[at..].starts_with(PREFIX);
    (0..bytes.len()).find(is_end).unwrap_or(bytes.len())
}

/// A record from what follows its prefix, and how many bytes of that it is.
fn read(frame: &[u8]) -> Result<(Place, OwnedRecord, usize), Damage> {
    let mut text = [0; LINE];
    let (mut length, mut used) = (0, 0);
    // The second blank comes before the checksum, which ends with its last digit.
    let (mut blanks, mut digits) = (0, 0);
    while (blanks, digits) != (2, DIGITS) {
        let &byte = frame.get(used).ok_or(Damage::Cut)?;
        used += 1;
        match byte {
            b' ' => blanks += 1,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'+' | b'/' => digits += usize::from(blanks == 2),
            _ if byte.is_ascii_control() => continue,
            _ => return Err(Damage::Cut),
        }
        *text.get_mut(length).ok_or(Damage::TooLong)? = byte;
        length += 1;
    }
    let text = &text[..length];
    let (summed, checksum) = text.split_at_checked(length.saturating_sub(DIGITS + 1)).ok_or(Damage::Cut)?;
    let checksum = checksum.strip_prefix(b" ").and_then(number).ok_or(Damage::Cut)?;
    if CRC.checksum(summed) != checksum {
        return Err(Damage::Checksum);
    }
    // A place of another length is another version's.
    let (place, payload) = summed.split_at_checked(PLACE).ok_or(Damage::Unknown)?;
    let (boot, line) = place.split_at(DIGITS);
    let number_of = |digits| number(digits).ok_or(Damage::Unknown);
    let place = Place { boot: number_of(boot)?, line: number_of(line)? };
    let payload = payload.strip_prefix(b" ").ok_or(Damage::Unknown)?;
    let mut bytes = [0; RECORD];
    let length = STANDARD_NO_PAD.decode_slice(payload, &mut bytes).map_err(|_| Damage::Unknown)?;
    match postcard::take_from_bytes(&bytes[..length]) {
        Ok((record, [])) if is_within_limits(&record) => Ok((place, record, used)),
        Ok(_) | Err(_) => Err(Damage::Unknown),
    }
}

/// Hexadecimal digits, as [`hex`](super::hex) writes them.
fn number(digits: &[u8]) -> Option<u32> {
    let digits: &[u8; DIGITS] = digits.try_into().ok()?;
    digits.iter().try_fold(0, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(value))
    })
}

/// Whether lists are as long as the image writes them.
fn is_within_limits(record: &OwnedRecord) -> bool {
    match record {
        RecordOf::Stamps { differences } | RecordOf::Instructions { differences } => differences.len() <= DIFFERENCES,
        RecordOf::Samples { samples, .. } => samples.len() <= BATCH,
        RecordOf::Start { .. }
        | RecordOf::Platform { .. }
        | RecordOf::Tsc { .. }
        | RecordOf::Plan { .. }
        | RecordOf::Cell { .. }
        | RecordOf::Skipped { .. }
        | RecordOf::Exchange { .. }
        | RecordOf::Block { .. }
        | RecordOf::Text { .. }
        | RecordOf::End { .. } => true,
    }
}
