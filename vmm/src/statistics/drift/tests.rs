use super::*;
use crate::statistics::chance::normal;
use guest_stub::random::SplitMix64;

/// Turns of a host with a memory: a sum of processes that forget half within 1, 4, 16, … turns.
fn remembered(random: &mut SplitMix64, turns: usize) -> Vec<f64> {
    let mut series = vec![0.0; turns];
    for octave in 0..6 {
        let keep = 0.5_f64.powf(0.25_f64.powi(octave));
        let mut state = normal(random);
        for value in &mut series {
            *value += state;
            state = keep * state + (1.0 - keep * keep).sqrt() * normal(random);
        }
    }
    series
}

fn mean_inflation(of: impl Fn(&mut SplitMix64) -> Vec<f64>) -> f64 {
    let mut random = SplitMix64(3);
    (0..60).map(|_| Drift::of_series(&of(&mut random)).inflation(25)).sum::<f64>() / 60.0
}

#[test]
fn without_a_memory_hardly_anything_is_added() {
    let inflation = mean_inflation(|random| (0..50).map(|_| normal(random)).collect());
    assert!((1.0..1.5).contains(&inflation), "{inflation}");
}

#[test]
fn a_long_memory_makes_25_boots_tell_no_more_than_a_few_do() {
    let inflation = mean_inflation(|random| remembered(random, 50));
    assert!((3.0..9.0).contains(&inflation), "{inflation}");
}

#[test]
fn inflation_is_that_of_the_model() {
    let of = |memory, boots| Drift { memories: vec![(memory, 1.0)] }.inflation(boots);
    assert!((of(0.5, 10) - 1.0).abs() < 1e-12 && (of(0.5, 1) - 1.0).abs() < 1e-12);
    // Four boots of H = 3/4: the means of two successive fours differ by 2·4^(-1/2)·(2 − √2), a four's own variance is 1/2.
    assert!((of(0.75, 4) - 3.0 * (2.0 - 2.0_f64.sqrt())).abs() < 1e-12, "{}", of(0.75, 4));
}

#[test]
fn a_memory_leaves_fewer_degrees_of_freedom() {
    let of = |memory, boots| Drift { memories: vec![(memory, 1.0)] }.degrees_of_freedom(boots);
    assert!((of(0.5, 25) - 24.0).abs() < 1e-9 && (of(0.5, 2) - 1.0).abs() < 1e-9);
    // Two turns have one difference, whatever they remember.
    assert!((of(0.9, 2) - 1.0).abs() < 1e-9, "{}", of(0.9, 2));
    assert!((of(0.9, 25) - 12.8).abs() < 0.1, "{}", of(0.9, 25));
}

#[test]
fn a_slow_while_counts_by_how_long_it_lasts_and_not_by_how_slow_it_is() {
    let inflation = |slow: f64, lasts: usize| {
        let mut random = SplitMix64(9);
        let mut series: Vec<f64> = (0..50).map(|_| 0.01 * normal(&mut random)).collect();
        series[20..20 + lasts].iter_mut().for_each(|value| *value += slow);
        Drift::of_series(&series).inflation(25)
    };
    assert!((inflation(0.3, 6) - inflation(30.0, 6)).abs() < 1e-9);
    let [none, one, twelve] = [0, 1, 12].map(|lasts| inflation(0.3, lasts));
    assert!(one < none + 1.0 && twelve > none + 2.0, "{none} {one} {twelve}");
}

#[test]
fn normal_scores_are_by_rank_and_equal_values_share_theirs() {
    let scores = normal_scores(&[5.0, -1.0, 5.0, 700.0]);
    // The normal distribution has an eighth below −1.150, and a half below 0.
    let expected = [0.0, -1.150, 0.0, 1.150];
    assert!(iter::zip(&scores, expected).all(|(score, expected)| (score - expected).abs() < 1e-3), "{scores:?}");
}

#[test]
fn likelihood_is_that_of_independent_values_without_a_memory() {
    let values = [1.0, 4.0, 2.0, 7.0];
    let squares: f64 = values.iter().map(|value| (value - 3.5) * (value - 3.5)).sum();
    let expected = -0.5 * (3.0 * squares.ln() + 4.0_f64.ln());
    assert!((log_likelihood(&values, 0.5) - expected).abs() < 1e-12);
}

#[test]
fn a_drift_is_what_the_cells_have_in_common() {
    let mut random = SplitMix64(5);
    let common = remembered(&mut random, 50);
    let cell = |scale: f64| (0..).zip(&common).map(|(turn, value)| (turn, scale * (0.1 * value).exp())).collect();
    let cells: Vec<Vec<(u32, f64)>> = vec![cell(70.0), cell(90.0), cell(500.0)];
    let together = Drift::of_cells(&cells).inflation(25);
    assert!((together - Drift::of_series(&common).inflation(25)).abs() < 1e-6, "{together}");
}

#[test]
fn nothing_is_told_of_few_turns_and_of_values_without_a_logarithm() {
    assert_eq!(Drift::of_cells(&[]), Drift::none());
    assert_eq!(Drift::of_cells(&[vec![(0, 1.0), (1, 2.0), (2, 1.0)]]), Drift::none());
    assert_eq!(Drift::of_cells(&[(0..20).map(|turn| (turn, -1.0)).collect()]), Drift::none());
    assert_eq!(Drift::of_cells(&[(0..20).map(|turn| (turn, 5.0)).collect()]), Drift::none());
}

#[test]
fn many_turns_are_averaged() {
    let mut random = SplitMix64(7);
    let inflation = Drift::of_series(&remembered(&mut random, 5_000)).inflation(25);
    assert!(inflation > 1.5, "{inflation}");
}
