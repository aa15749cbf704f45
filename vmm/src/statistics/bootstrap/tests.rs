#![expect(clippy::float_cmp, reason = "every expected value is one of the input, bit for bit")]

use super::*;
use crate::statistics::chance;
use proptest::prelude::*;

fn sample(values: &[f64]) -> Sample {
    blocked(&[values])
}

fn blocked(blocks: &[&[f64]]) -> Sample {
    let observations = (0..).zip(blocks).flat_map(|(block, values)| values.iter().map(move |&value| (value, block)));
    Sample::new(observations.map(|(value, block)| Observation::one(value, block)).collect()).expect("values")
}

/// So many boots, each of so many blocks, on a host that does not drift.
fn boots(count: u32, blocks: u32) -> Boots {
    Boots { of_block: (0..count * blocks).map(|block| block / blocks).collect(), drift: Drift::none() }
}

/// The interval as its definition has it: every resample, of two blocks a boot, is spelt out and sorted.
fn spelt_out(blocks: &[&[f64]], quantile: Quantile) -> [f64; 2] {
    let mut random = SplitMix64(SEED);
    let boots = blocks.len() / 2;
    let mut estimates: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<f64> = (0..boots)
                .flat_map(|_| {
                    let boot = random.below(boots);
                    [0, 1].map(|_| blocks[2 * boot + random.below(2)])
                })
                .flatten()
                .copied()
                .collect();
            sample(&drawn).quantile(quantile)
        })
        .collect();
    estimates.sort_unstable_by(f64::total_cmp);
    let mut all = blocks.concat();
    all.sort_unstable_by(f64::total_cmp);
    let estimate = sample(&all).quantile(quantile);
    let factor = of_few(boots as f64 - 1.0);
    let [low, high] = ENDS.map(|end| estimate + (estimates[end] - estimate) * factor);
    let inside = || all.iter().copied().filter(|value| low.min(estimate) <= *value && *value <= high.max(estimate));
    [inside().next().unwrap(), inside().next_back().unwrap()]
}

/// Uniform in −1 to 1.
fn uniform(random: &mut SplitMix64) -> f64 {
    2.0 * chance::uniform(random) - 1.0
}

#[test]
fn an_interval_of_few_boots_reaches_further_out() {
    assert_eq!(ENDS, [49, 1949], "2.5 % of each side");
    // Student's t is 2.776 of 4 degrees of freedom, and 2.262 of 9; the normal distribution has 1.960.
    assert!((of_few(4.0) - 2.776 / 1.960 * 1.25_f64.sqrt()).abs() < 1e-3, "{}", of_few(4.0));
    assert!((of_few(9.0) - 2.262 / 1.960 * (10.0 / 9.0_f64).sqrt()).abs() < 1e-3, "{}", of_few(9.0));
    assert!((of_few(1e6) - 1.0).abs() < 1e-3, "{}", of_few(1e6));
}

#[test]
fn an_end_is_the_outermost_value_that_is_not_too_far() {
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 20.0];
    assert_eq!(stretched(&values, 4.0, [3.0, 5.0], 1.9), [3.0, 5.0]);
    assert_eq!(stretched(&values, 4.0, [3.0, 5.0], 2.5), [2.0, 6.0]);
    assert_eq!(stretched(&values, 4.0, [3.0, 5.0], 100.0), [1.0, 20.0], "no interval leaves the sample");
    assert_eq!(stretched(&values, 4.0, [5.0, 6.0], 1.0), [4.0, 6.0], "the estimate is in its interval");
    assert_eq!(stretched(&values, 4.4, [4.4, 4.4], 1.0), [5.0, 5.0], "none is in it: the next one");
}

