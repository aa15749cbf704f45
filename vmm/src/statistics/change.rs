//! By how much two sets of runs differ, and how sure that is.
//!
//! A run gives one value, of a time its logarithm, and runs are what varies: rounds of a run share a boot, a placement of pages, and what the host
//! did meanwhile. The estimate is the difference of the sets' trimmed means. Its error is Student's t of Yuen's standard error ("The
//! Two-Sample Trimmed t for Unequal Population Variances", 1974) with Welch and Satterthwaite's degrees of freedom: the sets may vary
//! differently, and a percentile bootstrap of five runs has no tails. It is widened by what the order of the runs tells of a drift that lasts
//! longer than a run ([`Drift`]), and no run counts as surer than its own boots and blocks show it to be.

use super::drift::{Belief, Drift};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// What one in so many runs at either end of a set is trimmed: with ten runs and more, one that was out of line does not decide.
const TRIMMED: usize = 10;

/// The probability that as many runs as are said to decide do, if all is as it was estimated.
const POWER: f64 = 0.8;

/// Most runs a side that are thought of.
const MOST_RUNS: usize = 1000;

/// A set of runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Set {
    /// A value for each run, by rising time.
    pub values: Vec<f64>,
    /// The outermost values of many are left out of the mean: of what is rare, they are all that there is.
    pub is_trimmed: bool,
    /// The variance that one run's value has by its own boots and blocks; zero: not known.
    pub within: f64,
    /// How runs were found to differ on this host by repetitions of one.
    pub known: Option<Variance>,
    /// What is believed of the drift from run to run before the runs are looked at.
    pub belief: Belief,
}

/// A variance of single runs, and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variance {
    /// The variance.
    pub value: f64,
    /// Its degrees of freedom.
    pub degrees: f64,
}

/// The new set's mean less the base's.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The estimate.
    pub estimate: f64,
    /// How sure it is; `None`: both sets are one run, and nobody has measured how runs differ.
    pub error: Option<DifferenceError>,
}

/// How sure a difference is.
#[derive(Debug, Clone, PartialEq)]
pub struct DifferenceError {
    /// The standard error.
    pub standard: f64,
    /// Its degrees of freedom.
    pub degrees: f64,
    /// The standard deviation of single runs.
    pub spread: f64,
    /// The degrees of freedom that each run brings but the first of a side.
    degrees_of_each: f64,
    drift: Drift,
}

impl Difference {
    /// Of two sets that are not empty; `None` of an empty one.
    pub fn between(base: &Set, new: &Set) -> Option<Self> {
        let sides = [base, new];
        let means = sides.map(|side| Trimmed::of(&side.values, side.is_trimmed));
        let [Some(of_base), Some(of_new)] = means else { return None };
        let estimate = of_new.mean - of_base.mean;
        let drift = Drift::of_runs(&sides.map(|side| side.values.as_slice()), base.belief);
        let own = [(base, &of_base), (new, &of_new)].map(|(side, trimmed)| side.variance(trimmed, &drift));
        // A single run varies as the other side's do.
        let (variances, is_shared) = match own {
            [Some(base), Some(new)] => ([base, new], false),
            [Some(one), None] | [None, Some(one)] => ([one, one], true),
            [None, None] => return Some(Self { estimate, error: None }),
        };
        let parts: [f64; 2] = [0, 1].map(|side| {
            let n = sides[side].values.len();
            variances[side].value / n as f64 * drift.inflation(n)
        });
        let sum = parts[0] + parts[1];
        let degrees = if is_shared {
            variances[0].degrees
        } else {
            let squares: f64 = parts.iter().zip(variances).map(|(part, of)| part * part / of.degrees).sum();
            if squares > 0.0 { sum * sum / squares } else { variances[0].degrees + variances[1].degrees }
        };
        let spread = f64::midpoint(variances[0].value, variances[1].value).sqrt();
        let degrees_of_each = degrees / (sides.map(|side| side.values.len() - 1).iter().sum::<usize>().max(1)) as f64;
        let error = DifferenceError { standard: sum.sqrt(), degrees, spread, degrees_of_each, drift };
        Some(Self { estimate, error: Some(error) })
    }

