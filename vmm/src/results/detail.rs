//! What a picture of a cell needs besides the measurement document: distributions, arrivals by vCPU, two rounds.

use super::metric::MetricName;
use super::trace::Call;

/// Most points of a curve. More order statistics than that are thinned, evenly by rank, first and last kept.
pub const MOST_POINTS: usize = 400;

/// A cell's details. Times in ns.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CellDetail {
    /// The distribution of each metric that is drawn.
    pub curves: Vec<Curve>,
    /// Delivery by target, by rising vCPU.
    pub arrivals: Vec<Arrival>,
    /// The rounds of the median and of the largest round trip.
    pub calls: Vec<Call>,
}

/// An empirical distribution function.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The metric.
    pub metric: MetricName,
    /// How many values there were.
    pub n: usize,
    /// Values of zero or less.
    pub not_positive: usize,
    /// Value and the fraction of all values that are no larger, by rising value.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// That of `values`, in ascending order.
    pub fn of(metric: MetricName, values: &[f64]) -> Self {
        Self::of_counted(metric, values.iter().map(|&value| (value, 1)))
    }

    /// As [`Self::of`], of values that there are so many of, in ascending order.
    pub fn of_counted(metric: MetricName, values: impl Iterator<Item = (f64, usize)>) -> Self {
        // Each with how many there are up to it.
        let mut n = 0;
        let up_to = values.map(|(value, count)| {
            n += count;
            (value, n)
        });
        let values: Vec<(f64, usize)> = up_to.collect();
        let not_positive = values.iter().rev().find(|(value, _)| *value <= 0.0).map_or(0, |&(_, up_to)| up_to);
        let wanted = n.min(MOST_POINTS);
        let rank = |point: usize| if wanted < 2 { 0 } else { point * (n - 1) / (wanted - 1) };
        let value = |rank: usize| values[values.partition_point(|&(_, up_to)| up_to <= rank)].0;
        let points = (0..wanted).map(rank).map(|rank| (value(rank), (rank + 1) as f64 / n as f64)).collect();
        Self { metric, n, not_positive, points }
    }
}

/// One target's delivery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// The target.
    pub vcpu: usize,
    /// Median, ns.
    pub p50: f64,
    /// 99th percentile, ns.
    pub p99: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_keeps_its_ends_however_many_values_there_are() {
        let values: Vec<f64> = (-3..2000).map(f64::from).collect();
        let curve = Curve::of(MetricName::Delivery, &values);
        assert_eq!((curve.n, curve.not_positive, curve.points.len()), (2003, 4, MOST_POINTS));
        assert_eq!(curve.points.first(), Some(&(-3.0, 1.0 / 2003.0)));
        assert_eq!(curve.points.last(), Some(&(1999.0, 1.0)));
        assert!(curve.points.is_sorted_by(|one, other| one.0 < other.0 && one.1 < other.1));
        assert_eq!(Curve::of(MetricName::Delivery, &[7.0]).points, [(7.0, 1.0)]);
        assert_eq!(Curve::of(MetricName::Delivery, &[]).points, []);
    }
}
