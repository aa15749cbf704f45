//! Bootstrap intervals of quantiles, and of the ratio of two medians.
//!
//! What is drawn again, with replacement, is whole blocks. The rounds of a block share what the host's scheduler did at
//! that time, so they are not independent, and drawing them one by one would promise a precision that the next run does
//! not keep. With few blocks the true coverage is somewhat below 95 %, as for any percentile interval. Own code, because
//! the crates that offer a bootstrap draw single values.

use super::order::{Observation, Quantile, Sample};
use guest_stub::random::SplitMix64;

/// Fewest blocks that an interval is given for: the resamples of fewer are so few and so alike that it would be a guess.
pub const MIN_BLOCKS: usize = 5;

/// Resamples of a bootstrap. One less than a round number, so that the 2.5 % and 97.5 % ranks lie equally far from the
/// ends.
pub const RESAMPLES: usize = 1999;

/// The bootstrap always draws the same blocks: the same values give the same report.
const SEED: u64 = 0x6b69_7069;

/// Ends of a 95 % interval.
const INTERVAL: [Quantile; 2] = [Quantile { per_mille: 25 }, Quantile { per_mille: 975 }];

impl Sample {
    /// Bootstrap 95 % percentile intervals (low, high) of `quantiles`; `None` if the values come from fewer than
    /// [`MIN_BLOCKS`] blocks. Blocks without a value are not drawn.
    pub fn intervals<const N: usize>(&self, quantiles: [Quantile; N]) -> Option<[[f64; 2]; N]> {
        let blocks = Blocks::of(&self.0);
        let count = blocks.sizes.len();
        if count < MIN_BLOCKS {
            return None;
        }
        let starts = quantiles.map(|quantile| blocks.start(quantile));
        let mut positions = [(); N].map(|()| Vec::with_capacity(RESAMPLES));
        for weights in resamples(count) {
            for (start, positions) in starts.iter().zip(&mut positions) {
                positions.push(blocks.position(start, &weights));
            }
        }
        Some(positions.map(|mut positions| {
            positions.sort_unstable();
            INTERVAL.map(|end| self.0[positions[end.rank(RESAMPLES) - 1]].value)
        }))
    }
}

/// A ratio of two medians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The numerator's median over the denominator's.
    pub value: f64,
    /// Bootstrap 95 % percentile interval (low, high); `None` with fewer than [`MIN_BLOCKS`] pairs of blocks.
    pub interval: Option<[f64; 2]>,
}

/// The ratio of the medians of two samples, of which the blocks of the same number were measured one after the other.
/// Pairs of blocks are drawn as a whole, so that a drift that both blocks of a pair share does not count. `None` if the
/// denominator's median is not positive.
pub fn ratio_of_medians(numerator: &Sample, denominator: &Sample) -> Option<Ratio> {
    let (above, below) = (numerator.quantile(Quantile::P50), denominator.quantile(Quantile::P50));
    if below <= 0.0 {
        return None;
    }
    let is_in = |sample: &Sample, block| sample.0.iter().any(|observation| observation.block == block);
    let mut pairs: Vec<u32> = numerator.0.iter().map(|observation| observation.block).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs.retain(|&block| is_in(denominator, block));
    let value = above / below;
    if pairs.len() < MIN_BLOCKS {
        return Some(Ratio { value, interval: None });
    }
    let of_pairs = |sample: &Sample| {
        Sample(sample.0.iter().filter(|observation| pairs.contains(&observation.block)).copied().collect())
    };
    let samples = [of_pairs(numerator), of_pairs(denominator)];
    let blocks = samples.each_ref().map(|sample| Blocks::of(&sample.0));
    let starts = blocks.each_ref().map(|blocks| blocks.start(Quantile::P50));
    let median = |which: usize, weights: &[usize]| -> f64 {
        samples[which].0[blocks[which].position(&starts[which], weights)].value
    };
    let mut ratios: Vec<f64> =
        resamples(pairs.len()).map(|weights| median(0, &weights) / median(1, &weights)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    Some(Ratio { value, interval: Some(INTERVAL.map(|end| ratios[end.rank(RESAMPLES) - 1])) })
}

/// How often each of `count` blocks occurs in each resample.
fn resamples(count: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut random = SplitMix64(SEED);
    (0..RESAMPLES).map(move |_| {
        let mut weights = vec![0; count];
        for _ in 0..count {
            weights[random.below(count)] += 1;
        }
        weights
    })
}

/// Which block each value of a sample is from, the blocks numbered without gaps.
struct Blocks {
    /// The block of each value, in the order of the values.
    of_value: Vec<usize>,
    /// Values in each block.
    sizes: Vec<usize>,
}

/// Where the search for a resample's quantile begins: at the sample's own, because a resample's is seldom far.
struct Start {
    quantile: Quantile,
    position: usize,
    /// Values of each block that lie before `position`.
    before: Vec<usize>,
}

impl Blocks {
    fn of(observations: &[Observation]) -> Self {
        let mut numbers: Vec<u32> = observations.iter().map(|observation| observation.block).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let of_value: Vec<usize> = observations
            .iter()
            .map(|observation| numbers.partition_point(|&number| number < observation.block))
            .collect();
        let sizes = count(&of_value, numbers.len());
        Self { of_value, sizes }
    }

    fn start(&self, quantile: Quantile) -> Start {
        let position = quantile.rank(self.of_value.len()) - 1;
        Start { quantile, position, before: count(&self.of_value[..position], self.sizes.len()) }
    }

    /// Where in the sample the quantile of a resample lies, in which each block occurs as often as `weights` says.
    /// Blocks differ in size, so the rank is that among the values that the resample really has.
    fn position(&self, start: &Start, weights: &[usize]) -> usize {
        let rank = start.quantile.rank(dot(&self.sizes, weights));
        let weight = |position: usize| weights[self.of_value[position]];
        let mut position = start.position;
        let mut before = dot(&start.before, weights);
        while before >= rank {
            position -= 1;
            before -= weight(position);
        }
        while before + weight(position) < rank {
            before += weight(position);
            position += 1;
        }
        position
    }
}

/// How many of `blocks` are each of 0, 1, … up to `count`.
fn count(blocks: &[usize], count: usize) -> Vec<usize> {
    let mut counts = vec![0; count];
    for &block in blocks {
        counts[block] += 1;
    }
    counts
}

fn dot(one: &[usize], other: &[usize]) -> usize {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests;