    /// The probability of a difference as large as this one where there is none; `None`: it cannot be said.
    pub fn p(&self) -> Option<f64> {
        let error = self.error.as_ref()?;
        Some(match self.estimate.abs() / error.standard {
            // Neither varies.
            t if t.is_nan() => 1.0,
            t => 2.0 * student(error.degrees, |student| student.sf(t)),
        })
    }

    /// The interval that misses the true difference with this probability; `None`: it cannot be said.
    pub fn interval(&self, miss: f64) -> Option<[f64; 2]> {
        let error = self.error.as_ref()?;
        let half = error.standard * quantile(error.degrees, miss);
        Some([self.estimate - half, self.estimate + half])
    }
}

impl DifferenceError {
    /// How many runs a side bring the end of an interval that misses with this probability within `room` of the estimate, allowing for that
    /// the estimate moves, too: at least `from`. `None`: very many do not.
    pub fn runs(&self, miss: f64, room: f64, from: usize) -> Option<usize> {
        let is_enough = |runs: usize| {
            let standard = self.spread * (2.0 * self.drift.inflation(runs) / runs as f64).sqrt();
            let degrees = self.degrees_of_each * 2.0 * (runs - 1) as f64;
            standard * (quantile(degrees, miss) + Normal::standard().inverse_cdf(POWER)) <= room
        };
        let (mut too_few, mut enough) = (from.max(2) - 1, from.max(2));
        while !is_enough(enough) {
            if enough >= MOST_RUNS {
                return None;
            }
            too_few = enough;
            enough = (2 * enough).min(MOST_RUNS);
        }
        while enough - too_few > 1 {
            let middle = usize::midpoint(too_few, enough);
            if is_enough(middle) {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Some(enough)
    }
}

impl Set {
    /// The variance of single runs, as a mean of this many of them shows it; `None`: one run, and nothing is known of others.
    fn variance(&self, trimmed: &Trimmed, drift: &Drift) -> Option<Variance> {
        let n = self.values.len();
        let Some(value) = trimmed.variance else { return self.known };
        let degrees = drift.degrees_of_freedom(n) * trimmed.degrees / (n - 1) as f64;
        Some(Variance { value: value.max(self.within), degrees })
    }
}

/// A mean without the outermost values.
struct Trimmed {
    mean: f64,
    /// That of single values by which the mean varies as it does; `None`: there is one value.
    variance: Option<f64>,
    /// Values that are left, less one.
    degrees: f64,
}

impl Trimmed {
    fn of(values: &[f64], is_trimmed: bool) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let n = sorted.len();
        let cut = if is_trimmed { n / TRIMMED } else { 0 };
        let left = &sorted[cut..n - cut];
        let (&lowest, &highest) = (left.first()?, left.last()?);
        let mean = left.iter().sum::<f64>() / left.len() as f64;
        let degrees = (left.len() - 1) as f64;
        if n < 2 {
            return Some(Self { mean, variance: None, degrees });
        }
        // Winsorised: the outermost values count, at the place of the outermost that are left.
        let winsorised = || sorted.iter().map(|value| value.clamp(lowest, highest));
        let middle = winsorised().sum::<f64>() / n as f64;
        let squares: f64 = winsorised().map(|value| (value - middle).powi(2)).sum();
        let of_mean = squares / (left.len() as f64 * degrees);
        Some(Self { mean, variance: Some(of_mean * n as f64), degrees })
    }
}

/// How many standard errors an interval reaches to either side that misses with this probability.
fn quantile(degrees: f64, miss: f64) -> f64 {
    student(degrees, |student| student.inverse_cdf(1.0 - miss / 2.0))
}

fn student(degrees: f64, of: impl Fn(StudentsT) -> f64) -> f64 {
    // Fewer than one have no mean; one or more are in Student's range.
    StudentsT::new(0.0, 1.0, degrees.max(1.0)).map_or(f64::NAN, of)
}

#[cfg(test)]
mod tests;
