//! The drift from run to run, which the boots of one run do not show, measured by repeating the run.

use crate::results::measurement::{Cell, IntervalScope, Measurement};
use crate::results::metric::{BetweenRuns, Metric};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Half of a 95 % interval of a normal distribution, in standard deviations.
const HALF: f64 = 1.96;

/// Widens the intervals of a measurement by what the medians of its repetitions vary more than their own intervals explain, and
/// notes how much that is. A metric that some run has no interval of keeps its own.
pub(super) fn widen(measurement: &mut Measurement, repetitions: &[Measurement]) {
    if repetitions.is_empty() {
        return;
    }
    for cell in &mut measurement.cells {
        let repeated: Vec<&Cell> = repetitions
            .iter()
            .filter_map(|repetition| repetition.cells.iter().find(|other| other.id == cell.id))
            .collect();
        for (name, metric) in &mut cell.metrics {
            let runs: Option<Vec<&Metric>> = repeated.iter().map(|cell| cell.metrics.get(name)).collect();
            if let Some(runs) = runs.filter(|runs| runs.len() == repetitions.len()) {
                widen_metric(metric, &runs);
            }
        }
    }
    measurement.intervals = IntervalScope::BetweenRuns;
}

fn widen_metric(metric: &mut Metric, repetitions: &[&Metric]) {
    let of = |value: fn(&Metric) -> f64, interval: fn(&Metric) -> Option<[f64; 2]>| {
        let all = || repetitions.iter().copied().chain([&*metric]);
        let values: Vec<f64> = all().map(value).collect();
        let intervals: Option<Vec<[f64; 2]>> = all().map(interval).collect();
        Some((value(metric), interval(metric)?, unexplained(&values, &intervals?)))
    };
    let p50 = of(|metric| metric.p50, |metric| metric.ci95.p50);
    let p99 = of(|metric| metric.p99, |metric| metric.ci95.p99);
    let runs = repetitions.len() + 1;
    let t = student(runs);
    let widened = |found: Option<(f64, [f64; 2], f64)>| {
        found.map(|(value, [low, high], drift)| {
            [value - (value - low).hypot(t * drift), value + (high - value).hypot(t * drift)]
        })
    };
    metric.ci95.p50 = widened(p50).or(metric.ci95.p50);
    metric.ci95.p99 = widened(p99).or(metric.ci95.p99);
    metric.between_runs = Some(BetweenRuns {
        runs: runs as u64,
        p50: p50.map(|(_, _, drift)| drift),
        p99: p99.map(|(_, _, drift)| drift),
    });
}

/// The standard deviation of runs' values beyond what their own intervals explain.
fn unexplained(values: &[f64], intervals: &[[f64; 2]]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let between = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let within = intervals.iter().map(|[low, high]| ((high - low) / 2.0 / HALF).powi(2)).sum::<f64>() / n;
    (between - within).max(0.0).sqrt()
}

/// Student's t of a 95 % interval from so many runs, two or more.
fn student(runs: usize) -> f64 {
    StudentsT::new(0.0, 1.0, runs as f64 - 1.0).map_or(HALF, |student| student.inverse_cdf(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::metric::MetricName;

    fn with_median(p50: f64) -> Measurement {
        let mut measurement = fixture::measurement();
        for cell in &mut measurement.cells {
            let metric = cell.metrics.get_mut(&MetricName::RoundTrip).expect("a round trip");
            *metric = fixture::metric(p50);
            metric.ci95.p50 = Some([p50 - 1.96, p50 + 1.96]);
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
        assert_eq!(metric.between_runs, Some(BetweenRuns { runs: 3, p50: Some(0.0), p99: None }));
        let [low, high] = metric.ci95.p50.unwrap();
        assert!((low - 98.04).abs() < 1e-9 && (high - 101.96).abs() < 1e-9, "{low} {high}");
    }

    #[test]
    fn what_they_do_not_explain_widens_them() {
        // The variance of the five is 100, of which 1 is explained; Student's t is 2.776.
        let metric = widened(&[100.0, 110.0, 90.0, 110.0, 90.0]);
        let drift = metric.between_runs.unwrap().p50.unwrap();
        assert!((drift - 99.0_f64.sqrt()).abs() < 1e-9, "{drift}");
        let [low, high] = metric.ci95.p50.unwrap();
        let half = (1.96_f64 * 1.96 + (2.776_445 * drift).powi(2)).sqrt();
        assert!((low - (100.0 - half)).abs() < 1e-3 && (high - (100.0 + half)).abs() < 1e-3, "{low} {high}");
        assert_eq!(metric.ci95.p99, None, "a run without an interval has none afterwards");
    }

    #[test]
    fn no_repetition_leaves_the_intervals_as_they_are() {
        let mut measurement = fixture::measurement();
        widen(&mut measurement, &[]);
        assert_eq!(measurement, fixture::measurement());
    }
}