#[test]
fn an_interval_is_as_much_wider_as_the_drift_is_larger() {
    let mut random = SplitMix64(1);
    let values: Vec<Vec<f64>> = (0..25).map(|_| (0..200).map(|_| uniform(&mut random)).collect()).collect();
    let sample = blocked(&values.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let width = |drift: Drift| {
        let of_block = (0..25).collect();
        let [[low, high]] = sample.intervals([Quantile::P50], &Boots { of_block, drift }).unwrap();
        high - low
    };
    let series: Vec<(u32, f64)> = (0..50).map(|turn| (turn, 1.0 + f64::from(turn))).collect();
    let drift = Drift::of_cells(&[series]);
    let expected = drift.inflation(25).sqrt() * of_few(drift.degrees_of_freedom(25)) / of_few(24.0);
    let ratio = width(drift) / width(Drift::none());
    assert!(expected > 2.0 && (ratio / expected - 1.0).abs() < 0.1, "{ratio}, {expected}");
}

#[test]
fn constant_values_have_an_interval_without_width() {
    let block = [3.5; 10];
    let intervals = blocked(&[&block[..]; 6]).intervals([Quantile::P50, Quantile::P99], &boots(6, 1));
    assert_eq!(intervals, Some([[3.5, 3.5], [3.5, 3.5]]));
}

#[test]
fn too_few_boots_have_no_interval() {
    let block = [1.0, 2.0, 3.0];
    let of = |count: usize, boots: &Boots| blocked(&vec![&block[..]; count]).intervals([Quantile::P50], boots);
    assert_eq!(of(4, &boots(4, 1)), None);
    assert!(of(5, &boots(5, 1)).is_some());
    assert_eq!(of(20, &boots(4, 5)), None, "however many blocks there are");
    // A boot without a value is none.
    assert_eq!(blocked(&[&block, &block, &[], &block, &block]).intervals([Quantile::P50], &boots(5, 1)), None);
}

#[test]
fn blocks_are_told_apart_by_any_number() {
    let numbered = |step: u32| {
        let observations = (0..60_u32).map(|i| Observation::one(f64::from(i * 7 % 60), i / 10 * step));
        let sample = Sample::new(observations.collect()).unwrap();
        sample.intervals([Quantile::P50], &Boots { of_block: (0..60).collect(), drift: Drift::none() })
    };
    assert!(numbered(1).is_some());
    assert_eq!(numbered(1), numbered(7));
}

#[test]
fn intervals_are_reproducible_and_hold_the_estimate() {
    let mut random = SplitMix64(1);
    let blocks: Vec<Vec<f64>> = (0..20).map(|_| (0..50).map(|_| uniform(&mut random)).collect()).collect();
    let sample = blocked(&blocks.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let intervals = sample.intervals([Quantile::P50, Quantile::P99], &boots(10, 2));
    assert_eq!(intervals, sample.clone().intervals([Quantile::P50, Quantile::P99], &boots(10, 2)));
    let [[low, high], [low_tail, high_tail]] = intervals.expect("twenty blocks");
    let summary = sample.summary();
    assert!(low < summary.p50 && summary.p50 < high, "{low} {} {high}", summary.p50);
    assert!(low_tail < summary.p99 && summary.p99 < high_tail, "{low_tail} {} {high_tail}", summary.p99);
}

/// The variances of a made-up host's boots, of their blocks, and of the blocks' values.
#[derive(Clone, Copy)]
struct Variances {
    boot: f64,
    block: f64,
    value: f64,
}

/// A run on it: 10 boots of two blocks of 11 values, around 0.
fn run(random: &mut SplitMix64, variances: Variances) -> Sample {
    // The variance of a uniform value in −1 to 1 is 1/3.
    let mut around = |variance: f64| (3.0 * variance).sqrt() * uniform(random);
    let mut observations = Vec::new();
    for boot in 0..10 {
        let of_boot = around(variances.boot);
        for block in 2 * boot..2 * boot + 2 {
            let of_block = of_boot + around(variances.block);
            observations.extend((0..11).map(|_| Observation::one(of_block + around(variances.value), block)));
        }
    }
    Sample::new(observations).expect("values")
}

/// How often an interval holds the median of all runs, and how often that of the next run.
fn coverage(variances: Variances, boots: &Boots) -> [f64; 2] {
    const RUNS: usize = 100;
    let mut random = SplitMix64(2);
    let runs: Vec<(f64, [f64; 2])> = (0..RUNS)
        .map(|_| {
            let sample = run(&mut random, variances);
            let [interval] = sample.intervals([Quantile::P50], boots).expect("ten boots");
            (sample.quantile(Quantile::P50), interval)
        })
        .collect();
    let holds = |[low, high]: [f64; 2], value: f64| low <= value && value <= high;
    let of_truth = runs.iter().filter(|(_, interval)| holds(*interval, 0.0)).count();
    let of_next = runs.windows(2).filter(|pair| holds(pair[0].1, pair[1].0)).count();
    [of_truth, of_next].map(|held| held as f64 / RUNS as f64)
}

#[test]
fn intervals_hold_what_they_say_whatever_varies() {
    for (variances, next) in [
        (Variances { boot: 1.0, block: 0.0, value: 0.1 }, 0.76..0.92),
        (Variances { boot: 1.0, block: 1.0, value: 0.1 }, 0.76..0.96),
        (Variances { boot: 0.0, block: 1.0, value: 0.1 }, 0.82..0.99),
    ] {
        let [of_truth, of_next] = coverage(variances, &boots(10, 2));
        let Variances { boot, block, value } = variances;
        assert!(of_truth >= 0.93, "boot {boot}, block {block}, value {value}: {of_truth}");
        assert!(next.contains(&of_next), "boot {boot}, block {block}, value {value}: {of_next}");
    }
}

#[test]
fn blocks_that_are_taken_for_boots_promise_what_the_next_run_does_not_keep() {
    let variances = Variances { boot: 1.0, block: 0.1, value: 0.1 };
    let [_, of_boots] = coverage(variances, &boots(10, 2));
    let [_, of_blocks] = coverage(variances, &boots(20, 1));
    assert!(of_blocks <= of_boots - 0.05, "{of_blocks} of blocks, {of_boots} of boots");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn interval_is_that_of_the_definition(
        blocks in prop::collection::vec(prop::collection::vec(-20..20, 1..12), 2 * MIN_BOOTS..18)
    ) {
        let blocks: Vec<Vec<f64>> =
            blocks.into_iter().map(|block| block.into_iter().map(f64::from).collect()).collect();
        let blocks: Vec<&[f64]> = blocks.iter().take(blocks.len() / 2 * 2).map(Vec::as_slice).collect();
        let boots = boots(u32::try_from(blocks.len()).unwrap() / 2, 2);
        let [median, tail] =
            blocked(&blocks).intervals([Quantile::P50, Quantile::P99], &boots).expect("enough boots");
        prop_assert_eq!(median, spelt_out(&blocks, Quantile::P50));
        prop_assert_eq!(tail, spelt_out(&blocks, Quantile::P99));
    }
}

/// Blocks of 10 values around `centre`, which drifts by 100 from block to block.
fn drifting(centre: f64) -> Sample {
    let values = (0..80_u32).map(|index| {
        let block = index / 10;
        Observation::one(centre * (1.0 + f64::from(block)) + f64::from(index % 10), block)
    });
    Sample::new(values.collect()).unwrap()
}

#[test]
fn a_ratio_of_medians_is_not_fooled_by_a_drift_that_both_share() {
    let ratio = ratio_of_medians(&drifting(1100.0), &drifting(1000.0), &boots(8, 1)).unwrap();
    let [low, high] = ratio.interval.unwrap();
    assert!((1.09..1.11).contains(&ratio.value), "{ratio:?}");
    assert!(1.09 < low && low <= ratio.value && ratio.value <= high && high < 1.11, "{ratio:?}");
}

#[test]
fn a_ratio_of_few_blocks_or_of_no_time_promises_nothing() {
    let few = Sample::new(vec![Observation::one(3.0, 0)]).unwrap();
    let half = Sample::new(vec![Observation::one(1.5, 0)]).unwrap();
    assert_eq!(ratio_of_medians(&few, &half, &boots(1, 1)), Some(Ratio { value: 2.0, interval: None }));
    let zero = Sample::new(vec![Observation::one(0.0, 0)]).unwrap();
    assert_eq!(ratio_of_medians(&few, &zero, &boots(1, 1)), None);
}
