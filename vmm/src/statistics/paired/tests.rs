use super::*;
use crate::statistics::chance::{normal, uniform};
use guest_stub::random::SplitMix64;
use proptest::prelude::*;

fn of(differences: &[f64]) -> Paired {
    Paired::of(differences).expect("some pairs")
}

#[test]
fn the_test_is_wilcoxons() {
    // Of five pairs, all positive: one of the 32 patterns of signs, and its mirror.
    assert!((of(&[1.0, 2.0, 3.0, 4.0, 5.0]).p() - 2.0 / 32.0).abs() < 1e-12);
    // The smallest of five is negative: W = 1, of which there are two patterns.
    assert!((of(&[-1.0, 2.0, 3.0, 4.0, 5.0]).p() - 4.0 / 32.0).abs() < 1e-12);
    // Wilcoxon's critical value for eight pairs at 5 % is W = 3: P(W ≤ 3) = 5 / 256.
    assert!((Ranks::of(8).at_most(3) - 5.0 / 256.0).abs() < 1e-12);
}

#[test]
fn the_normal_distribution_takes_over_where_it_is_as_good() {
    let (exact, normal) = (Ranks::of(MOST_EXACT), Ranks::of(MOST_EXACT + 1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among some pairs")]
    let place = |pairs: usize, deviations: f64| {
        let n = pairs as f64;
        let (mean, variance) = (n * (n + 1.0) / 4.0, n * (n + 1.0) * (2.0 * n + 1.0) / 24.0);
        (mean - deviations * variance.sqrt()) as usize
    };
    for deviations in [1.0, 2.6, 3.5] {
        let [exact, normal] =
            [(&exact, MOST_EXACT), (&normal, MOST_EXACT + 1)].map(|(of, n)| of.at_most(place(n, deviations)));
        assert!((exact / normal - 1.0).abs() < 0.1, "{deviations}: {exact} and {normal}");
    }
}

#[test]
fn the_estimate_is_the_median_of_means_and_resists_outliers() {
    assert!((of(&[1.0, 2.0, 9.0]).estimate() - 3.5).abs() < 1e-12);
    let mut differences = vec![0.02; 20];
    differences[7] = 5.0;
    assert!((of(&differences).estimate() - 0.02).abs() < 1e-12);
}

#[test]
fn few_pairs_have_no_interval_and_none_have_nothing() {
    assert_eq!(Paired::of(&[]), None);
    assert_eq!(of(&[0.1, 0.2, 0.3, 0.4, 0.5]).interval(0.01), None, "2 of 32 patterns are more than 1 %");
    assert!(of(&[0.1; 8]).interval(0.01).is_some(), "2 of 256 are less");
}

#[test]
fn equal_differences_of_a_coarse_clock_are_no_sign_of_any() {
    let none = of(&[0.0; 30]);
    assert_eq!((none.p(), none.interval(0.01)), (1.0, Some([0.0, 0.0])));
}

proptest! {
    /// An interval leaves zero out where the test says that there is a difference, and nowhere else.
    #[test]
    fn test_and_interval_agree(differences in prop::collection::vec(-1.0..1.5_f64, 8..40)) {
        let paired = of(&differences);
        let leaves_out = paired.interval(0.01).is_some_and(|[low, high]| low > 0.0 || high < 0.0);
        prop_assert_eq!(leaves_out, paired.p() < 0.01);
    }
}

/// How often a difference was found at 1 %, of so many comparisons of pairs of which each has this error on either side, and the second
/// takes longer by so much.
fn found(comparisons: usize, pairs: usize, longer: f64, error: fn(&mut SplitMix64) -> f64) -> usize {
    let mut random = SplitMix64(pairs as u64);
    let mut is_found = || {
        let differences = (0..pairs).map(|_| longer + error(&mut random) - error(&mut random));
        of(&differences.collect::<Vec<_>>()).p() < 0.01
    };
    (0..comparisons).filter(|_| is_found()).count()
}

/// A run that a neighbour strikes now and then takes several times as long.
fn struck(random: &mut SplitMix64) -> f64 {
    0.03 * normal(random) + if uniform(random) < 0.1 { 2.0 * uniform(random) } else { 0.0 }
}

/// A halted target that is found polling, or asleep.
fn bimodal(random: &mut SplitMix64) -> f64 {
    0.01 * normal(random) + if uniform(random) < 0.5 { 0.4 } else { 0.0 }
}

#[test]
fn what_does_not_differ_is_found_to_in_one_of_a_hundred_at_most() {
    const COMPARISONS: usize = 2_000;
    // 1 % of them, and three standard deviations.
    const MOST: usize = 20 + 3 * 5;
    for (name, error) in [("normal", normal as fn(&mut SplitMix64) -> f64), ("struck", struck), ("bimodal", bimodal)] {
        for pairs in [8, 30] {
            let found = found(COMPARISONS, pairs, 0.0, error);
            assert!(found <= MOST, "{name}, {pairs} pairs: {found} of {COMPARISONS}");
        }
    }
}

#[test]
fn neighbours_that_strike_hide_little() {
    let found = found(100, 120, 0.03, struck);
    assert!(found > 95, "3 % longer, where single runs vary by 3 %, and a tenth by much more: {found} of 100");
}
