//! Order statistics of measured values, their bootstrap intervals, and the Theil–Sen slope.
//!
//! Nothing here interpolates between order statistics: every quantile, and every end of an interval, is a value that
//! was measured. (The one exception is the slope's median, see [`theil_sen`].)
//!
//! Values are expected to be finite, and those of this program are by construction: each is an integer, or the quotient
//! of two by one that was checked not to be zero. Order is `f64::total_cmp`, so that a NaN from elsewhere would come to
//! the ends of the order and be seen there; it could neither panic nor hide.

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

/// A quantile, held as a whole number of thousandths because 0.99 is no floating-point number, and a rank that is off
/// by one is another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantile {
    per_mille: usize,
}

impl Quantile {
    /// The median.
    pub const P50: Self = Self { per_mille: 500 };
    /// The 90th percentile.
    pub const P90: Self = Self { per_mille: 900 };
    /// The 99th percentile.
    pub const P99: Self = Self { per_mille: 990 };
    /// The 99.9th percentile.
    pub const P999: Self = Self { per_mille: 999 };

    /// The nearest rank of this quantile q among `n` ≥ 1 values, counted from 1: max(1, ⌈q·n⌉). The quantile is the
    /// value at that rank.
    pub const fn rank(self, n: usize) -> usize {
        // Thousands and rest apart, because q·n may not fit before it is divided.
        let rank = n / 1000 * self.per_mille + (n % 1000 * self.per_mille).div_ceil(1000);
        if rank == 0 { 1 } else { rank }
    }
}

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The value, finite, in any unit.
    pub value: f64,
    /// Number of the block that it was measured in.
    pub block: u32,
}

/// Quantiles of a sample, in the unit of its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// Values below zero; they are in the quantiles like any other.
    pub negative: usize,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

/// Observations in the order of their values, at least one: sorted once, for all statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample(Vec<Observation>);

impl Sample {
    /// Sorts `observations`. `None` if there are none: nothing can be said about them.
    pub fn new(mut observations: Vec<Observation>) -> Option<Self> {
        observations.sort_unstable_by(|one, other| one.value.total_cmp(&other.value));
        (!observations.is_empty()).then_some(Self(observations))
    }

    /// The values, smallest first.
    pub fn values(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.0.iter().map(|observation| observation.value)
    }

    /// The value at the nearest rank of `quantile`.
    pub fn quantile(&self, quantile: Quantile) -> f64 {
        self.0[quantile.rank(self.0.len()) - 1].value
    }

    /// Number of values, quantiles and extremes.
    pub fn summary(&self) -> Summary {
        Summary {
            n: self.0.len(),
            negative: self.0.partition_point(|observation| observation.value < 0.0),
            min: self.0[0].value,
            p50: self.quantile(Quantile::P50),
            p90: self.quantile(Quantile::P90),
            p99: self.quantile(Quantile::P99),
            p999: self.quantile(Quantile::P999),
            max: self.0[self.0.len() - 1].value,
        }
    }

    /// Bootstrap 95 % percentile intervals (low, high) of `quantiles`; `None` if the values come from fewer than
    /// [`MIN_BLOCKS`] blocks.
    ///
    /// What is drawn again, with replacement, is whole blocks. The rounds of a block share what the host's scheduler
    /// did at that time, so they are not independent, and drawing them one by one would promise a precision that the
    /// next run does not keep. Blocks without a value are not drawn. With few blocks the true coverage is somewhat
    /// below 95 %, as for any percentile interval.
    pub fn intervals<const N: usize>(&self, quantiles: [Quantile; N]) -> Option<[[f64; 2]; N]> {
        let blocks = Blocks::of(&self.0);
        let count = blocks.sizes.len();
        if count < MIN_BLOCKS {
            return None;
        }
        let starts = quantiles.map(|quantile| blocks.start(quantile));
        let mut positions = [(); N].map(|()| Vec::with_capacity(RESAMPLES));
        let mut random = SplitMix64(SEED);
        let mut weights = vec![0; count];
        for _ in 0..RESAMPLES {
            weights.fill(0);
            for _ in 0..count {
                weights[random.below(count)] += 1;
            }
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

/// The ratio of the medians of two samples whose blocks of one number were measured one after the other. What is drawn again
/// is whole pairs of blocks, so that a drift that both blocks of a pair share does not count. `None` if the denominator's
/// median is not positive.
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
    let mut random = SplitMix64(SEED);
    let mut weights = vec![0; pairs.len()];
    let mut ratios = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        weights.fill(0);
        for _ in 0..pairs.len() {
            weights[random.below(pairs.len())] += 1;
        }
        let [above, below] =
            [0, 1].map(|which| samples[which].0[blocks[which].position(&starts[which], &weights)].value);
        ratios.push(above / below);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    Some(Ratio { value, interval: Some(INTERVAL.map(|end| ratios[end.rank(RESAMPLES) - 1])) })
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

/// The Theil–Sen slope of y over x: the median of the slopes between all pairs of `points` (x, y), finite, that differ
/// in x. `None` if no two do.
///
/// It is the textbook's median, the mean of the middle two of an even number: a slope is an estimate and not a
/// measured value, and to take the lower of two would lean to one side.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for &(left, low) in points {
        slopes.extend(points.iter().filter(|(x, _)| left < *x).map(|(x, y)| (y - low) / (x - left)));
    }
    if slopes.is_empty() {
        return None;
    }
    let even = slopes.len().is_multiple_of(2);
    let middle = slopes.len() / 2;
    let (lower, &mut upper, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    let below = if even { lower.iter().copied().max_by(f64::total_cmp) } else { None };
    Some(below.map_or(upper, |below| f64::midpoint(below, upper)))
}

#[cfg(test)]
mod tests;
