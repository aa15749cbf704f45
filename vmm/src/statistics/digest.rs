//! Values of one metric, kept for statistics: all of them, or, where there are very many, counted in buckets.
//!
//! Buckets have the same ends in every digest, so that to count those of several blocks together loses nothing: a quantile's rank falls
//! into the bucket that it would fall into among all values. What stands for a bucket is a value that was measured.

use super::order::{Observation, Sample};

/// Rounds of a cell of which all values are kept.
pub const MOST_EXACT: usize = 1 << 16;

/// Leading bits of a value's significand that its bucket is told from.
const BITS: u32 = 9;

/// How far what stands for a bucket is from each of its values at most, in that value.
pub const ERROR: f64 = 1.0 / (1 << BITS) as f64;

/// How values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Each as it is: room for every one.
    #[default]
    Exact,
    /// Counted in buckets, the smallest and the largest as they are: room for some hundred of each power of two.
    Buckets,
}

impl Precision {
    /// What is right for a cell of so many rounds.
    pub const fn of(rounds: usize) -> Self {
        if rounds <= MOST_EXACT { Self::Exact } else { Self::Buckets }
    }
}

/// Values that are finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest(Kept);

#[derive(Debug, Clone, PartialEq)]
enum Kept {
    Exact(Vec<f64>),
    /// By rising value: the smallest value, what lies between, and the largest one.
    Buckets(Vec<Bucket>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    /// One of its values.
    value: f64,
    count: u32,
}

impl Digest {
    /// Without a value.
    pub const fn new(precision: Precision) -> Self {
        Self(match precision {
            Precision::Exact => Kept::Exact(Vec::new()),
            Precision::Buckets => Kept::Buckets(Vec::new()),
        })
    }

    /// Adds values of a block.
    pub fn add(&mut self, values: impl ExactSizeIterator<Item = f64>) {
        match &mut self.0 {
            Kept::Exact(all) => {
                // Most digests get one block's values, and no more.
                if all.is_empty() {
                    all.reserve_exact(values.len());
                }
                all.extend(values);
            }
            Kept::Buckets(buckets) => {
                let mut added: Vec<f64> = values.collect();
                added.sort_unstable_by(f64::total_cmp);
                *buckets = merge(buckets, &added.iter().map(|&value| Bucket { value, count: 1 }).collect::<Vec<_>>());
            }
        }
    }

    /// Adds those of another digest.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Kept::Exact(all), Kept::Exact(others)) => all.extend(others),
            (Kept::Buckets(buckets), Kept::Buckets(others)) => *buckets = merge(buckets, others),
            (Kept::Buckets(_), Kept::Exact(others)) => self.add(others.iter().copied()),
            (Kept::Exact(all), Kept::Buckets(_)) => {
                let mut merged = other.clone();
                merged.add(all.iter().copied());
                *self = merged;
            }
        }
    }

    /// Its values, as those of this block.
    fn observations(&self, block: u32) -> impl Iterator<Item = Observation> + '_ {
        let (exact, buckets): (&[f64], &[Bucket]) = match &self.0 {
            Kept::Exact(values) => (values, &[]),
            Kept::Buckets(buckets) => (&[], buckets),
        };
        let exact = exact.iter().map(move |&value| Observation::one(value, block));
        exact.chain(buckets.iter().map(move |&Bucket { value, count }| Observation { value, block, count }))
    }

    /// All values of digests that are of these blocks; `None`: there are none.
    pub fn sample<'d>(digests: impl Iterator<Item = (u32, &'d Self)>) -> Option<Sample> {
        Sample::new(digests.flat_map(|(block, digest)| digest.observations(block)).collect())
    }
}

/// Where in the order of all floats a value's bucket is: sign, exponent, and what comes first of the significand.
fn place(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    // As `f64::total_cmp` has it.
    let ordered = bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed();
    ordered >> (f64::MANTISSA_DIGITS - 1 - BITS)
}

/// Both of two lists, each by rising value. Smallest and largest stay by themselves; others that are of one bucket become one.
fn merge(one: &[Bucket], other: &[Bucket]) -> Vec<Bucket> {
    let mut all = [one, other].concat();
    all.sort_by(|one, other| one.value.total_cmp(&other.value));
    let last = all.len().saturating_sub(1);
    let mut merged: Vec<Bucket> = Vec::with_capacity(all.len().min(one.len() + other.len() / 2));
    for (index, bucket) in all.into_iter().enumerate() {
        let is_alike = |before: &&mut Bucket| place(before.value) == place(bucket.value);
        let is_inside = index > 1 && index < last;
        match merged.last_mut().filter(is_alike).filter(|_| is_inside) {
            Some(before) => before.count += bucket.count,
            None => merged.push(bucket),
        }
    }
    merged.shrink_to_fit();
    merged
}

#[cfg(test)]
mod tests;
