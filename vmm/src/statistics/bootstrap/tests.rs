#![expect(clippy::float_cmp, reason = "every expected value is one of the input, bit for bit")]

use super::*;
use proptest::prelude::*;

fn sample(values: &[f64]) -> Sample {
    blocked(&[values])
}

fn blocked(blocks: &[&[f64]]) -> Sample {
    let observations = (0..).zip(blocks).flat_map(|(block, values)| values.iter().map(move |&value| (value, block)));
    Sample::new(observations.map(|(value, block)| Observation { value, block }).collect()).expect("values")
}

/// The percentile interval as its definition has it: every resample is spelt out and sorted.
fn spelt_out(blocks: &[&[f64]], quantile: Quantile) -> [f64; 2] {
    let mut random = SplitMix64(SEED);
    let mut estimates: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<f64> =
                (0..blocks.len()).flat_map(|_| blocks[random.below(blocks.len())].iter().copied()).collect();
            sample(&drawn).quantile(quantile)
        })
        .collect();
    estimates.sort_unstable_by(f64::total_cmp);
    [estimates[49], estimates[1949]]
}

/// Uniform in −1 to 1.
fn uniform(random: &mut SplitMix64) -> f64 {
    (random.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[test]
fn the_ends_of_an_interval_lie_equally_far_from_the_ends_of_the_resamples() {
    for (end, n, rank) in [(INTERVAL[0], 1, 1), (INTERVAL[0], RESAMPLES, 50), (INTERVAL[1], RESAMPLES, 1950)] {
        assert_eq!(end.rank(n), rank, "{end:?} of {n}");
    }
}

#[test]
fn constant_values_have_an_interval_without_width() {
    let block = [3.5; 10];
    let intervals = blocked(&[&block[..]; 6]).intervals([Quantile::P50, Quantile::P99]);
    assert_eq!(intervals, Some([[3.5, 3.5], [3.5, 3.5]]));
}

#[test]
fn too_few_blocks_have_no_interval() {
    let block = [1.0, 2.0, 3.0];
    assert_eq!(blocked(&[&block[..]; MIN_BLOCKS - 1]).intervals([Quantile::P50]), None);
    assert!(blocked(&[&block[..]; MIN_BLOCKS]).intervals([Quantile::P50]).is_some());
    // A block without a value is none.
    assert_eq!(blocked(&[&block, &block, &[], &block, &block]).intervals([Quantile::P50]), None);
}

#[test]
fn blocks_are_told_apart_by_any_number() {
    let numbered = |step: u32| {
        let observations = (0..60_u32).map(|i| Observation { value: f64::from(i * 7 % 60), block: i / 10 * step });
        Sample::new(observations.collect()).and_then(|sample| sample.intervals([Quantile::P50]))
    };
    assert!(numbered(1).is_some());
    assert_eq!(numbered(1), numbered(700_000_000));
}

#[test]
fn intervals_are_reproducible_and_hold_the_estimate() {
    let mut random = SplitMix64(1);
    let blocks: Vec<Vec<f64>> = (0..20).map(|_| (0..50).map(|_| uniform(&mut random)).collect()).collect();
    let sample = blocked(&blocks.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let intervals = sample.intervals([Quantile::P50, Quantile::P99]);
    assert_eq!(intervals, sample.clone().intervals([Quantile::P50, Quantile::P99]));
    let [[low, high], [low_tail, high_tail]] = intervals.expect("twenty blocks");
    let summary = sample.summary();
    assert!(low < summary.p50 && summary.p50 < high, "{low} {} {high}", summary.p50);
    assert!(low_tail < summary.p99 && summary.p99 < high_tail, "{low_tail} {} {high_tail}", summary.p99);
}

/// How often the interval holds the source's median, 0. Each block is shifted by up to 100, its values differ by up
/// to 10. `independent` takes the values for independent of each other, as if each were a block.
fn coverage(trials: u32, independent: bool) -> f64 {
    let mut random = SplitMix64(2);
    let held = (0..trials).filter(|_| {
        let mut observations = Vec::new();
        for block in 0..20 {
            let shift = 100.0 * uniform(&mut random);
            observations.extend((0..20).map(|i| Observation {
                value: shift + 10.0 * uniform(&mut random),
                block: if independent { 20 * block + i } else { block },
            }));
        }
        let intervals = Sample::new(observations).and_then(|sample| sample.intervals([Quantile::P50]));
        intervals.is_some_and(|[[low, high]]| low <= 0.0 && 0.0 <= high)
    });
    held.count() as f64 / f64::from(trials)
}

#[test]
fn whole_blocks_give_the_coverage_that_single_values_do_not() {
    let (blocks, values) = (coverage(200, false), coverage(50, true));
    assert!(blocks >= 0.88, "blocks: {blocks}");
    assert!(values <= 0.60, "values: {values}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn interval_is_that_of_the_definition(
        blocks in prop::collection::vec(prop::collection::vec(-20..20, 1..12), MIN_BLOCKS..9)
    ) {
        let blocks: Vec<Vec<f64>> =
            blocks.into_iter().map(|block| block.into_iter().map(f64::from).collect()).collect();
        let blocks: Vec<&[f64]> = blocks.iter().map(Vec::as_slice).collect();
        let [median, tail] = blocked(&blocks).intervals([Quantile::P50, Quantile::P99]).expect("enough blocks");
        prop_assert_eq!(median, spelt_out(&blocks, Quantile::P50));
        prop_assert_eq!(tail, spelt_out(&blocks, Quantile::P99));
    }
}

/// Blocks of 10 values around `centre`, which drifts by 100 from block to block.
fn drifting(centre: f64) -> Sample {
    let values = (0..80_u32).map(|index| {
        let block = index / 10;
        Observation { value: centre * (1.0 + f64::from(block)) + f64::from(index % 10), block }
    });
    Sample::new(values.collect()).unwrap()
}

#[test]
fn a_ratio_of_medians_is_not_fooled_by_a_drift_that_both_share() {
    let ratio = ratio_of_medians(&drifting(1100.0), &drifting(1000.0)).unwrap();
    let [low, high] = ratio.interval.unwrap();
    assert!((1.09..1.11).contains(&ratio.value), "{ratio:?}");
    assert!(1.09 < low && low <= ratio.value && ratio.value <= high && high < 1.11, "{ratio:?}");
}

#[test]
fn a_ratio_of_few_blocks_or_of_no_time_promises_nothing() {
    let few = Sample::new(vec![Observation { value: 3.0, block: 0 }]).unwrap();
    let half = Sample::new(vec![Observation { value: 1.5, block: 0 }]).unwrap();
    assert_eq!(ratio_of_medians(&few, &half), Some(Ratio { value: 2.0, interval: None }));
    let zero = Sample::new(vec![Observation { value: 0.0, block: 0 }]).unwrap();
    assert_eq!(ratio_of_medians(&few, &zero), None);
}
