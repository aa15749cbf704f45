use super::*;
use crate::statistics::chance::{normal, uniform};
use guest_stub::random::SplitMix64;
use proptest::prelude::*;

/// How a run's value varies, in units of its spread.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Normal,
    /// Each run is one of two, four spreads apart, as halt polling has them.
    Bimodal,
    HeavyTails,
    Outliers,
    /// Each run remembers half of the one before.
    Autocorrelated,
}

const KINDS: [Kind; 5] = [Kind::Normal, Kind::Bimodal, Kind::HeavyTails, Kind::Outliers, Kind::Autocorrelated];

fn runs(kind: Kind, count: usize, random: &mut SplitMix64) -> Vec<f64> {
    let mut last = normal(random);
    (0..count)
        .map(|_| match kind {
            Kind::Normal => normal(random),
            Kind::Bimodal => 0.3 * normal(random) + if uniform(random) < 0.5 { 4.0 } else { 0.0 },
            Kind::HeavyTails => {
                let squares: f64 = (0..3).map(|_| normal(random).powi(2)).sum();
                normal(random) / (squares / 3.0).sqrt()
            }
            Kind::Outliers => normal(random) + if uniform(random) < 0.05 { 15.0 } else { 0.0 },
            Kind::Autocorrelated => {
                last = 0.5 * last + 0.75_f64.sqrt() * normal(random);
                last
            }
        })
        .collect()
}

fn set(values: &[f64]) -> Set {
    Set { values: values.to_vec(), is_trimmed: true, ..Set::default() }
}

/// How many of so many pairs of sets of one kind have an interval that misses the true difference.
fn misses(kind: Kind, size: usize, miss: f64, pairs: usize, seed: u64) -> usize {
    let mut random = SplitMix64(seed);
    let is_missed = |random: &mut SplitMix64| {
        let values = runs(kind, 2 * size, random);
        let difference = Difference::between(&set(&values[..size]), &set(&values[size..])).unwrap();
        let [low, high] = difference.interval(miss).unwrap();
        !(low..=high).contains(&0.0)
    };
    (0..pairs).filter(|_| is_missed(&mut random)).count()
}

#[test]
fn intervals_of_independent_runs_miss_no_more_often_than_they_say() {
    // 600 pairs of which 5 % may miss: 45 are three standard deviations more than the 30 that are expected.
    for kind in [Kind::Normal, Kind::Bimodal, Kind::HeavyTails, Kind::Outliers] {
        for size in [5, 10] {
            let missed = misses(kind, size, 0.05, 600, 11);
            assert!(missed <= 45, "{kind:?}, {size} a side: {missed} of 600");
        }
    }
}

#[test]
fn runs_that_remember_each_other_do_not_promise_what_they_cannot_keep() {
    let missed = misses(Kind::Autocorrelated, 10, 0.01, 600, 12);
    assert!(missed <= 18, "{missed} of 600, where intervals that take runs for independent miss some 40");
}

#[test]
fn what_is_planted_is_found() {
    let mut random = SplitMix64(13);
    let is_found = |random: &mut SplitMix64| {
        let values: Vec<f64> = runs(Kind::Normal, 20, random).iter().map(|value| 0.012 * value).collect();
        let planted: Vec<f64> = values[10..].iter().map(|value| value + 1.05_f64.ln()).collect();
        let alike = |values: &[f64]| Set { belief: Belief::Quotient, ..set(values) };
        let difference = Difference::between(&alike(&values[..10]), &alike(&planted)).unwrap();
        difference.interval(0.01 / 3.0).unwrap()[0] > 0.0
    };
    let found = (0..200).filter(|_| is_found(&mut random)).count();
    assert!(found >= 190, "{found} of 200");
}

#[test]
fn one_run_in_ten_that_is_out_of_line_does_not_decide() {
    let base: Vec<f64> = (0..10).map(|run| f64::from(run % 3)).collect();
    let mut new = base.clone();
    new[4] = 1000.0;
    let difference = Difference::between(&set(&base), &set(&new)).unwrap();
    assert!(difference.estimate.abs() < 0.3, "{}", difference.estimate);
    let every = Set { is_trimmed: false, ..set(&new) };
    assert!(Difference::between(&set(&base), &every).unwrap().estimate > 90.0);
}

