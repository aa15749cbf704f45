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

/// The median, and its interval.
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
            observations.extend(values.iter().map(|&value| Observation { value, block }));
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

fn worth(host: Host) -> Worth {
    let mut going = Going { host, random: SplitMix64(11), state: 0.0, is_slow: false };
    let runs: Vec<Run> = (0..=RUNS).map(|_| going.run()).collect();
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
    let found = worth(host);
    // One standard deviation of a share of 60 pairs is 5 %.
    assert!(found.inside >= 0.78, "{host:?}: {found:?}");
    assert!(found.above <= 0.15 && found.below <= 0.15, "{host:?}: {found:?}");
    assert!(found.disjoint <= 0.02, "{host:?}: {found:?}");
    let is_in = |(half, widest): (f64, f64)| (widest / 10.0..widest).contains(&half);
    assert!(iter::zip(found.halves, widest).all(is_in), "{host:?}: {found:?}");
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
