//! Where a series of runs changed: e-divisive (Matteson and James, "A Nonparametric Approach for Multiple Change Point
//! Analysis of Multivariate Data", 2014), as MongoDB and Hunter look for performance changes with it.
//!
//! The series is divided where the energy distance between the runs before and those after is largest; what is found is
//! tested, and each part is divided again, until a division is not significant. The energy distance needs no shape of
//! distribution, and one outlier hardly moves it.
//!
//! The test is by resampling, as in the paper and at MongoDB (Daly et al., 2020). Hunter (Fleming et al., 2023) has replaced it by
//! Student's t between the two parts, which is repeatable and finds more. But it takes the place of the division for given, which was
//! chosen to make the two parts as different as may be, and so finds changes where there are none far more often than its p says.
//! The maximum over all divisions of each resample holds that choice, and a generator with a fixed seed makes it repeatable.
//!
//! A permutation takes the runs for independent, and those of a host that drifts are not. So a resample keeps the memory of the
//! series ([`Drift`], of what is left when the levels are subtracted): what each run adds to the prediction from those before it
//! is permuted, and the series is put together again. Where there is no memory, this is a permutation of the runs. The length of
//! the memory is drawn for each resample by how likely it is.
//!
//! What is found by chance, normal or heavy-tailed: in fewer than 0.1 % of series whose runs are independent, and at an
//! autocorrelation of 0.3, in fewer than 0.6 %, from 20 to 200 runs. At 0.6 it is 4 % of series of 20 runs and 1.3 % of 50. At 0.9 a fifth:
//! nobody who sees 20 or 50 runs only can tell so long a memory from a change of level. The price is power: `benches/change_points.rs`
//! measures it.

use super::drift::{Belief, Drift, innovations, noise_of};
use super::order::middle;
use guest_stub::random::SplitMix64;
use std::ops::Range;

/// What the probability of a division by chance may be, at most. Half of the 1 % of series without a change in which one may be
/// found: how long the memory is, few runs tell badly.
pub const LEVEL: f64 = 0.005;

/// Resamples of a test; with the series itself they are a round number.
const RESAMPLES: usize = 999;

/// With more resamples than these that have as large a division, the probability is above [`LEVEL`].
const MOST_AS_LARGE: usize = 4;

/// A permutation that makes the same two parts in another order has the same size, but for how sums are rounded.
const ROUNDING: f64 = 1e-9;

/// Fewest runs of a level. A single one may be an outlier.
pub const FEWEST: usize = 2;

/// Fewest runs whose level is subtracted before it has been tested, and of those after it: of fewer, levels that a memory makes would be.
const LONG: usize = 10;

/// The same series always has the same change points.
const SEED: u64 = 0x6b69_7069;

/// Where a series changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// The first run of the new level.
    pub at: usize,
    /// How probable so large a division is in a series without a change: at most [`LEVEL`].
    pub p: f64,
}

/// The change points of a series, by rising place. Values are to be finite.
pub fn change_points(series: &[f64]) -> Vec<ChangePoint> {
    let mut found: Vec<ChangePoint> = Vec::new();
    let mut distances = Distances::default();
    let mut random = SplitMix64(SEED);
    loop {
        let parts = parts(&found, series.len());
        let candidates = parts.iter().filter_map(|part| Some((part, distances.best(&series[part.clone()])?)));
        let Some((part, Division { at, end, size })) =
            candidates.max_by(|(_, one), (_, other)| one.size.total_cmp(&other.size))
        else {
            return found;
        };
        let is_long = |level: Range<usize>| level.len() >= LONG;
        let end = if is_long(at..end) && is_long(end..part.len()) { end } else { at };
        let [at, end] = [at, end].map(|run| part.start + run);
        let drift = memory_of(series, &parts, [at, end]);
        let Some(p) = significance(series, &parts, size, &drift, &mut distances, &mut random) else { return found };
        found.push(ChangePoint { at, p });
        found.sort_unstable_by_key(|point| point.at);
    }
}

/// The levels between change points.
pub fn parts(found: &[ChangePoint], runs: usize) -> Vec<Range<usize>> {
    let starts = [0].into_iter().chain(found.iter().map(|point| point.at));
    let ends = found.iter().map(|point| point.at).chain([runs]);
    starts.zip(ends).map(|(start, end)| start..end).collect()
}

