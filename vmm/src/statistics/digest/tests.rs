use super::super::order::Quantile;
use super::*;
use guest_stub::random::SplitMix64;
use proptest::prelude::*;

/// Of one block.
fn digest(precision: Precision, blocks: &[Vec<f64>]) -> Digest {
    let mut digest = Digest::new(precision);
    for values in blocks {
        digest.add(values.iter().copied());
    }
    digest
}

fn sample(digest: &Digest) -> Sample {
    Digest::sample([(0, digest)].into_iter()).expect("values")
}

proptest! {
    #[test]
    fn a_quantile_of_buckets_is_a_measured_value_close_to_the_exact_one(
        blocks in prop::collection::vec(prop::collection::vec(-1e4..1e9_f64, 1..300), 1..8)
    ) {
        let (exact, buckets) = (digest(Precision::Exact, &blocks), digest(Precision::Buckets, &blocks));
        let (exact, buckets) = (sample(&exact), sample(&buckets));
        let (one, other) = (exact.summary(), buckets.summary());
        prop_assert_eq!((one.n, one.negative), (other.n, other.negative));
        prop_assert_eq!((one.min, one.max), (other.min, other.max), "which are kept as they are");
        for quantile in [Quantile::P50, Quantile::P90, Quantile::P99, Quantile::P999] {
            let (exact, found) = (exact.quantile(quantile), buckets.quantile(quantile));
            prop_assert!((found - exact).abs() <= ERROR * exact.abs(), "{} instead of {}", found, exact);
            prop_assert!(blocks.iter().flatten().any(|value| value.total_cmp(&found).is_eq()));
        }
    }

    #[test]
    fn digests_of_parts_make_that_of_all(
        blocks in prop::collection::vec(prop::collection::vec(1.0..1e6_f64, 1..100), 1..8)
    ) {
        for precision in [Precision::Exact, Precision::Buckets] {
            let mut merged = Digest::new(precision);
            for block in &blocks {
                merged.merge(&digest(precision, std::slice::from_ref(block)));
            }
            let counts = |digest: &Digest| {
                sample(digest).values().map(|(value, count)| (place(value), count)).collect::<Vec<_>>()
            };
            prop_assert_eq!(counts(&merged), counts(&digest(precision, &blocks)));
        }
    }
}

#[test]
fn digests_of_either_precision_can_be_merged() {
    for [one, other] in [[Precision::Exact, Precision::Buckets], [Precision::Buckets, Precision::Exact]] {
        let mut merged = digest(one, &[vec![3.0, 1.0]]);
        merged.merge(&digest(other, &[vec![2.0, 2.0]]));
        let summary = sample(&merged).summary();
        assert_eq!((summary.n, summary.min, summary.p50, summary.max), (4, 1.0, 2.0, 3.0));
    }
}

/// What the room for values depends on is their spread, and not their number.
#[test]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand")]
fn buckets_of_many_values_take_no_more_room_than_of_few() {
    let mut random = SplitMix64(3);
    // Some 100 µs, as many as of a day, and now and then far more.
    let mut block = || {
        let mut value = |_| {
            let slow = if random.below(100) == 0 { random.below(10_000_000) } else { 0 };
            (200_000 + random.below(100_000) + slow) as f64
        };
        (0..1000).map(&mut value).collect::<Vec<f64>>()
    };
    let mut digest = Digest::new(Precision::Buckets);
    (0..400).for_each(|_| digest.add(block().into_iter()));
    assert_eq!(sample(&digest).n(), 400_000);
    let Kept::Buckets(buckets) = &digest.0 else { panic!("not in buckets") };
    // From 200 µs to 10.3 ms, and the ends.
    let most = (f64::from(1 << BITS) * (10.3_f64 / 0.2).log2()) as usize + 2;
    assert!(buckets.capacity() <= most, "{} buckets of {most}", buckets.capacity());
}

#[test]
fn small_whole_numbers_are_exact() {
    let all: Vec<f64> = (0..1024).map(f64::from).collect();
    let buckets = digest(Precision::Buckets, std::slice::from_ref(&all));
    assert!(sample(&buckets).values().eq(all.into_iter().map(|value| (value, 1))));
    assert_eq!(Digest::sample([(0, &Digest::new(Precision::Buckets))].into_iter()), None);
}

#[test]
fn many_rounds_are_counted_in_buckets() {
    assert_eq!(
        [500, MOST_EXACT, MOST_EXACT + 1].map(Precision::of),
        [Precision::Exact, Precision::Exact, Precision::Buckets]
    );
}
