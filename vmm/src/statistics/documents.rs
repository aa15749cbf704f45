//! Samples in cycles as the documents have them, in ns.

use super::bootstrap::Boots;
use super::halts;
use super::host_cpu;
use super::metrics::nanoseconds;
use super::order::{Observation, Quantile, Sample, Summary};
use crate::events::samples;
use crate::results::block::Block;
use crate::results::measurement::Spread;
use crate::results::metric::{Intervals, Metric, MetricName, Unit};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

impl MetricName {
    /// A value of [`collect`](super::metrics::collect) in the metric's unit. Of results and not of every value: the factor is
    /// positive, so that order and rank are the same.
    fn convert(self, value: f64, tsc_khz: NonZeroU64) -> f64 {
        match self.unit() {
            Unit::Ratio => value,
            Unit::Ns | Unit::NsPerVcpu => nanoseconds(value, tsc_khz),
        }
    }

    /// The metric as the measurement document has it, its `sample` as [`collect`](super::metrics::collect) gives it, and
    /// how far the clocks may have moved each value.
    pub fn to_document(self, sample: &Sample, boots: &Boots, tsc_khz: NonZeroU64, clock_error: Option<f64>) -> Metric {
        metric(self.unit(), sample, boots, clock_error, |value| self.convert(value, tsc_khz))
    }
}

/// What a document has of a sample whose values `convert` brings into this unit.
pub(super) fn metric(
    unit: Unit,
    sample: &Sample,
    boots: &Boots,
    clock_error: Option<f64>,
    convert: impl Fn(f64) -> f64,
) -> Metric {
    let Summary { n, negative, min, p50, p90, p99, p999, max } = sample.summary();
    let intervals = sample.intervals([Quantile::P50, Quantile::P99], boots);
    let [p50_interval, p99_interval] =
        intervals.map_or([None; 2], |intervals| intervals.map(|interval| Some(interval.map(&convert))));
    Metric {
        unit,
        n: n as u64,
        negative: negative as u64,
        min: convert(min),
        p50: convert(p50),
        p90: convert(p90),
        p99: convert(p99),
        p999: convert(p999),
        max: convert(max),
        ci95: Intervals { p50: p50_interval, p99: p99_interval },
        between_runs: None,
        clock_error,
    }
}

/// One block of a cell whose calls have so many targets, with these samples, as the measurement document has it, but in cycles.
pub fn block_in_cycles(block: &samples::Block, metrics: &BTreeMap<MetricName, Sample>, targets: usize) -> Block {
    Block {
        number: block.number,
        boot: block.boot,
        rounds: block.whole_rounds(),
        metrics: metrics.iter().map(|(&name, sample)| (name, to_spread(sample, |cycles| cycles))).collect(),
        halt: block.wakeups.map(halts::block),
        host_cpu: block.cpu.map(|cpu| host_cpu::of_block(cpu, targets)),
        disturbances: block.disturbances.clone(),
    }
}

/// The same in each metric's unit.
pub fn block(in_cycles: &Block, tsc_khz: NonZeroU64) -> Block {
    let mut block = in_cycles.clone();
    for (name, Spread { n: _, min, p50, p99, max }) in &mut block.metrics {
        for value in [min, p50, p99, max] {
            *value = name.convert(*value, tsc_khz);
        }
    }
    block
}

fn to_spread(sample: &Sample, convert: impl Fn(f64) -> f64) -> Spread {
    let Summary { n, min, p50, p99, max, .. } = sample.summary();
    let [min, p50, p99, max] = [min, p50, p99, max].map(convert);
    Spread { n: n as u64, min, p50, p99, max }
}

/// The spread, in ns, of a cost that was measured in cycles; `None` if it was not measured once.
pub fn spread(cycles: &[i64], tsc_khz: NonZeroU64) -> Option<Spread> {
    let observations = cycles.iter().map(|&cycles| Observation::one(cycles as f64, 0));
    Some(to_spread(&Sample::new(observations.collect())?, |cycles| nanoseconds(cycles, tsc_khz)))
}
