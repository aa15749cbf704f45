//! Physical memory: how it is read before anything of it is owned, and which of it may be used.

#[cfg(test)]
pub(crate) mod fake;
mod map;
mod ranges;

pub use map::{Below, Kind, Map};
pub use ranges::Span;

/// Reads physical memory that firmware, a boot loader or a VMM filled in.
///
/// What is read is not trusted: addresses and lengths come from there, too.
pub trait Physical {
    /// Fills `bytes` with what memory holds from `address` on. False, and `bytes` may hold anything, where part of that
    /// range cannot be read or does not exist, as one that runs past the last address.
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool;

    /// The `N` bytes at `base + offset`; `None` where they cannot be read.
    fn array<const N: usize>(&self, base: u64, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(base.checked_add(offset)?, &mut bytes).then_some(bytes)
    }

    /// The little-endian number at `base + offset`; `None` where it cannot be read.
    fn u32(&self, base: u64, offset: u64) -> Option<u32> {
        self.array(base, offset).map(u32::from_le_bytes)
    }

    /// The little-endian number at `base + offset`; `None` where it cannot be read.
    fn u64(&self, base: u64, offset: u64) -> Option<u64> {
        self.array(base, offset).map(u64::from_le_bytes)
    }
}
