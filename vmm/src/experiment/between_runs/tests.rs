use super::*;
use crate::results::fixture;
use crate::results::integrity::Integrity;
use crate::results::metric::{Intervals, MetricName};
use crate::results::quiet::{Quiet, Verdict};
use std::collections::BTreeSet;

fn with_median(p50: f64) -> Measurement {
    let mut measurement = fixture::measurement();
    for cell in &mut measurement.cells {
        let metric = cell.metrics.get_mut(&MetricName::RoundTrip).expect("a round trip");
        *metric = fixture::metric(p50);
        metric.ci95.p50 = Some([0.98 * p50, p50 / 0.98]);
    }
    measurement
}

fn widened(medians: &[f64]) -> Metric {
    let mut runs: Vec<Measurement> = medians.iter().copied().map(with_median).collect();
    let mut measurement = runs.remove(0);
    widen(&mut measurement, &runs);
    assert_eq!(measurement.intervals, IntervalScope::BetweenRuns);
    measurement.cells[0].metrics[&MetricName::RoundTrip].clone()
}

#[test]
fn what_the_runs_own_intervals_explain_adds_nothing() {
    let metric = widened(&[100.0, 100.5, 99.5]);
    let between = metric.between_runs.unwrap();
    assert_eq!((between.runs, between.p50, between.p99), (3, Some(0.0), None));
    let [low, high] = metric.ci95.p50.unwrap();
    assert!((low - 98.0).abs() < 1e-9 && (high - 100.0 / 0.98).abs() < 1e-9, "{low} {high}");
}

#[test]
fn what_they_do_not_explain_widens_them_by_a_factor() {
    // The logarithms of the five vary by 0.1; their own intervals explain (0.0202 / 1.96)². Student's t is 2.776.
    let medians = [0.0, 0.1, -0.1, 0.1, -0.1].map(|logarithm: f64| 100.0 * logarithm.exp());
    let metric = widened(&medians);
    let between = metric.between_runs.clone().unwrap();
    let own = -0.98_f64.ln();
    let expected = (0.01 - (own / 1.96).powi(2)).sqrt();
    assert_eq!(between.scale, Scale::Logarithm);
    assert!((between.p50.unwrap() - 100.0 * expected).abs() < 1e-6, "{between:?}");
    let [low, high] = metric.ci95.p50.unwrap();
    let half = own.hypot(2.776_445 * expected);
    assert!(
        (low / 100.0 * half.exp() - 1.0).abs() < 1e-5 && (high / 100.0 / half.exp() - 1.0).abs() < 1e-5,
        "{low} {high}"
    );
    assert_eq!(metric.ci95.p99, None, "a run without an interval has none afterwards");
    let found: Vec<f64> = between.of_runs.iter().map(|run| run.p50).collect();
    assert_eq!((found.as_slice(), between.of_runs[0].ci95.p50), (&medians[..], Some([98.0, 100.0 / 0.98])));
}

#[test]
fn no_repetition_leaves_the_intervals_as_they_are() {
    let mut measurement = fixture::measurement();
    widen(&mut measurement, &[]);
    add_faults(&mut measurement, &[]);
    assert_eq!(measurement, fixture::measurement());
}

#[test]
fn where_no_metric_has_an_interval_in_all_runs_nothing_is_widened() {
    let mut measurement = fixture::measurement();
    let mut without = fixture::measurement();
    let metrics = without.cells.iter_mut().flat_map(|cell| cell.metrics.values_mut());
    metrics.for_each(|metric| metric.ci95 = Intervals { p50: None, p99: None });
    widen(&mut measurement, &[fixture::measurement(), without]);
    assert_eq!(measurement, fixture::measurement());
}

/// A metric of this unit whose median was so in each run, with an interval of that width.
fn runs_of(unit: Unit, medians: &[f64], width: f64) -> Vec<Metric> {
    let run = |&p50: &f64| {
        let ci95 = Intervals { p50: Some([p50 - width / 2.0, p50 + width / 2.0]), p99: None };
        Metric { unit, p50, p99: p50, ci95, ..fixture::metric(p50) }
    };
    medians.iter().map(run).collect()
}

fn ends(name: MetricName, medians: &[f64], width: f64) -> (Scale, [f64; 2]) {
    let runs = runs_of(name.unit(), medians, width);
    let mut metric = runs[0].clone();
    assert!(widen_metric(name, &mut metric, &runs[1..].iter().collect::<Vec<_>>()));
    (metric.between_runs.unwrap().scale, metric.ci95.p50.unwrap())
}

#[test]
fn widened_intervals_stay_among_the_values_that_there_can_be() {
    // Each would reach beyond, on a scale of its own unit: three runs have a t of 4.3.
    let (scale, [low, high]) = ends(MetricName::RoundTrip, &[10.0, 30.0, 3.0], 0.1);
    assert!(scale == Scale::Logarithm && 0.0 < low && low < 3.0 && 30.0 < high, "{low} {high}");
    let (scale, [low, high]) = ends(MetricName::Overlap, &[0.9, 0.99, 0.5], 0.001);
    assert!(scale == Scale::Logit && 0.0 < low && low < 0.5 && 0.99 < high && high < 1.0, "{low} {high}");
    let (scale, [low, high]) = ends(MetricName::Overlap, &[1.0, 0.9, 0.4], 0.0);
    assert_eq!((scale, low, high), (Scale::Linear, 0.0, 1.0), "a one has no logit");
    let (scale, [low, _]) = ends(MetricName::StartSkew, &[0.0, 20.0, 10.0], 0.0);
    assert_eq!((scale, low), (Scale::Linear, 0.0), "a zero has no logarithm");
    let (scale, [low, high]) = ends(MetricName::SkewGap, &[10.0, 30.0, 3.0], 0.1);
    assert!(scale == Scale::Linear && low < -30.0 && high > 50.0, "what is signed may be below zero: {low} {high}");
}

#[test]
fn what_went_wrong_in_a_repetition_counts() {
    let mut measurement = fixture::measurement();
    let quiet = |blocks, disturbed| Quiet { blocks, disturbed, ..Quiet::of_cells(&[], BTreeSet::new()) };
    measurement.quiet = Some(quiet(50, 0));
    let mut repetition = measurement.clone();
    repetition.cells[1].integrity = Integrity { lost: 1, ..Integrity::default() };
    repetition.quiet = Some(Quiet { never_quiet: vec![repetition.cells[0].id], ..quiet(60, 20) });
    repetition.warnings.push("made up".to_owned());
    let expected = [fixture::measurement().warnings, vec!["run 2 of 3: made up".to_owned()]].concat();
    add_faults(&mut measurement, &[repetition.clone(), repetition]);
    assert_eq!(measurement.cells.iter().map(|cell| cell.integrity.lost).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(measurement.warnings, expected);
    let quiet = measurement.quiet.unwrap();
    assert_eq!((quiet.verdict, quiet.blocks, quiet.disturbed), (Verdict::NeverQuiet, 170, 40));
    assert_eq!(quiet.never_quiet, [measurement.cells[0].id], "once");
}
