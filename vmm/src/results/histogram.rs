//! Values counted by buckets, small enough for every document: for tails, of which quantiles tell one point each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much wider each bucket begins than the one before.
const GROWTH: f64 = 1.01;

/// How many values of a time lie in each bucket: bucket `i` holds those from 1.01^i ns up to but not including 1.01^(i+1) ns, so that
/// a value is known within 1 %. A bucket without a value is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Values of zero and below, which no bucket holds; left out where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_positive: u64,
    /// Values in each bucket, by its number.
    pub buckets: BTreeMap<i32, u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Histogram {
    /// Of these values, in ns.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Self::of_counted(values.into_iter().map(|value| (value, 1)))
    }

    /// As [`Self::of`], of values that there are so many of.
    pub fn of_counted(values: impl IntoIterator<Item = (f64, u64)>) -> Self {
        let mut histogram = Self::default();
        for (value, count) in values {
            match bucket_of(value) {
                Some(bucket) => *histogram.buckets.entry(bucket).or_default() += count,
                None => histogram.not_positive += count,
            }
        }
        histogram
    }

    /// How many values there are.
    pub fn n(&self) -> u64 {
        self.not_positive + self.buckets.values().sum::<u64>()
    }

    /// Adds another one's values.
    pub fn add(&mut self, other: &Self) {
        self.not_positive += other.not_positive;
        for (&bucket, count) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += count;
        }
    }

    /// The middle of the bucket that this quantile's value lies in, in ns, by its logarithm; zero where it is not positive. `None` of nothing.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = quantile * self.n() as f64;
        let mut below = self.not_positive;
        if below as f64 >= rank && below > 0 {
            return Some(0.0);
        }
        let reached = self.buckets.iter().find(|(_, count)| {
            below += **count;
            below as f64 >= rank
        });
        reached.map(|(&bucket, _)| GROWTH.powf(f64::from(bucket) + 0.5))
    }

    /// How many values lie in higher buckets than `limit`, in ns: two histograms are asked about one limit, which then means the
    /// same to both.
    pub fn above(&self, limit: f64) -> u64 {
        let above = match bucket_of(limit) {
            Some(bucket) => self.buckets.range(bucket.saturating_add(1)..),
            None => self.buckets.range(..),
        };
        above.map(|(_, count)| count).sum()
    }
}

/// The bucket of a value in ns; `None`: it is not positive.
fn bucket_of(value: f64) -> Option<i32> {
    // Saturates; 1.01^i is beyond every float long before.
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite number is small")]
    (value > 0.0).then(|| (value.ln() / GROWTH.ln()).floor() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_within_one_percent_share_a_bucket_or_are_neighbours() {
        for value in [1.5, 820.0, 73_000.0, 4e9] {
            let (one, other) = (bucket_of(value).unwrap(), bucket_of(value * GROWTH).unwrap());
            assert!((other - one - 1).abs() <= 1, "{value}: {one}, {other}");
            let lower = GROWTH.powi(one);
            assert!(lower * (1.0 - 1e-9) <= value && value < lower * GROWTH * (1.0 + 1e-9), "{value}: from {lower}");
        }
        assert_eq!([0.0, -3.0, f64::NAN].map(bucket_of), [None; 3]);
    }

    #[test]
    fn what_lies_above_a_limit_is_counted_in_higher_buckets() {
        let histogram = Histogram::of([0.0, -5.0, 100.0, 100.1, 150.0, 1e6]);
        assert_eq!((histogram.n(), histogram.not_positive), (6, 2));
        assert_eq!([0.0, 50.0, 100.0, 200.0, 2e6].map(|limit| histogram.above(limit)), [4, 4, 2, 1, 0]);
    }

    #[test]
    fn a_quantile_is_known_to_its_bucket() {
        let mut histogram = Histogram::of((1..=50).map(|value| f64::from(value) * 100.0));
        histogram.add(&Histogram::of((51..=100).map(|value| f64::from(value) * 100.0)));
        for (quantile, value) in [(0.01, 100.0), (0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = histogram.quantile(quantile).unwrap();
            assert!((found / value - 1.0).abs() < GROWTH - 1.0, "{quantile}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::of([-1.0, 5.0]).quantile(0.5), Some(0.0));
    }

    #[test]
    fn a_document_has_it_as_counts_by_bucket_and_gives_it_back() {
        let histogram = Histogram::of([0.5, 1_000.0, 1_000.0]);
        let json = serde_json::to_value(&histogram).unwrap();
        assert_eq!(json, serde_json::json!({"buckets": {"-70": 1, "694": 2}}));
        assert_eq!(serde_json::from_value::<Histogram>(json).unwrap(), histogram);
    }
}
