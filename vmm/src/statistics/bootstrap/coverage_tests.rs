//! Whether intervals keep their word, and are no wider than that takes, on hosts that are made up.

use super::*;
use crate::statistics::chance::{normal, uniform};
use std::iter;

const BOOTS: u32 = 25;
const RUNS: usize = 60;

/// What a host does to its blocks, each of which would otherwise take 100.
#[derive(Debug, Clone, Copy)]
enum Host {
    /// They vary by 2 %, each by itself.
    Steady,
    /// They vary by 2 %, and each resembles the one before it (autocorrelation 0.4).
    Drifts,
    /// Boots vary by 2 %, and the blocks of each by a little.
    DiffersByBoot,
    /// They vary by 1 %, and one in seven is slower by a quarter to a half, often several in a row (autocorrelation 0.4).
    HasSlowBlocks,
    /// The same, and two of five are.
    HasTwoRegimes,
}

/// The median or the ratio, and its interval.
type Run = (f64, [f64; 2]);

/// A host that goes on from run to run.
struct Going {
    host: Host,
    random: SplitMix64,
    state: f64,
    is_slow: bool,
}

impl Going {
    const KEPT: f64 = 0.4;

    /// How the next block compares with 100, the first one of a boot or not.
    fn block(&mut self, is_first: bool) -> f64 {
        let noise = normal(&mut self.random);
        match self.host {
            Host::Steady => 2.0 * noise,
            Host::Drifts => {
                self.state = Self::KEPT * self.state + (1.0 - Self::KEPT * Self::KEPT).sqrt() * noise;
                2.0 * self.state
            }
            Host::DiffersByBoot => {
                if is_first {
                    self.state = normal(&mut self.random);
                }
                2.0 * self.state + 0.2 * noise
            }
            Host::HasSlowBlocks => noise + self.slow(1.0 / 7.0),
            Host::HasTwoRegimes => noise + self.slow(0.4),
        }
    }

    fn slow(&mut self, share: f64) -> f64 {
        if uniform(&mut self.random) >= Self::KEPT {
            self.is_slow = uniform(&mut self.random) < share;
        }
        if self.is_slow { 25.0 + 25.0 * uniform(&mut self.random) } else { 0.0 }
    }

    /// Its next run.
    fn run(&mut self) -> Run {
        let (mut observations, mut medians) = (Vec::new(), Vec::new());
        for block in 0..2 * BOOTS {
            let centre = 100.0 + self.block(block % 2 == 0);
            let values: Vec<f64> = (0..10).map(|_| centre + normal(&mut self.random)).collect();
            observations.extend(values.iter().map(|&value| Observation::one(value, block)));
            medians.push((
                block,
                Sample::new(observations[observations.len() - 10..].to_vec()).unwrap().quantile(Quantile::P50),
            ));
        }
        let boots =
            Boots { of_block: (0..2 * BOOTS).map(|block| block / 2).collect(), drift: Drift::of_cells(&[medians]) };
        let sample = Sample::new(observations).unwrap();
        let [interval] = sample.intervals([Quantile::P50], &boots).unwrap();
        (sample.quantile(Quantile::P50), interval)
    }
}

/// What intervals are worth.
#[derive(Debug)]
struct Worth {
    /// How often the next run's median lies in a run's interval, above it, and below it.
    inside: f64,
    above: f64,
    below: f64,
    /// How often the intervals of two successive runs have nothing in common.
    disjoint: f64,
    /// The interval's lower and upper half, on average, in standard deviations of the runs' medians.
    halves: [f64; 2],
}

