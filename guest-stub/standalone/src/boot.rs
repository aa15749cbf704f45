//! What every boot protocol hands over.

use crate::memory::{Map, Physical};

#[cfg(test)]
mod tests;

/// What was handed over. About 6 KiB large.
///
/// Of what it was read from, only the RSDP and the tables that it refers to are of any further use. They may be in memory
/// that the map calls usable: read them before pages of it are taken.
#[derive(Debug, Clone)]
pub struct Found {
    /// The memory of the machine.
    pub memory: Map,
    /// Where ACPI's RSDP, or a copy of it, is.
    pub rsdp: Option<u64>,
    /// The command line.
    pub command_line: CommandLine,
}

/// The most bytes of a command line that are kept.
pub const LONGEST: usize = 2048;

/// A command line.
#[derive(Debug, Clone)]
pub struct CommandLine {
    bytes: [u8; LONGEST],
    length: usize,
    truncated: bool,
}

impl Default for CommandLine {
    fn default() -> Self {
        Self { bytes: [0; LONGEST], length: 0, truncated: false }
    }
}

impl CommandLine {
    /// Its text. Each byte that was no part of UTF-8 is a question mark.
    pub fn text(&self) -> &str {
        // `read` leaves nothing else.
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Whether there was more of it: 2,048 bytes are kept.
    pub const fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Of these characters.
    pub(crate) fn of(text: impl Iterator<Item = char>) -> Self {
        let mut line = Self::default();
        for char in text {
            let room = &mut line.bytes[line.length..];
            if char.len_utf8() > room.len() {
                line.truncated = true;
                break;
            }
            line.length += char.encode_utf8(room).len();
        }
        line
    }

    /// Reads it from `address` up to a zero byte, but `limit` bytes at most. `None` where memory ends before it does.
    pub(crate) fn read(address: u64, limit: u64, memory: &impl Physical) -> Option<Self> {
        let mut line = Self::default();
        // Byte by byte: what follows it may not be memory.
        for offset in 0..limit {
            match memory.array(address, offset)? {
                [0] => break,
                [_] if line.length == LONGEST => {
                    line.truncated = true;
                    break;
                }
                [byte] => {
                    line.bytes[line.length] = byte;
                    line.length += 1;
                }
            }
        }
        replace_invalid(&mut line.bytes[..line.length]);
        Some(line)
    }
}

fn replace_invalid(mut bytes: &mut [u8]) {
    while let Err(error) = core::str::from_utf8(bytes) {
        let (_, invalid) = bytes.split_at_mut(error.valid_up_to());
        let length = error.error_len().unwrap_or(invalid.len());
        let (invalid, rest) = invalid.split_at_mut(length);
        invalid.fill(b'?');
        bytes = rest;
    }
}