#[test]
fn one_run_a_side_is_judged_by_what_is_known_of_runs() {
    let one = |value, known| Set { known, ..set(&[value]) };
    let unknown = Difference::between(&one(1.0, None), &one(1.5, None)).unwrap();
    assert_eq!((unknown.estimate, unknown.error.clone(), unknown.p()), (0.5, None, None));
    let known = Some(Variance { value: 0.01, degrees: 10.0 });
    let difference = Difference::between(&one(1.0, known), &one(1.5, known)).unwrap();
    let error = difference.error.clone().unwrap();
    assert!((error.standard - 0.02_f64.sqrt()).abs() < 1e-12 && error.degrees > 10.0, "{error:?}");
    let [low, high] = difference.interval(0.01).unwrap();
    assert!(low > 0.0 && high < 1.0, "{low} to {high}");
}

#[test]
fn a_single_run_varies_as_the_other_sides_do() {
    let many = set(&[0.0, 0.1, -0.1, 0.05, -0.05]);
    let error = |new: &[f64]| Difference::between(&many, &set(new)).unwrap().error.unwrap();
    let one = error(&[0.0]);
    assert!(one.standard > error(&[0.0, 0.1, -0.1, 0.05, -0.05]).standard);
    assert!(one.degrees < 4.1, "{}", one.degrees);
}

#[test]
fn a_run_is_no_surer_than_its_own_blocks() {
    let lucky = Set { within: 0.04, ..set(&[1.0, 1.0001, 0.9999]) };
    let difference = Difference::between(&lucky, &lucky).unwrap();
    assert!((difference.error.unwrap().spread - 0.2).abs() < 1e-12);
}

#[test]
fn what_does_not_vary_is_certain() {
    let [two, three] = [set(&[2.0; 5]), set(&[3.0; 5])];
    let same = Difference::between(&two, &two).unwrap();
    assert_eq!((same.p(), same.interval(0.01)), (Some(1.0), Some([0.0, 0.0])));
    let other = Difference::between(&two, &three).unwrap();
    assert_eq!((other.p(), other.interval(0.01)), (Some(0.0), Some([1.0, 1.0])));
    assert_eq!(Difference::between(&two, &set(&[])), None);
}

#[test]
fn more_runs_decide_what_few_do_not() {
    let mut random = SplitMix64(14);
    let values = runs(Kind::Normal, 10, &mut random);
    let error = Difference::between(&set(&values[..5]), &set(&values[5..])).unwrap().error.unwrap();
    let wide = error.runs(0.01, 2.0 * error.spread, 6).unwrap();
    let narrow = error.runs(0.01, error.spread, 6).unwrap();
    assert!((6..narrow).contains(&wide), "{wide}, {narrow}");
    assert_eq!(error.runs(0.01, 1e-6, 6), None);
    assert_eq!(error.runs(0.01, 1e6, 6), Some(6), "what is decided by the next run");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sides_that_change_places_turn_the_sign(
        base in prop::collection::vec(-1.0..1.0_f64, 1..14), new in prop::collection::vec(-1.0..1.0_f64, 1..14),
    ) {
        let [there, back] = [(&base, &new), (&new, &base)].map(|(base, new)| Difference::between(&set(base), &set(new)).unwrap());
        prop_assert!((there.estimate + back.estimate).abs() < 1e-12);
        match (there.interval(0.05), back.interval(0.05)) {
            (Some([low, high]), Some(other)) => {
                let tolerance = 1e-6 * (high - low).max(1e-6);
                prop_assert!((low + other[1]).abs() < tolerance && (high + other[0]).abs() < tolerance);
                prop_assert!(low <= there.estimate && there.estimate <= high);
            }
            (there, back) => prop_assert!(there.is_none() && back.is_none()),
        }
    }

    #[test]
    fn the_interval_excludes_no_difference_where_p_is_below_its_level(
        kind in prop::sample::select(KINDS.to_vec()), size in 2..12_usize, shift in -3.0..3.0_f64, seed in any::<u64>(), miss in 0.0005..0.2_f64,
    ) {
        let values = runs(kind, 2 * size, &mut SplitMix64(seed));
        let shifted: Vec<f64> = values[size..].iter().map(|value| value + shift).collect();
        let difference = Difference::between(&set(&values[..size]), &set(&shifted)).unwrap();
        let [low, high] = difference.interval(miss).unwrap();
        let p = difference.p().unwrap();
        // Both are of one distribution, each to the precision of its own function.
        if (p - miss).abs() > 1e-6 {
            prop_assert_eq!(p < miss, low > 0.0 || high < 0.0, "p {}, {} to {}", p, low, high);
        }
    }
}
