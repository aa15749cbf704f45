//! How much less a run's blocks tell than as many independent ones would, because the host drifts.
//!
//! A host that others use is faster at one time and slower at another, over times from a fraction of a second to hours. All
//! cells see the same of it, and their blocks take turns: so what they have in common, turn by turn, is the drift. It has a
//! long memory: the mean of n turns varies between runs by far more than 1/√n of what one turn varies within a run. The model
//! is fractional Gaussian noise (Mandelbrot and Van Ness 1968; Beran, "Statistics for Long-Memory Processes", 1994), whose
//! one parameter H says how long: 1/2 is no memory, and with H near 1 a longer run is hardly better than a short one.
//!
//! A run has too few turns to tell H well. Therefore no single value is taken, but all of them, each by its likelihood. Nor are
//! the turns Gaussian: a host that is slow for a while is slower by a quarter, not by a little. So H is that of their normal
//! scores (van der Waerden): each turn counts by its rank, and a slow while by how long it lasts.

use super::order::middle;
use guest_stub::random::SplitMix64;
use statrs::distribution::{ContinuousCDF, Normal};
use std::iter;

/// The values of H that are considered: from no memory, in steps, to the longest.
const NONE: f64 = 0.5;
const STEP: f64 = 0.02;
const STEPS: u32 = 24;

/// What is believed of a memory before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Belief {
    /// Of a host: that it has none is as likely as that it has one of any length.
    #[default]
    Host,
    /// Of the quotient of two cells that the host slows alike: hardly ever is one left. Five series of 14 and 19 runs, each of two routes'
    /// cells of one state, had autocorrelations from −0.34 to 0.14 at lag 1; single cells' had up to 0.45.
    Quotient,
}

impl Belief {
    /// The probability of no memory.
    const fn of_none(self) -> f64 {
        match self {
            Self::Host => 0.5,
            Self::Quotient => 0.8,
        }
    }
}

/// Most turns that are looked at one by one: neighbours of more are averaged, which leaves H as it is.
const MOST_TURNS: usize = 128;

/// Fewest turns that tell anything.
const FEWEST_TURNS: usize = 4;

/// Fewest runs of a set that tell anything: two have one difference, whose size is all that there is.
const FEWEST_RUNS: usize = 3;

/// What a run's turns tell of the host's memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// Values of H with their probabilities.
    memories: Vec<(f64, f64)>,
}

impl Drift {
    /// None: all boots are taken for independent.
    pub fn none() -> Self {
        Self { memories: vec![(NONE, 1.0)] }
    }

    /// Of the cells of a run: for each, its blocks' medians with the turns that they were measured in, by rising turn. Values
    /// that are not positive are left out.
    pub fn of_cells(cells: &[Vec<(u32, f64)>]) -> Self {
        let mut by_turn: Vec<(u32, f64)> = Vec::new();
        for cell in cells {
            let logarithms: Vec<(u32, f64)> =
                cell.iter().filter(|(_, value)| *value > 0.0).map(|&(turn, value)| (turn, value.ln())).collect();
            let Some(middle) = middle(logarithms.iter().map(|&(_, value)| value).collect()) else { continue };
            by_turn.extend(logarithms.into_iter().map(|(turn, value)| (turn, value - middle)));
        }
        by_turn.sort_by_key(|&(turn, _)| turn);
        let turns = by_turn.chunk_by(|one, other| one.0 == other.0);
        let common: Vec<f64> =
            turns.filter_map(|turn| middle(turn.iter().map(|&(_, value)| value).collect())).collect();
        Self::of_series(&common)
    }

    /// Of one value for each turn.
    fn of_series(series: &[f64]) -> Self {
        let size = series.len().div_ceil(MOST_TURNS).max(1);
        let means: Vec<f64> = series.chunks_exact(size).map(|chunk| chunk.iter().sum::<f64>() / size as f64).collect();
        if means.len() < FEWEST_TURNS || is_constant(&means) {
            return Self::none();
        }
        let scores = normal_scores(&means);
        Self::by_likelihood(Belief::Host, |memory| log_likelihood(&scores, memory))
    }

