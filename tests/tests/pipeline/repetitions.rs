//! Runs that are repeated to measure the drift between them.

use crate::invented::{alike, assert_valid, config, run};
use kipi::config::{self, Config};
use kipi::experiment::{self, machine};
use kipi::guest::blocks::BlockSpec;
use kipi::guest::session::Error;
use kipi::results::measurement::IntervalScope;
use kipi::results::metric::{MetricName, Scale};
use kipi_tests::test;
use std::cell::Cell;

#[test]
fn a_calibrated_run_is_repeated_and_its_intervals_hold_the_drift_between_runs() {
    // Each run of five boots is slower than the one before.
    let boot = Cell::new(0_u64);
    let drifts = |number, spec: &BlockSpec| {
        boot.set(boot.get() + u64::from(number == 0));
        let mut block = alike(spec);
        block.rounds.iter_mut().for_each(|round| round.t2 += 10 * ((boot.get() - 1) / 5));
        Ok(block)
    };
    let config = Config { boots: Some(5), repetitions: 2, ..config() };
    let outcome = run(&config, &drifts);
    assert_eq!((outcome.boots, outcome.document.intervals), (15, IntervalScope::BetweenRuns));
    for cell in &outcome.document.cells {
        let round_trip = &cell.metrics[&MetricName::RoundTrip];
        assert_eq!((cell.rounds, round_trip.min, round_trip.max), (40, 900.0, 900.0), "only of the first run");
        let between = round_trip.between_runs.as_ref().expect("it was measured");
        assert_eq!((between.runs, between.p50, between.scale), (3, between.p99, Scale::Logarithm));
        assert!((between.p50.unwrap() - 9.9).abs() < 0.05, "10, on a logarithmic scale: {between:?}");
        assert_eq!(between.of_runs.iter().map(|run| run.p50).collect::<Vec<_>>(), [900.0, 910.0, 920.0]);
        assert_eq!(between.of_runs[0].ci95.p50, Some([900.0; 2]), "before it was widened");
        let [low, high] = round_trip.ci95.p50.expect("five boots");
        assert!(low < 860.0 && high > 940.0, "900 ± 4.3 × 10, not {low} to {high}");
    }
    assert_eq!(outcome.csv.lines().count(), 1 + 2 * 2 * 40, "samples are those of the first run");
    assert_valid(&outcome.document);
    let once = run(&Config { repetitions: 0, ..config }, &drifts).document;
    assert_eq!(once.intervals, IntervalScope::WithinRun);
    assert!(once.cells[0].metrics.values().all(|metric| metric.between_runs.is_none()));
}

#[test]
fn a_repetition_that_fails_leaves_the_run_as_it_was() {
    let blocks = Cell::new(0);
    let fails = |_, spec: &BlockSpec| {
        blocks.set(blocks.get() + 1);
        if blocks.get() > 15 { Err(Error::Interrupted) } else { Ok(alike(spec)) }
    };
    let outcome = run(&Config { repetitions: 3, ..config() }, &fails);
    assert!(matches!(outcome.error, Some(experiment::Error::Machine(machine::Error::Virtual(Error::Interrupted)))));
    let document = &outcome.document;
    assert_eq!((document.partial, document.intervals), (true, IntervalScope::WithinRun));
    assert_eq!(document.cells.iter().map(|cell| cell.rounds).collect::<Vec<_>>(), [40, 40]);
    assert_valid(document);
}

#[test]
fn a_call_that_goes_wrong_in_a_repetition_is_known() {
    // The first call and the blocks of the first run come before.
    let blocks = Cell::new(0);
    let config = Config { boots: Some(5), repetitions: 2, ..config() };
    let first = 1 + 2 * config::blocks(config.rounds, config.warmup, 5).len();
    let outcome = run(&config, &|_, spec| {
        blocks.set(blocks.get() + 1);
        let mut block = alike(spec);
        block.integrity.lost = u64::from(blocks.get() == first + 5);
        Ok(block)
    });
    let lost: u64 = outcome.document.cells.iter().map(|cell| cell.integrity.lost).sum();
    assert_eq!((lost, outcome.document.config.repetitions), (1, 2));
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!(quiet.blocks, 3 * (first as u64 - 1), "of all runs");
    assert_valid(&outcome.document);
}
