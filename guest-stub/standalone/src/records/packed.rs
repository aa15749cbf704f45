//! Samples in few bytes: the time stamps of rounds that follow each other are near each other, and varints of small numbers are short.

use guest_stub::abi::Sample;
use serde::{Deserialize, Serialize};

/// The most samples of one record.
pub const BATCH: usize = 8;

/// Bytes that the samples of one record may have together to fit on a line.
const BATCH_BYTES: usize = 420;

/// A sample in terms of those before it in its record. Every [`Sample`] has exactly one such form, so nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Packed {
    /// The difference of the generation to the last one.
    generation: i32,
    flags: u32,
    /// `t0`, `t1`, `a`, `w`, `x`, `t2`, see [`Chain::pack_stamp`].
    stamps: [u64; 6],
    result: u64,
}

/// What a sample is told in terms of: what came before it. A record's first one has zeroes before it.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    /// The last stamp that was taken.
    stamp: u64,
    generation: u32,
}

impl Chain {
    /// Zero: not taken. Otherwise the difference to the last stamp, as [`zigzag`], which leaves out the number that a stamp of zero
    /// would have.
    fn pack_stamp(&mut self, stamp: u64) -> u64 {
        if stamp == 0 {
            return 0;
        }
        let (of_zero, number) = (self.number_of_zero(), zigzag(stamp.wrapping_sub(self.stamp)));
        self.stamp = stamp;
        if number < of_zero { number + 1 } else { number }
    }

    fn unpack_stamp(&mut self, packed: u64) -> u64 {
        if packed == 0 {
            return 0;
        }
        let number = if packed <= self.number_of_zero() { packed - 1 } else { packed };
        self.stamp = self.stamp.wrapping_add(unzigzag(number));
        self.stamp
    }

    fn number_of_zero(&self) -> u64 {
        zigzag(self.stamp.wrapping_neg())
    }

    fn pack(&mut self, sample: &Sample) -> Packed {
        let generation = sample.generation.wrapping_sub(self.generation).cast_signed();
        self.generation = sample.generation;
        let &Sample { flags, t0, t1, a, w, x, t2, result, .. } = sample;
        Packed { generation, flags, stamps: [t0, t1, a, w, x, t2].map(|stamp| self.pack_stamp(stamp)), result }
    }

    fn unpack(&mut self, packed: &Packed) -> Sample {
        self.generation = self.generation.wrapping_add_signed(packed.generation);
        let [t0, t1, a, w, x, t2] = packed.stamps.map(|stamp| self.unpack_stamp(stamp));
        Sample { generation: self.generation, flags: packed.flags, t0, t1, a, w, x, t2, result: packed.result }
    }
}

impl Packed {
    /// How many bytes postcard makes of it.
    fn encoded_len(&self) -> usize {
        let generation = zigzag(i64::from(self.generation).cast_unsigned());
        let numbers = [generation, self.flags.into(), self.result];
        numbers.iter().chain(&self.stamps).map(|&number| varint_len(number)).sum()
    }
}

/// Small numbers for differences that are small either way: 0, -1, 1, -2 … are 0, 1, 2, 3 ….
const fn zigzag(difference: u64) -> u64 {
    difference << 1 ^ (difference.cast_signed() >> 63).cast_unsigned()
}

const fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

/// Bytes of a varint: seven bits in each.
const fn varint_len(number: u64) -> usize {
    ((u64::BITS - (number | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Packs samples of rounds that follow each other into as few records as they need: `each` gets those of one record, and how many
/// have gone before them.
pub fn in_batches(samples: impl IntoIterator<Item = Sample>, mut each: impl FnMut(u32, &[Packed])) {
    let mut batch = [Packed::default(); BATCH];
    let (mut first, mut count, mut bytes, mut chain) = (0, 0, 0, Chain::default());
    for (round, sample) in (0..).zip(samples) {
        let mut packed = chain.pack(&sample);
        if count == BATCH || bytes + packed.encoded_len() > BATCH_BYTES {
            each(first, &batch[..count]);
            (first, count, bytes, chain) = (round, 0, 0, Chain::default());
            packed = chain.pack(&sample);
        }
        batch[count] = packed;
        count += 1;
        bytes += packed.encoded_len();
    }
    if count > 0 {
        each(first, &batch[..count]);
    }
}

/// The samples of one record.
pub fn unpack(samples: &[Packed]) -> impl ExactSizeIterator<Item = Sample> {
    let mut chain = Chain::default();
    samples.iter().map(move |packed| chain.unpack(packed))
}

#[cfg(test)]
pub(super) mod tests;