    /// Of sets of runs, of each one value for each run, by rising time: what drifts from run to run. What lies between two sets is what
    /// is asked about, and tells nothing here. Few runs tell little, and leave what is believed.
    pub fn of_runs(sets: &[&[f64]], belief: Belief) -> Self {
        let telling = sets.iter().filter(|set| set.len() >= FEWEST_RUNS && !is_constant(set));
        let scores: Vec<Vec<f64>> = telling.map(|set| normal_scores(set)).collect();
        Self::by_likelihood(belief, |memory| scores.iter().map(|scores| log_likelihood(scores, memory)).sum())
    }

    /// Each H with its probability, by what is believed and how likely H makes what was measured, in logarithms.
    fn by_likelihood(belief: Belief, log_likelihood: impl Fn(f64) -> f64) -> Self {
        let memories = (0..=STEPS).map(|step| NONE + STEP * f64::from(step));
        let none = belief.of_none();
        let prior = |step: u32| if step == 0 { none } else { (1.0 - none) / f64::from(STEPS) };
        let likelihoods: Vec<(f64, f64)> = memories.map(|memory| (memory, log_likelihood(memory))).collect();
        let most = likelihoods.iter().map(|&(_, likelihood)| likelihood).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<(f64, f64)> = (0..)
            .zip(likelihoods)
            .map(|(step, (memory, likelihood))| (memory, prior(step) * (likelihood - most).exp()))
            .collect();
        let total: f64 = weights.iter().map(|&(_, weight)| weight).sum();
        Self { memories: weights.into_iter().map(|(memory, weight)| (memory, weight / total)).collect() }
    }

    /// By how much the variance between runs exceeds that of the mean of `boots` independent ones, which vary as the boots of
    /// this run do: 1 or more.
    pub fn inflation(&self, boots: usize) -> f64 {
        if boots < 2 {
            return 1.0;
        }
        let boots = boots as f64;
        // A sum of n turns has variance n^2H. From it follow the variance that is expected within a run, of its boots; and half
        // of the variance of the difference of two successive runs, to which whatever drifts more slowly than a run adds little.
        let of =
            |memory: f64| (2.0 - (2.0 * memory - 1.0).exp2()) * (boots - 1.0) / (boots.powf(2.0 - 2.0 * memory) - 1.0);
        self.mean(of).max(1.0)
    }

    /// How many independent boots, less one, tell as much of their variance as `boots` of this run do (Satterthwaite 1946).
    pub fn degrees_of_freedom(&self, boots: usize) -> f64 {
        // For more, what comes of it hardly changes.
        let count = boots.clamp(2, MOST_TURNS);
        let n = count as f64;
        let of = |memory: f64| {
            let covariances: Vec<f64> = (0..count).map(|lag| covariance(memory, lag)).collect();
            let between = |one: usize, other: usize| covariances[one.abs_diff(other)];
            let of_mean: Vec<f64> =
                (0..count).map(|one| (0..count).map(|other| between(one, other)).sum::<f64>() / n).collect();
            let of_means = of_mean.iter().sum::<f64>() / n;
            // Of the deviations from the run's mean, whose squares add up to the variance.
            let centred = |one: usize, other: usize| between(one, other) - of_mean[one] - of_mean[other] + of_means;
            let trace: f64 = (0..count).map(|one| centred(one, one)).sum();
            let squares: f64 = (0..count)
                .flat_map(|one| (0..count).map(move |other| (one, other)))
                .map(|(one, other)| centred(one, other).powi(2))
                .sum();
            trace * trace / squares
        };
        self.mean(of)
    }

    /// An H, each as often as it is probable.
    pub(super) fn draw(&self, random: &mut SplitMix64) -> f64 {
        const PARTS: usize = 1 << 32;
        let mut left = random.below(PARTS) as f64 / PARTS as f64;
        for &(memory, probability) in &self.memories {
            left -= probability;
            if left < 0.0 {
                return memory;
            }
        }
        NONE
    }

    /// The mean of something that depends on H.
    fn mean(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.memories.iter().map(|&(memory, probability)| probability * of(memory)).sum()
    }
}

fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| (pair[0] - pair[1]).abs() < f64::EPSILON)
}

