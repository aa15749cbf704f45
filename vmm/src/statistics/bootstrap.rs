//! Bootstrap intervals of quantiles, and of the ratio of two medians.
//!
//! What is drawn again, with replacement, is boots, and then blocks within each boot (Kalibera and Jones, "Rigorous
//! Benchmarking in Reasonable Time", 2013): the rounds of a block share what the host's scheduler did at that time, and the
//! blocks of a boot share a machine. To draw rounds one by one would promise a precision that the next run does not keep.
//!
//! The percentile interval of the resamples is then stretched, each end away from the estimate. A percentile interval of few
//! boots is too narrow: by as much as the normal distribution's 97.5 % lie inside of Student's t, and a sample's standard
//! deviation below the estimate of the true one (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015). And where
//! the host drifts, the next run differs by more than independent boots would ([`Drift`]). To draw fewer boots, or to take
//! percentiles further out, would serve neither: one slow boot in six hardly moves the median of 25, but is the median of one
//! in fourteen draws of three.
//!
//! Own code, because the crates that offer a bootstrap draw single values.

use super::drift::Drift;
use super::order::{Observation, Quantile, Sample};
use crate::config::MIN_BOOTS;
use guest_stub::random::SplitMix64;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use std::array;
use std::collections::{BTreeMap, BTreeSet};

/// Resamples of a bootstrap. One less than a round number, so that the 2.5 % and 97.5 % ranks lie equally far from the
/// ends.
pub const RESAMPLES: usize = 1999;

/// Which of the sorted results of all resamples are 2.5 % from either end, counted from 0.
const ENDS: [usize; 2] = [(RESAMPLES + 1) / 40 - 1, RESAMPLES - (RESAMPLES + 1) / 40];

/// The bootstrap always draws the same blocks: the same values give the same report.
const SEED: u64 = 0x6b69_7069;

/// Where the blocks of a cell's samples come from.
#[derive(Debug, Clone)]
pub struct Boots {
    /// The boot of each block, by the block's number.
    pub of_block: Vec<u32>,
    /// How the host drifted meanwhile.
    pub drift: Drift,
}

impl Sample {
    /// 95 % intervals (low, high) of `quantiles`, each end a value of the sample, and so in the domain of its values; `None`
    /// if the values come from fewer than [`MIN_BOOTS`] boots. Blocks without a value are not drawn.
    pub fn intervals<const N: usize>(&self, quantiles: [Quantile; N], boots: &Boots) -> Option<[[f64; 2]; N]> {
        let blocks = Blocks::of(self);
        let draws = Draws::of(&blocks.numbers, boots)?;
        let starts = quantiles.map(|quantile| blocks.start(self, quantile));
        let mut positions = [(); N].map(|()| Vec::with_capacity(RESAMPLES));
        for weights in draws.resamples() {
            for (start, positions) in starts.iter().zip(&mut positions) {
                positions.push(blocks.position(start, &weights));
            }
        }
        let values: Vec<f64> = self.values().map(|(value, _)| value).collect();
        let stretch = draws.stretch(&boots.drift);
        Some(array::from_fn(|which| {
            let positions = &mut positions[which];
            positions.sort_unstable();
            stretched(&values, values[starts[which].position], ENDS.map(|end| values[positions[end]]), stretch)
        }))
    }
}

/// A ratio of two medians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The numerator's median over the denominator's.
    pub value: f64,
    /// 95 % interval (low, high); `None` with pairs of blocks of fewer than [`MIN_BOOTS`] boots.
    pub interval: Option<[f64; 2]>,
}

