use super::*;
use crate::statistics::chance::normal;
use proptest::prelude::*;

/// How each run of a series differs from its level, in standard deviations.
#[derive(Debug, Clone, Copy)]
struct Noise {
    /// How much of the run before is in it.
    kept: f64,
    /// Student's t of three degrees of freedom instead of normal.
    heavy: bool,
}

impl Noise {
    const INDEPENDENT: Self = Self { kept: 0.0, heavy: false };
    const HEAVY: Self = Self { kept: 0.0, heavy: true };

    fn series(self, runs: usize, random: &mut SplitMix64) -> Vec<f64> {
        let mut state = normal(random);
        let mut next = || {
            let chi = (0..3).map(|_| normal(random).powi(2)).sum::<f64>();
            // Over its own standard deviation, √3.
            let shock = if self.heavy { normal(random) / chi.sqrt() } else { normal(random) };
            state = self.kept * state + (1.0 - self.kept * self.kept).sqrt() * shock;
            state
        };
        (0..runs).map(|_| next()).collect()
    }
}

/// Times that vary by 1.5 %, as logarithms, and are 5 % longer in `slower`.
fn times(noise: Noise, runs: usize, slower: Range<usize>, random: &mut SplitMix64) -> Vec<f64> {
    let mut series: Vec<f64> = noise.series(runs, random).into_iter().map(|value| 0.015 * value).collect();
    series[slower].iter_mut().for_each(|value| *value += 1.05_f64.ln());
    series
}

fn places(series: &[f64]) -> Vec<usize> {
    change_points(series).iter().map(|point| point.at).collect()
}

/// In how many of `many` series a change is found where there is none.
fn false_alarms(noise: Noise, runs: usize, many: usize) -> usize {
    let mut random = SplitMix64(7);
    (0..many).filter(|_| !places(&noise.series(runs, &mut random)).is_empty()).count()
}

#[test]
fn where_nothing_changed_nothing_is_found() {
    // With 1 % of false alarms, that many or fewer are found with a probability of 99 % at least.
    for (runs, many, most) in [(20, 250, 7), (50, 60, 3), (200, 4, 1)] {
        for (kept, heavy) in [(0.0, false), (0.0, true), (0.3, false), (0.3, true)] {
            let noise = Noise { kept, heavy };
            let found = false_alarms(noise, runs, many);
            assert!(found <= most, "{found} of {many} series of {runs} runs, {noise:?}");
        }
    }
}

#[test]
fn a_long_memory_hides_changes_rather_than_feigning_them() {
    let noise = Noise { kept: 0.6, heavy: false };
    assert!(false_alarms(noise, 60, 60) <= 3);
    let mut random = SplitMix64(11);
    let mut last_runs = |noise| (0..20).filter(|_| places(&times(noise, 60, 54..60, &mut random)) == [54]).count();
    let [without, with] = [Noise::INDEPENDENT, noise].map(&mut last_runs);
    assert!(without > with + 5, "{without} without a memory, {with} with one");
}

#[test]
fn a_step_of_five_percent_is_found_where_it_is() {
    for noise in [Noise::INDEPENDENT, Noise::HEAVY] {
        for (runs, many) in [(40, 20), (100, 5)] {
            let mut random = SplitMix64(3);
            let mut exact = 0;
            for number in 0..many {
                let at = runs / 4 + number * runs / 2 / many;
                let found = places(&times(noise, runs, at..runs, &mut random));
                exact += usize::from(matches!(found[..], [place] if place.abs_diff(at) <= 1));
            }
            assert!(exact * 10 >= many * 8, "{exact} of {many} steps in {runs} runs, {noise:?}");
        }
    }
}

#[test]
fn a_change_of_the_last_runs_is_found() {
    let mut random = SplitMix64(5);
    let mut found = |last: usize| {
        let is_found = |series: Vec<f64>| places(&series).iter().any(|place| place.abs_diff(40 - last) <= 1);
        (0..20).filter(|_| is_found(times(Noise::INDEPENDENT, 40, 40 - last..40, &mut random))).count()
    };
    let [four, six] = [4, 6].map(&mut found);
    assert!(four >= 7 && six >= 14, "{four} of 20 after four runs, {six} after six");
}