/// What runs remember of those before, when the levels are subtracted into which `parts` and `divisions` divide them.
fn memory_of(series: &[f64], parts: &[Range<usize>], divisions: [usize; 2]) -> Drift {
    let mut starts: Vec<usize> = parts.iter().map(|part| part.start).chain(divisions).chain([series.len()]).collect();
    starts.sort_unstable();
    let residuals: Vec<f64> = starts
        .windows(2)
        .flat_map(|ends| {
            let runs = &series[ends[0]..ends[1]];
            let level = middle(runs.to_vec()).unwrap_or(0.0);
            runs.iter().map(move |run| run - level)
        })
        .collect();
    Drift::of_runs(&[&residuals], Belief::Host)
}

/// How probable a division of this size is by chance; `None` if it is more than [`LEVEL`]: the first few resamples tell that of
/// most series without a change (Besag and Clifford, "Sequential Monte Carlo p-values", 1991).
fn significance(
    series: &[f64],
    parts: &[Range<usize>],
    size: f64,
    drift: &Drift,
    distances: &mut Distances,
    random: &mut SplitMix64,
) -> Option<f64> {
    let mut as_large = 0;
    let least = size * (1.0 - ROUNDING);
    for _ in 0..RESAMPLES {
        let memory = drift.draw(random);
        let is_as_large = parts.iter().any(|part| {
            let resample = resample(&series[part.clone()], memory, random);
            distances.best(&resample).is_some_and(|division| division.size >= least)
        });
        as_large += usize::from(is_as_large);
        if as_large > MOST_AS_LARGE {
            return None;
        }
    }
    Some((as_large + 1) as f64 / (RESAMPLES + 1) as f64)
}

/// The series without a change: its innovations, permuted, and put together again.
fn resample(series: &[f64], memory: f64, random: &mut SplitMix64) -> Vec<f64> {
    let mean = series.iter().sum::<f64>() / series.len() as f64;
    let mut values: Vec<f64> = series.iter().map(|value| value - mean).collect();
    let has_none = memory <= 0.5;
    if !has_none {
        values = innovations(&values, memory);
    }
    for last in (1..values.len()).rev() {
        values.swap(last, random.below(last + 1));
    }
    if has_none { values } else { noise_of(&values, memory) }
}

/// A division of a part.
#[derive(Debug, Clone, Copy)]
struct Division {
    /// The first run after it.
    at: usize,
    /// The first run that is not compared with those before it.
    end: usize,
    /// The energy distance between the runs before and after, times how many tell of it.
    size: f64,
}

/// The sums of the distances between the runs of a part.
#[derive(Debug, Default)]
struct Distances {
    /// At `row × (runs + 1) + column`: over all pairs of a run before `row` and one before `column`.
    sums: Vec<f64>,
    width: usize,
}

impl Distances {
    fn fill(&mut self, series: &[f64]) {
        self.width = series.len() + 1;
        self.sums.clear();
        self.sums.resize(self.width * self.width, 0.0);
        for (row, one) in series.iter().enumerate() {
            let mut of_row = 0.0;
            for (column, other) in series.iter().enumerate() {
                of_row += (one - other).abs();
                let above = self.sums[row * self.width + column + 1];
                self.sums[(row + 1) * self.width + column + 1] = above + of_row;
            }
        }
    }

    /// Over all pairs of a run of one range and one of the other.
    fn between(&self, rows: Range<usize>, columns: Range<usize>) -> f64 {
        let sum = |row: usize, column: usize| self.sums[row * self.width + column];
        sum(rows.end, columns.end) - sum(rows.start, columns.end) - sum(rows.end, columns.start)
            + sum(rows.start, columns.start)
    }

    /// The largest division into runs from the first on and others right after them; not all of the rest have to be these, so that a
    /// change that was taken back is found. `None` of a part that is too short to be divided.
    fn best(&mut self, series: &[f64]) -> Option<Division> {
        let runs = series.len();
        if runs < 2 * FEWEST {
            return None;
        }
        self.fill(series);
        let mut best: Option<Division> = None;
        for at in FEWEST..=runs - FEWEST {
            let before = at as f64;
            let among_before = self.between(0..at, 0..at) / (before * (before - 1.0));
            for end in at + FEWEST..=runs {
                let after = (end - at) as f64;
                let among_after = self.between(at..end, at..end) / (after * (after - 1.0));
                let between = self.between(0..at, at..end) / (before * after);
                let size = before * after / (before + after) * (2.0 * between - among_before - among_after);
                if best.is_none_or(|best| size > best.size) {
                    best = Some(Division { at, end, size });
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests;