fn worth(runs: &[Run]) -> Worth {
    let n = runs.len() as f64;
    let mean = runs.iter().map(|run| run.0).sum::<f64>() / n;
    let deviation = (runs.iter().map(|run| (run.0 - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let share = |holds: fn(&Run, &Run) -> bool| {
        runs.windows(2).filter(|pair| holds(&pair[0], &pair[1])).count() as f64 / RUNS as f64
    };
    let half = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / n / deviation;
    Worth {
        inside: share(|(_, [low, high]), (next, _)| low <= next && next <= high),
        above: share(|(_, [_, high]), (next, _)| next > high),
        below: share(|(_, [low, _]), (next, _)| next < low),
        disjoint: share(|(_, one), (_, next)| one[1] < next[0] || next[1] < one[0]),
        halves: [half(|(median, [low, _])| median - low), half(|(median, [_, high])| high - median)],
    }
}

/// Intervals as wide as is right hold the next of independent runs in 83 % of cases, and each of their halves is 1.96 standard
/// deviations. `widest` is what the halves may come to, of which ten times too much would be more.
fn assert_worth(host: Host, widest: [f64; 2]) {
    let mut going = Going { host, random: SplitMix64(11), state: 0.0, is_slow: false };
    let runs: Vec<Run> = (0..=RUNS).map(|_| going.run()).collect();
    assert_keeps_its_word(&format!("{host:?}"), &worth(&runs), widest);
}

fn assert_keeps_its_word(host: &str, found: &Worth, widest: [f64; 2]) {
    // One standard deviation of a share of 60 pairs is 5 %.
    assert!(found.inside >= 0.78, "{host}: {found:?}");
    assert!(found.above <= 0.15 && found.below <= 0.15, "{host}: {found:?}");
    assert!(found.disjoint <= 0.02, "{host}: {found:?}");
    let is_in = |(half, widest): (f64, f64)| (widest / 10.0..widest).contains(&half);
    assert!(iter::zip(found.halves, widest).all(is_in), "{host}: {found:?}");
}

#[test]
fn intervals_of_independent_blocks_keep_their_word() {
    assert_worth(Host::Steady, [2.8, 2.8]);
}

#[test]
fn intervals_of_blocks_that_resemble_their_neighbours_keep_their_word() {
    assert_worth(Host::Drifts, [3.5, 3.5]);
}

#[test]
fn intervals_of_boots_that_differ_keep_their_word() {
    // The blocks of a boot resemble each other, which is taken for a drift as well.
    assert_worth(Host::DiffersByBoot, [6.5, 6.5]);
}

#[test]
fn a_few_slow_blocks_do_not_make_the_interval_reach_their_times() {
    // The median varies by less than the blocks do, in which the slow ones are 100 standard deviations away.
    assert_worth(Host::HasSlowBlocks, [3.5, 11.0]);
}

#[test]
fn intervals_of_two_regimes_keep_their_word() {
    // A median that may be of either has a distribution of two humps.
    assert_worth(Host::HasTwoRegimes, [1.9, 4.0]);
}

/// Two calls that take turns on one host: one takes eleven times as long as the other.
struct Pair {
    random: SplitMix64,
    /// What slows both alike, by a tenth: it lasts for some twenty blocks.
    common: f64,
    /// What slows the first alone, by so much; it resembles that of the block before.
    own: f64,
    by: f64,
}

impl Pair {
    /// The next value of something that has a memory, and variance 1.
    fn next(&mut self, before: f64, kept: f64) -> f64 {
        kept * before + (1.0 - kept * kept).sqrt() * normal(&mut self.random)
    }

    /// The ratio of the next run's medians.
    fn run(&mut self) -> Run {
        let (mut firsts, mut seconds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for block in 0..2 * BOOTS {
            self.common = self.next(self.common, 0.95);
            self.own = self.next(self.own, Going::KEPT);
            let mut medians = [0.0; 2];
            let own = self.by * self.own;
            for (values, (median, centre)) in
                [&mut firsts, &mut seconds].into_iter().zip(iter::zip(&mut medians, [1100.0 * (1.0 + own), 100.0]))
            {
                let centre = centre * (1.0 + 0.1 * self.common) * (1.0 + 0.02 * normal(&mut self.random));
                let noise: Vec<f64> = (0..10).map(|_| centre * (1.0 + 0.01 * normal(&mut self.random))).collect();
                let of_block: Vec<_> = noise.into_iter().map(|value| Observation::one(value, block)).collect();
                *median = Sample::new(of_block.clone()).unwrap().quantile(Quantile::P50);
                values.extend(of_block);
            }
            ratios.push((block, medians[0] / medians[1]));
        }
        let boots =
            Boots { of_block: (0..2 * BOOTS).map(|block| block / 2).collect(), drift: Drift::of_cells(&[ratios]) };
        let [first, second] = [firsts, seconds].map(|values| Sample::new(values).unwrap());
        let ratio = ratio_of_medians(&first, &second, &boots).unwrap();
        (ratio.value, ratio.interval.unwrap())
    }
}

#[test]
fn ratios_of_paired_blocks_keep_their_word() {
    // A drift of the first alone counts; what both share does not make the interval wider.
    for (by, widest, wide) in [(0.0, [3.0, 3.0], 0.06), (0.03, [4.0, 4.0], 0.10)] {
        let mut pair = Pair { random: SplitMix64(12), common: 0.0, own: 0.0, by };
        let runs: Vec<Run> = (0..=RUNS).map(|_| pair.run()).collect();
        let of_truth = runs.iter().filter(|(_, [low, high])| *low <= 11.0 && 11.0 <= *high).count();
        assert!(of_truth * 100 >= 90 * runs.len(), "{by}: {of_truth} of {} hold the true ratio", runs.len());
        assert_keeps_its_word(&format!("a drift of its own of {by}"), &worth(&runs), widest);
        // The common drift moves the medians of each by itself by several per cent from run to run.
        let widths: f64 = runs.iter().map(|(ratio, [low, high])| (high - low) / ratio).sum::<f64>() / runs.len() as f64;
        assert!(widths < wide, "{by}: {widths}");
    }
}