#[test]
fn a_change_that_was_taken_back_is_two() {
    let mut random = SplitMix64(13);
    for _ in 0..5 {
        let found = places(&times(Noise::INDEPENDENT, 60, 25..37, &mut random));
        assert!(matches!(found[..], [one, other] if one.abs_diff(25) <= 1 && other.abs_diff(37) <= 1), "{found:?}");
    }
}

#[test]
fn one_outlier_is_no_change() {
    let mut random = SplitMix64(17);
    for place in [0, 12, 29] {
        let mut series = times(Noise::INDEPENDENT, 30, 0..0, &mut random);
        series[place] += 0.5;
        assert_eq!(places(&series), [0; 0], "an outlier at {place}");
    }
}

#[test]
fn what_cannot_be_told_is_not() {
    assert_eq!(change_points(&[]), []);
    assert_eq!(change_points(&[1.0, 1.0, 2.0, 2.0]), []);
    assert_eq!(change_points(&[3.0; 50]), []);
    // Of 70 ways to divide eight runs into halves, two are those.
    assert_eq!(change_points(&[1.0, 1.1, 1.2, 1.3, 2.0, 2.1, 2.2, 2.3]), []);
}

#[test]
fn sums_of_distances_are_those_of_all_pairs() {
    let series = [3.0, 1.0, 4.0, 1.5, 9.0, 2.5];
    let mut distances = Distances::default();
    distances.fill(&series);
    for (rows, columns) in [(0..6, 0..6), (0..2, 2..6), (3..5, 1..4), (2..2, 0..6)] {
        let pairs = rows.clone().flat_map(|row| columns.clone().map(move |column| (row, column)));
        let sum: f64 = pairs.map(|(row, column)| (series[row] - series[column]).abs()).sum();
        assert!((distances.between(rows, columns) - sum).abs() < 1e-12);
    }
}

#[test]
fn a_resample_remembers_as_the_series_does() {
    let mut random = SplitMix64(23);
    let neighbours = |series: &[f64]| {
        let square: f64 = series.iter().map(|value| value * value).sum();
        series.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / square
    };
    let series = Noise::INDEPENDENT.series(400, &mut random);
    let remembered = resample(&series, 0.8, &mut random);
    // 2^(2H − 1) − 1 is the correlation of neighbours, of which the mean of 400 such runs takes a part.
    assert!((0.35..0.6).contains(&neighbours(&remembered)), "{}", neighbours(&remembered));
    let mut permuted = resample(&series, 0.5, &mut random);
    let mean = series.iter().sum::<f64>() / 400.0;
    let mut centred: Vec<f64> = series.iter().map(|value| value - mean).collect();
    permuted.sort_unstable_by(f64::total_cmp);
    centred.sort_unstable_by(f64::total_cmp);
    assert_eq!(permuted, centred);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn change_points_divide_the_series(series in proptest::collection::vec(-1e3_f64..1e3, 0..30), step in 0.0_f64..1e4) {
        let half = series.len() / 2;
        let series: Vec<f64> =
            series.iter().enumerate().map(|(run, value)| if run < half { *value } else { value + step }).collect();
        let found = change_points(&series);
        prop_assert_eq!(&change_points(&series), &found);
        prop_assert!(found.iter().all(|point| point.p > 0.0 && point.p <= LEVEL));
        let parts = parts(&found, series.len());
        prop_assert_eq!(parts.iter().map(ExactSizeIterator::len).sum::<usize>(), series.len());
        prop_assert!(found.is_empty() || parts.iter().all(|part| part.len() >= FEWEST));
    }

    /// Of times in another unit, and of their reciprocals, the same is found.
    #[test]
    fn unit_and_sign_do_not_matter(seed: u64, power in -3_i32..4, at in 5_usize..15) {
        let series = times(Noise::INDEPENDENT, 20, at..20, &mut SplitMix64(seed));
        let scale = 2.0_f64.powi(power);
        let scaled: Vec<f64> = series.iter().map(|value| value * scale).collect();
        let turned: Vec<f64> = series.iter().map(|value| -value).collect();
        prop_assert_eq!(places(&scaled), places(&series));
        // The normal scores of equal probabilities differ in their last digits.
        prop_assert_eq!(places(&turned).len(), places(&series).len());
    }
}
