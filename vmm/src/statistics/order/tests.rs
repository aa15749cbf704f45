#![expect(clippy::float_cmp, reason = "every expected value is one of the input, bit for bit, or exact in binary")]

use super::*;
use proptest::prelude::*;

fn sample(values: &[f64]) -> Sample {
    Sample::new(values.iter().map(|&value| Observation::one(value, 0)).collect()).expect("values")
}

#[test]
fn ranks_are_exact() {
    for (quantile, n, rank) in [
        (Quantile::P50, 1, 1),
        (Quantile::P50, 2, 1),
        (Quantile::P50, 3, 2),
        (Quantile::P50, 4, 2),
        (Quantile::P90, 10, 9),
        (Quantile::P90, 11, 10),
        (Quantile::P99, 1, 1),
        (Quantile::P99, 99, 99),
        (Quantile::P99, 100, 99),
        (Quantile::P99, 101, 100),
        (Quantile::P999, 999, 999),
        (Quantile::P999, 1000, 999),
        (Quantile::P999, 1001, 1000),
        (Quantile::P50, usize::MAX, usize::MAX / 2 + 1),
    ] {
        assert_eq!(quantile.rank(n), rank, "{quantile:?} of {n}");
    }
}

#[test]
fn summary_of_one_value() {
    let one = Summary { n: 1, negative: 0, min: 7.0, p50: 7.0, p90: 7.0, p99: 7.0, p999: 7.0, max: 7.0 };
    assert_eq!(sample(&[7.0]).summary(), one);
    assert_eq!(Sample::new(Vec::new()), None);
}

#[test]
fn summary_of_even_and_odd_counts() {
    assert_eq!(sample(&[4.0, 1.0, 3.0, 2.0]).summary().p50, 2.0);
    assert_eq!(sample(&[5.0, 4.0, 1.0, 3.0, 2.0]).summary().p50, 3.0);
    let thousand: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
    let expected =
        Summary { n: 1000, negative: 0, min: 1.0, p50: 500.0, p90: 900.0, p99: 990.0, p999: 999.0, max: 1000.0 };
    assert_eq!(sample(&thousand).summary(), expected);
}

#[test]
fn ties_and_negatives_are_values_like_any_other() {
    let summary = sample(&[2.0, -3.0, 2.0, 2.0, -0.5, 0.0]).summary();
    assert_eq!((summary.n, summary.negative), (6, 2));
    assert_eq!((summary.min, summary.p50, summary.p90, summary.max), (-3.0, 0.0, 2.0, 2.0));
}

#[test]
fn slope_of_hand_computed_points() {
    assert_eq!(theil_sen(&[]), None);
    assert_eq!(theil_sen(&[(1.0, 5.0)]), None);
    assert_eq!(theil_sen(&[(1.0, 5.0), (1.0, 9.0)]), None);
    assert_eq!(theil_sen(&[(3.0, 5.0), (1.0, 9.0)]), Some(-2.0));
    // Slopes 1, 2 and 3: odd.
    assert_eq!(theil_sen(&[(0.0, 0.0), (1.0, 1.0), (2.0, 4.0)]), Some(2.0));
    // Slopes 1, 1, 3, 1, 4 and 7: even, the middle two are 1 and 3.
    assert_eq!(theil_sen(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 9.0)]), Some(2.0));
    // The pair that shares an x has no slope; the others have 1 and 3.
    assert_eq!(theil_sen(&[(0.0, 0.0), (1.0, 1.0), (1.0, 3.0)]), Some(2.0));
}

#[test]
fn slope_does_not_follow_an_outlier() {
    let line = |i: u32| (f64::from(i), 10.0 + 4.0 * f64::from(i));
    let points: Vec<_> = (0..300).map(|i| if i % 10 == 9 { (f64::from(i), 1e15) } else { line(i) }).collect();
    assert_eq!(theil_sen(&points), Some(4.0));
}

#[test]
fn flat_is_not_minus_zero() {
    let slope = theil_sen(&[(2.0, 5.0), (0.0, 5.0), (1.0, 5.0)]).expect("three points");
    assert!(slope == 0.0 && slope.is_sign_positive());
}

proptest! {
    #[test]
    fn summary_is_ordered_and_made_of_its_values(values in prop::collection::vec(-1e12..1e12_f64, 1..400)) {
        let summary = sample(&values).summary();
        let quantiles = [summary.min, summary.p50, summary.p90, summary.p99, summary.p999, summary.max];
        prop_assert!(quantiles.is_sorted());
        prop_assert!(quantiles.iter().all(|quantile| values.contains(quantile)));
        prop_assert_eq!(summary.n, values.len());
        prop_assert_eq!(summary.negative, values.iter().filter(|value| **value < 0.0).count());
    }

    #[test]
    fn order_does_not_matter(
        (values, shuffled) in prop::collection::vec(-1e12..1e12_f64, 1..100)
            .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle()))
    ) {
        prop_assert_eq!(sample(&values).summary(), sample(&shuffled).summary());
    }
}
