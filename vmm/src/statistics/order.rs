//! Order statistics of measured values, and the Theil–Sen slope.
//!
//! Own code, because what crates offer interpolates between order statistics or asks for more than it gives. Nothing here
//! interpolates between order statistics: every quantile, and every end of an interval, is a value that
//! was measured. (The exceptions are estimates: the slope's median, see [`theil_sen`], and [`middle`].)
//!
//! Values are expected to be finite, and those of this program are by construction: each is an integer, or the quotient
//! of two by one that was checked not to be zero. Order is `f64::total_cmp`, so that a NaN from elsewhere would come to
//! the ends of the order and be seen there; it could neither panic nor hide.

/// A quantile, held as a whole number of thousandths because 0.99 is no floating-point number, and a rank that is off
/// by one is another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantile {
    pub(super) per_mille: usize,
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

/// One measured value, or several of one block that are taken for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The value, finite, in any unit.
    pub value: f64,
    /// Number of the block that it was measured in.
    pub block: u32,
    /// For how many values it stands, itself included.
    pub count: u32,
}

impl Observation {
    /// A value that stands for itself.
    pub const fn one(value: f64, block: u32) -> Self {
        Self { value, block, count: 1 }
    }
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
pub struct Sample(pub(super) Vec<Observation>);

impl Sample {
    /// Sorts `observations`. `None` if there are none: nothing can be said about them.
    pub fn new(mut observations: Vec<Observation>) -> Option<Self> {
        observations.sort_unstable_by(|one, other| one.value.total_cmp(&other.value));
        (!observations.is_empty()).then_some(Self(observations))
    }

    /// The values, smallest first, each with how many it stands for.
    pub fn values(&self) -> impl ExactSizeIterator<Item = (f64, usize)> + '_ {
        self.0.iter().map(|observation| (observation.value, observation.count as usize))
    }

    /// How many values there are.
    pub fn n(&self) -> usize {
        counted(&self.0)
    }

    /// The value at the nearest rank of `quantile`.
    pub fn quantile(&self, quantile: Quantile) -> f64 {
        self.0[self.position(quantile.rank(self.n()))].value
    }

    /// Where the value of this rank, counted from 1, is.
    pub(super) fn position(&self, rank: usize) -> usize {
        let reached = |up_to: &mut usize, observation: &Observation| {
            *up_to += observation.count as usize;
            Some(*up_to)
        };
        self.0.iter().scan(0, reached).take_while(|&up_to| up_to < rank).count()
    }

    /// Number of values, quantiles and extremes.
    pub fn summary(&self) -> Summary {
        Summary {
            n: self.n(),
            negative: counted(&self.0[..self.0.partition_point(|observation| observation.value < 0.0)]),
            min: self.0[0].value,
            p50: self.quantile(Quantile::P50),
            p90: self.quantile(Quantile::P90),
            p99: self.quantile(Quantile::P99),
            p999: self.quantile(Quantile::P999),
            max: self.0[self.0.len() - 1].value,
        }
    }
}

fn counted(observations: &[Observation]) -> usize {
    observations.iter().map(|observation| observation.count as usize).sum()
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

/// The textbook's median, of an even number the mean of the middle two, where a value is no measured one but an estimate, as of a
/// logarithm or a level. `None` of nothing.
pub fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests;
