//! The metrics of a cell: their names, their units, and their form in the measurement document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// The metrics, in the order in which reports show them. Stamps are named as in `resources/guide/reading-the-numbers.md`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    VariantArray,
    IntoStaticStr,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum MetricName {
    /// t1 − t0.
    SendCost,
    /// a − t0 of each target, signed.
    Delivery,
    /// max a − min a over the targets, of which there must be two.
    ArrivalSkew,
    /// max w − min w over the participants, of whom there must be two.
    StartSkew,
    /// max w − max a: from the last arrival to the last start, which is what starting together costs.
    StartBarrier,
    /// max(0, min x − max w) / mean(x − w) over the participants; a round whose mean is zero has none.
    Overlap,
    /// t2 − t0.
    RoundTrip,
    /// As `StartSkew`, by the VMM's stamps, of rounds in which every participant has one.
    VmmStartSkew,
    /// Theil–Sen slope of a over the vCPU's index, of rounds with three targets or more.
    SkewSlope,
    /// The VMM's stamp − w of each participant that has one, signed: what the VMM's vantage adds.
    ObservedExit,
    /// `VmmStartSkew` − `StartSkew` of the same round, signed: how far the two vantages disagree.
    SkewGap,
    /// From the send's exit to the last entry before the arrival, of each target of which the recorded events show both.
    KernelDelivery,
    /// `Delivery` − `KernelDelivery` of the same target, signed: the way out of the guest, and the way into it.
    DeliveryGap,
    /// t0 − the stamp before the HLT that the interrupt ended, of each target that was halted, signed.
    Halted,
    /// From t0 until the thread of a target that was preempted or out could enter the guest again, of each such target.
    Away,
    /// a − that time, signed: what is left of `Delivery`, the way back into the guest.
    Reentry,
}

impl MetricName {
    /// All metrics, in order.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Those that need recorded events.
    pub const OF_EVENTS: [Self; 2] = [Self::KernelDelivery, Self::DeliveryGap];

    /// The name in documents and reports.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether a value below zero is as good as one above.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::SkewGap | Self::SkewSlope | Self::DeliveryGap)
    }

    /// The unit in documents and reports.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Overlap => Unit::Ratio,
            Self::SkewSlope => Unit::NsPerVcpu,
            Self::SendCost
            | Self::Delivery
            | Self::ArrivalSkew
            | Self::StartSkew
            | Self::StartBarrier
            | Self::RoundTrip
            | Self::VmmStartSkew
            | Self::ObservedExit
            | Self::SkewGap
            | Self::KernelDelivery
            | Self::DeliveryGap
            | Self::Halted
            | Self::Away
            | Self::Reentry => Unit::Ns,
        }
    }
}

impl MetricName {
    /// Of how many differences of two clocks' stamps a value is made: each may be off by ε, the bound of the clocks'
    /// error. None: one clock took all of its stamps.
    pub const fn clock_differences(self) -> u8 {
        match self {
            Self::SendCost | Self::RoundTrip => 0,
            Self::Delivery
            | Self::ArrivalSkew
            | Self::StartSkew
            | Self::StartBarrier
            | Self::Overlap
            | Self::VmmStartSkew
            | Self::SkewSlope
            | Self::ObservedExit
            | Self::KernelDelivery
            | Self::Halted
            | Self::Away
            | Self::Reentry => 1,
            Self::SkewGap | Self::DeliveryGap => 2,
        }
    }

    /// How far the clocks may have moved each value, in its unit: `epsilon_ns` is ε, `worker_ns` the shortest mean of a
    /// round's workers, which an overlap is a fraction of. `None`: unknown.
    pub fn clock_error(self, epsilon_ns: Option<f64>, worker_ns: Option<f64>) -> Option<f64> {
        if self.clock_differences() == 0 {
            return Some(0.0);
        }
        let moved = epsilon_ns? * f64::from(self.clock_differences());
        match self.unit() {
            // Theil–Sen is a median of slopes, each over one step or more.
            Unit::Ns | Unit::NsPerVcpu => Some(moved),
            Unit::Ratio => Some(moved / worker_ns?),
        }
    }
}

/// What a metric's values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Ns,
    /// A ratio, without a unit.
    #[serde(rename = "ratio")]
    Ratio,
    /// Nanoseconds for each step of the vCPU's index.
    #[serde(rename = "ns/vcpu")]
    NsPerVcpu,
}

/// One metric of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// The unit of every value but the counts.
    pub unit: Unit,
    /// Number of values: calls, or calls times targets for `delivery`. A round has one call, or one ping of each vCPU in a mesh.
    pub n: u64,
    /// Values below zero; they are in the quantiles like any other.
    pub negative: u64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
    /// 95 % intervals, of the boots and blocks of this run.
    pub ci95: Intervals,
    /// The drift from run to run, where it was measured; the intervals hold it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_runs: Option<BetweenRuns>,
    /// How far the clocks' error may have moved each value, in its unit: ε for a difference of two clocks' stamps, zero
    /// where one clock took all stamps. `null`: unknown.
    pub clock_error: Option<f64>,
}

/// 95 % intervals of a metric: a bootstrap of boots and of the blocks within them, stretched as the host drifts. `null`: the
/// values are from fewer than five boots.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intervals {
    /// Of the median: low, high.
    pub p50: Option<[f64; 2]>,
    /// Of the 99th percentile: low, high.
    pub p99: Option<[f64; 2]>,
}

/// By how much quantiles vary from run to run beyond what the runs' own intervals explain: standard deviations, in the
/// metric's unit. `null`: some run had no interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BetweenRuns {
    /// How many runs, this one included. Student's t of one less widens the intervals: 4.3 for three runs, 2.2 for eleven.
    pub runs: u64,
    /// Of the median.
    pub p50: Option<f64>,
    /// Of the 99th percentile.
    pub p99: Option<f64>,
    /// On which scale deviations are taken and intervals widened.
    #[serde(default)]
    pub scale: Scale,
    /// What each run found, this one first, before any interval was widened.
    #[serde(default)]
    pub of_runs: Vec<OfRun>,
}

/// A scale on which an interval is widened, so that it stays among the values that a metric can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// The metric's own; an end stops at the least value, and a ratio's at 1: for what may be negative, and for zeros and ones.
    #[default]
    Linear,
    /// Logarithms: for positive times.
    Logarithm,
    /// Logarithms of p / (1 − p): for ratios between 0 and 1.
    Logit,
}

/// A metric's quantiles in one of several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfRun {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The intervals of the run itself.
    pub ci95: Intervals,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_one_name_in_documents_and_reports() {
        for metric in MetricName::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }

    #[test]
    fn what_crosses_clocks_may_be_off_by_their_error() {
        let error = |metric: MetricName| metric.clock_error(Some(60.0), Some(240.0));
        assert_eq!(error(MetricName::RoundTrip), Some(0.0));
        assert_eq!(error(MetricName::Delivery), Some(60.0));
        assert_eq!(error(MetricName::SkewGap), Some(120.0), "two skews");
        assert_eq!(error(MetricName::Overlap), Some(0.25), "of the workers' time");
        assert_eq!(MetricName::Overlap.clock_error(Some(60.0), None), None, "no worker took any time");
        assert_eq!(MetricName::StartSkew.clock_error(None, None), None);
        assert_eq!(MetricName::RoundTrip.clock_error(None, None), Some(0.0));
    }
}