/// Of fractional Gaussian noise of this H, whose variance is 1.
fn covariance(memory: f64, lag: usize) -> f64 {
    let lag = lag as f64;
    let power = |lag: f64| lag.abs().powf(2.0 * memory);
    0.5 * (power(lag + 1.0) - 2.0 * power(lag) + power(lag - 1.0))
}

/// For each value, where as many normally distributed ones would have the one of its rank; equal values share the mean rank.
fn normal_scores(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (n, normal) = (values.len() as f64, Normal::standard());
    let score = |&value: &f64| {
        let (below, up_to) =
            (sorted.partition_point(|&other| other < value), sorted.partition_point(|&other| other <= value));
        normal.inverse_cdf(f64::midpoint(below as f64, up_to as f64) / n)
    };
    values.iter().map(score).collect()
}

/// The logarithm, less a constant, of the likelihood of fractional Gaussian noise of this H, whose mean and variance are not
/// known: restricted maximum likelihood. Each value is predicted from those before it; the errors of the predictions are
/// independent.
fn log_likelihood(values: &[f64], memory: f64) -> f64 {
    let mut predictions = Predictions::new(memory, values.len());
    let [mut of_mean, mut of_both, mut of_values, mut logarithms] = [0.0; 4];
    for (number, &value) in values.iter().enumerate() {
        let (error, variance) = (predictions.error(&values[..number], value), predictions.variance);
        let mean_error = 1.0 - predictions.coefficients.iter().sum::<f64>();
        of_mean += mean_error * mean_error / variance;
        of_both += mean_error * error / variance;
        of_values += error * error / variance;
        logarithms += variance.ln();
        predictions.advance();
    }
    let squares = (of_values - of_both * of_both / of_mean).max(f64::MIN_POSITIVE);
    -0.5 * ((values.len() as f64 - 1.0) * squares.ln() + logarithms + of_mean.ln())
}

/// What each value of noise of this H adds to what is predicted from those before it, in standard deviations.
pub fn innovations(noise: &[f64], memory: f64) -> Vec<f64> {
    let mut predictions = Predictions::new(memory, noise.len());
    let innovation = |number: usize| {
        let innovation = predictions.error(&noise[..number], noise[number]) / predictions.variance.sqrt();
        predictions.advance();
        innovation
    };
    (0..noise.len()).map(innovation).collect()
}

/// The noise of this H that has these [innovations] (Hosking 1984).
pub fn noise_of(innovations: &[f64], memory: f64) -> Vec<f64> {
    let mut predictions = Predictions::new(memory, innovations.len());
    let mut noise = Vec::with_capacity(innovations.len());
    for innovation in innovations {
        noise.push(innovation * predictions.variance.sqrt() - predictions.error(&noise, 0.0));
        predictions.advance();
    }
    noise
}

/// Predictions of each value of fractional Gaussian noise, whose mean is 0 and variance 1, from all before it (Durbin and Levinson).
struct Predictions {
    covariances: Vec<f64>,
    /// Of the values before, the last one first.
    coefficients: Vec<f64>,
    /// Of the prediction's error.
    variance: f64,
}

impl Predictions {
    /// Of `count` values of noise of this H; first of the first value.
    fn new(memory: f64, count: usize) -> Self {
        let covariances = (0..count).map(|lag| covariance(memory, lag)).collect();
        Self { covariances, coefficients: Vec::with_capacity(count), variance: 1.0 }
    }

    /// By how much `value` exceeds what is predicted from those `before` it.
    fn error(&self, before: &[f64], value: f64) -> f64 {
        value - self.coefficients.iter().zip(before.iter().rev()).map(|(one, other)| one * other).sum::<f64>()
    }

    /// Goes on to the next value.
    fn advance(&mut self) {
        let known = self.coefficients.len() + 1;
        if let Some(next) = self.covariances.get(known) {
            let lags = self.covariances[1..known].iter().rev();
            let predicted: f64 = self.coefficients.iter().zip(lags).map(|(one, other)| one * other).sum();
            let partial = (next - predicted) / self.variance;
            let reversed: Vec<f64> = self.coefficients.iter().rev().copied().collect();
            iter::zip(&mut self.coefficients, reversed).for_each(|(own, other)| *own -= partial * other);
            self.coefficients.push(partial);
            self.variance *= 1.0 - partial * partial;
        }
    }
}

#[cfg(test)]
mod tests;
