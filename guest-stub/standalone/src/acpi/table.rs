//! Tables that begin with the header of 5.2.6.

use super::error::{Error, Name};
use crate::memory::Physical;

/// Length of the header that tables begin with.
pub(super) const HEADER: u64 = 36;
/// The longest table that is read, in bytes. A MADT that lists 8,192 processors in both ways takes 192 KiB.
pub(super) const LONGEST: u32 = 256 * 1024;
/// How much is read at a time for a checksum. It is on the stack.
const CHUNK: usize = 256;

/// A table that is whole: its signature, length and checksum are right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    name: Name,
    address: u64,
    length: u32,
}

impl Table {
    pub(super) fn at(address: u64, name: Name, memory: &impl Physical) -> Result<Self, Error> {
        let unreadable = Error::Unreadable { table: name, address };
        if signature(address, memory).ok_or(unreadable)? != name.signature() {
            return Err(Error::Signature { table: name, address });
        }
        let length = memory.u32(address, 4).ok_or(unreadable)?;
        if u64::from(length) < HEADER || length > LONGEST {
            return Err(Error::Length { table: name, length });
        }
        match sum(address, u64::from(length), memory) {
            Some(0) => Ok(Self { name, address, length }),
            Some(_) => Err(Error::Checksum { table: name, address }),
            None => Err(unreadable),
        }
    }

    /// The table's length in bytes.
    pub(super) const fn length(&self) -> u64 {
        self.length as u64
    }

    /// The `N` bytes at `offset`; `None` where the table is too short for them, or can be read no more.
    pub(super) fn field<const N: usize>(&self, offset: u64, memory: &impl Physical) -> Option<[u8; N]> {
        self.needed(offset, memory).ok()
    }

    /// The same, with the reason.
    pub(super) fn needed<const N: usize>(&self, offset: u64, memory: &impl Physical) -> Result<[u8; N], Error> {
        let Self { name: table, address, length } = *self;
        if offset.saturating_add(N as u64) > self.length() {
            return Err(Error::Length { table, length });
        }
        memory.array(address, offset).ok_or(Error::Unreadable { table, address })
    }
}

/// The signature of the table at `address`, if there can be one.
pub(super) fn signature(address: u64, memory: &impl Physical) -> Option<[u8; 4]> {
    memory.array(address, 0)
}

/// The sum of the bytes from `address` on, of which there are `length`.
pub(super) fn sum(address: u64, length: u64, memory: &impl Physical) -> Option<u8> {
    let mut chunk = [0; CHUNK];
    let mut sum = 0_u8;
    let end = address.checked_add(length)?;
    let mut at = address;
    while at < end {
        let part = usize::try_from(end - at).map_or(CHUNK, |rest| rest.min(CHUNK));
        let bytes = &mut chunk[..part];
        if !memory.read(at, bytes) {
            return None;
        }
        sum = bytes.iter().fold(sum, |sum, &byte| sum.wrapping_add(byte));
        at += part as u64;
    }
    Some(sum)
}