/// The ratio of the medians of two samples, of which the blocks of the same number were measured one after the other.
/// Pairs of blocks are drawn as a whole, so that a drift that both blocks of a pair share does not count. `None` if the
/// denominator's median is not positive.
pub fn ratio_of_medians(numerator: &Sample, denominator: &Sample, boots: &Boots) -> Option<Ratio> {
    let (above, below) = (numerator.quantile(Quantile::P50), denominator.quantile(Quantile::P50));
    if below <= 0.0 {
        return None;
    }
    let blocks = |sample: &Sample| sample.0.iter().map(|observation| observation.block).collect::<BTreeSet<u32>>();
    let pairs: Vec<u32> = blocks(numerator).intersection(&blocks(denominator)).copied().collect();
    let value = above / below;
    let Some(draws) = Draws::of(&pairs, boots) else {
        return Some(Ratio { value, interval: None });
    };
    let of_pairs = |sample: &Sample| {
        let is_of_pair = |observation: &&Observation| pairs.binary_search(&observation.block).is_ok();
        Sample(sample.0.iter().filter(is_of_pair).copied().collect())
    };
    let samples = [of_pairs(numerator), of_pairs(denominator)];
    let blocks = samples.each_ref().map(Blocks::of);
    let starts = [0, 1].map(|which: usize| blocks[which].start(&samples[which], Quantile::P50));
    let median = |which: usize, weights: &[usize]| -> f64 {
        samples[which].0[blocks[which].position(&starts[which], weights)].value
    };
    let mut ratios: Vec<f64> = draws.resamples().map(|weights| median(0, &weights) / median(1, &weights)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let interval = stretched(&ratios, value, ENDS.map(|end| ratios[end]), draws.stretch(&boots.drift));
    Some(Ratio { value, interval: Some(interval) })
}

/// What resamples are drawn from.
struct Draws {
    /// The blocks of each boot, by their place among the blocks that have a value.
    boots: Vec<Vec<usize>>,
    blocks: usize,
}

impl Draws {
    /// From the blocks of these numbers, by rising number; `None` if they come from too few boots, or of one that is not known.
    fn of(numbers: &[u32], boots: &Boots) -> Option<Self> {
        let mut of_boots: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, &number) in numbers.iter().enumerate() {
            of_boots.entry(*boots.of_block.get(number as usize)?).or_default().push(place);
        }
        (of_boots.len() >= MIN_BOOTS).then(|| Self { boots: of_boots.into_values().collect(), blocks: numbers.len() })
    }

    /// How often each block occurs in each resample.
    fn resamples(&self) -> impl Iterator<Item = Vec<usize>> + '_ {
        let mut random = SplitMix64(SEED);
        (0..RESAMPLES).map(move |_| {
            let mut weights = vec![0; self.blocks];
            for _ in &self.boots {
                let boot = &self.boots[random.below(self.boots.len())];
                for _ in boot {
                    weights[boot[random.below(boot.len())]] += 1;
                }
            }
            weights
        })
    }

    /// How much further from the estimate the ends of an interval belong than the percentiles of the resamples lie.
    fn stretch(&self, drift: &Drift) -> f64 {
        let count = self.boots.len();
        drift.inflation(count).sqrt() * of_few(drift.degrees_of_freedom(count))
    }
}

/// How much wider than that of very many values an interval is that knows their variance with so many degrees of freedom.
fn of_few(degrees: f64) -> f64 {
    const UPPER: f64 = 0.975;
    // One degree or more is in Student's range, so that there is one.
    let student = StudentsT::new(0.0, 1.0, degrees.max(1.0)).map_or(1.0, |student| student.inverse_cdf(UPPER));
    student / Normal::standard().inverse_cdf(UPPER) * ((degrees + 1.0) / degrees).sqrt()
}

/// `interval`, its ends moved away from `estimate` by this factor: to the outermost of the sorted `values` that are not
/// further.
fn stretched(values: &[f64], estimate: f64, [low, high]: [f64; 2], factor: f64) -> [f64; 2] {
    // An estimate beyond an end, as skewed values have it, is that end.
    let low = estimate - (estimate - low).max(0.0) * factor;
    let high = estimate + (high - estimate).max(0.0) * factor;
    let last = values.len().saturating_sub(1);
    let lowest = values.partition_point(|&value| value < low).min(last);
    let highest = values.partition_point(|&value| value <= high).saturating_sub(1);
    [values[lowest], values[highest.max(lowest)]]
}

/// Which block each value of a sample is from, the blocks counted without gaps.
struct Blocks {
    /// The number of each block.
    numbers: Vec<u32>,
    /// The block of each value, in the order of the values, and how many it stands for.
    of_value: Vec<(usize, usize)>,
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
    fn of(Sample(observations): &Sample) -> Self {
        let mut numbers: Vec<u32> = observations.iter().map(|observation| observation.block).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let place = |block: u32| numbers.partition_point(|&number| number < block);
        let of_value: Vec<(usize, usize)> =
            observations.iter().map(|observation| (place(observation.block), observation.count as usize)).collect();
        let sizes = count(&of_value, numbers.len());
        Self { numbers, of_value, sizes }
    }

    fn start(&self, sample: &Sample, quantile: Quantile) -> Start {
        let position = sample.position(quantile.rank(sample.n()));
        Start { quantile, position, before: count(&self.of_value[..position], self.sizes.len()) }
    }

    /// Where in the sample the quantile of a resample lies, in which each block occurs as often as `weights` says.
    /// Blocks differ in size, so the rank is that among the values that the resample really has.
    fn position(&self, start: &Start, weights: &[usize]) -> usize {
        let rank = start.quantile.rank(dot(&self.sizes, weights));
        let weight = |position: usize| {
            let (block, count) = self.of_value[position];
            weights[block] * count
        };
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

/// How many `values` are of each of so many blocks.
fn count(values: &[(usize, usize)], blocks: usize) -> Vec<usize> {
    let mut counts = vec![0; blocks];
    for &(block, count) in values {
        counts[block] += count;
    }
    counts
}

fn dot(one: &[usize], other: &[usize]) -> usize {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod coverage_tests;
#[cfg(test)]
mod tests;
