//! What repetitions of a run tell: the drift from run to run, which the boots of one run do not show, and what went wrong or was
//! disturbed in them.

use crate::results::measurement::{Cell, IntervalScope, Measurement};
use crate::results::metric::{BetweenRuns, Metric, MetricName, OfRun, Scale, Unit};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Half of a 95 % interval of a normal distribution, in standard deviations.
const HALF: f64 = 1.96;

/// Adds the calls of the repetitions that went wrong, what disturbed their blocks, and the warnings that the run does not have.
pub(super) fn add_faults(measurement: &mut Measurement, repetitions: &[Measurement]) {
    for (number, repetition) in (2..).zip(repetitions) {
        for cell in &mut measurement.cells {
            for other in repetition.cells.iter().filter(|other| other.id == cell.id) {
                cell.integrity.add(other.integrity);
            }
        }
        if let (Some(quiet), Some(other)) = (&mut measurement.quiet, &repetition.quiet) {
            quiet.add(other);
        }
        for warning in &repetition.warnings {
            // Later repetitions say the same.
            let is_same = |known: &String| {
                let of_repetition = known.strip_prefix("run ").and_then(|rest| rest.split_once(": "));
                of_repetition.map_or(known.as_str(), |(_, text)| text) == warning
            };
            let is_known = measurement.warnings.iter().any(is_same);
            if !is_known {
                measurement.warnings.push(format!("run {number} of {}: {warning}", repetitions.len() + 1));
            }
        }
    }
}

/// Widens the intervals of a measurement by what the quantiles of its repetitions vary more than their own intervals explain, and
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
        for (&name, metric) in &mut cell.metrics {
            let runs: Option<Vec<&Metric>> = repeated.iter().map(|cell| cell.metrics.get(&name)).collect();
            if let Some(runs) = runs.filter(|runs| runs.len() == repetitions.len())
                && widen_metric(name, metric, &runs)
            {
                measurement.intervals = IntervalScope::BetweenRuns;
            }
        }
    }
}

/// Whether every run had an interval of one of the metric's quantiles, so that there was something to widen.
fn widen_metric(name: MetricName, metric: &mut Metric, repetitions: &[&Metric]) -> bool {
    let own = &*metric;
    let runs: Vec<&Metric> = [own].into_iter().chain(repetitions.iter().copied()).collect();
    let scale = scale_of(name, &runs);
    let [least, most] = domain(name, &runs);
    let widened = |value: fn(&Metric) -> f64, interval: fn(&Metric) -> Option<[f64; 2]>| {
        let intervals: Vec<[f64; 2]> = runs.iter().map(|run| interval(run)).collect::<Option<_>>()?;
        let values: Vec<f64> = runs.iter().map(|run| forth(scale, value(run))).collect();
        let intervals: Vec<[f64; 2]> = intervals.into_iter().map(|ends| ends.map(|end| forth(scale, end))).collect();
        let drift = unexplained(&values, &intervals);
        let (value_there, [low, high], more) = (values[0], intervals[0], student(runs.len()) * drift);
        let ends = [value_there - (value_there - low).hypot(more), value_there + (high - value_there).hypot(more)];
        Some((ends.map(|end| back(scale, end).clamp(least, most)), drift * slope(scale, value(own))))
    };
    let p50 = widened(|run| run.p50, |run| run.ci95.p50);
    let p99 = widened(|run| run.p99, |run| run.ci95.p99);
    if p50.is_none() && p99.is_none() {
        return false;
    }
    let between = BetweenRuns {
        runs: runs.len() as u64,
        p50: p50.map(|(_, drift)| drift),
        p99: p99.map(|(_, drift)| drift),
        scale,
        of_runs: runs.iter().map(|run| OfRun { p50: run.p50, p99: run.p99, ci95: run.ci95 }).collect(),
    };
    metric.ci95.p50 = p50.map(|(ends, _)| ends).or(metric.ci95.p50);
    metric.ci95.p99 = p99.map(|(ends, _)| ends).or(metric.ci95.p99);
    metric.between_runs = Some(between);
    true
}

/// The scale on which a metric's quantiles and intervals all have a place.
fn scale_of(name: MetricName, runs: &[&Metric]) -> Scale {
    let all = |holds: fn(f64) -> bool| {
        runs.iter().all(|run| {
            let ends = [run.ci95.p50, run.ci95.p99].into_iter().flatten().flatten();
            [run.p50, run.p99].into_iter().chain(ends).all(holds)
        })
    };
    match name.unit() {
        Unit::Ratio if all(|value| 0.0 < value && value < 1.0) => Scale::Logit,
        Unit::Ns if !name.is_signed() && all(|value| value > 0.0) => Scale::Logarithm,
        Unit::Ratio | Unit::Ns | Unit::NsPerVcpu => Scale::Linear,
    }
}

/// The least and the largest value that the metric can have. A time below zero, which only clocks that are off give, shows that
/// there are such.
fn domain(name: MetricName, runs: &[&Metric]) -> [f64; 2] {
    let is_signed = name.is_signed() || runs.iter().any(|run| run.negative > 0);
    match name.unit() {
        Unit::Ratio => [0.0, 1.0],
        Unit::Ns if !is_signed => [0.0, f64::INFINITY],
        Unit::Ns | Unit::NsPerVcpu => [f64::NEG_INFINITY, f64::INFINITY],
    }
}

fn forth(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear => value,
        Scale::Logarithm => value.ln(),
        Scale::Logit => (value / (1.0 - value)).ln(),
    }
}

fn back(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear => value,
        Scale::Logarithm => value.exp(),
        Scale::Logit => 1.0 / (1.0 + (-value).exp()),
    }
}

/// What a small step on the scale is in the metric's unit, at a value.
fn slope(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear => 1.0,
        Scale::Logarithm => value,
        Scale::Logit => value * (1.0 - value),
    }
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
mod tests;
