//! How many times as long a call takes as one that is like it but for where it is made: in a virtual machine as on the host's own
//! processors, or under another VMM as under kipi's own.

use super::metric::MetricName;
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The metrics that are divided, in the order of output.
pub const METRICS: &[MetricName] = &[MetricName::RoundTrip, MetricName::Delivery, MetricName::StartSkew];

/// One metric of a cell, divided by that of another cell. Two cells of kipi's own machines: medians of the blocks of both that nothing
/// disturbed and that were measured in the same turn. One under another VMM, whose turns are its own: the cells' medians.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// What is divided.
    pub metric: MetricName,
    /// The cell that it is divided by.
    pub divisor: CellId,
    /// How many turns have a block of each; of a cell under another VMM, how many boots.
    pub pairs: u64,
    /// The cell's median in these blocks, ns.
    pub own_ns: f64,
    /// The divisor's, ns.
    pub divisor_ns: f64,
    /// The first divided by the second; `null`: a median below zero, or a divisor below its clocks' error, which has no ratio.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio (low, high): a bootstrap of boots and of the pairs of blocks within them, or of pairs of boots,
    /// stretched as far as the pairs' ratios drift, and widened by what the clocks' error may have moved the ratio. `null`: the pairs
    /// are of fewer than five boots.
    pub ci95: Option<[f64; 2]>,
    /// Where there is no ratio because the divisor is below its clocks' error: what the ratio is at least, that error being as
    /// large as it can be.
    pub at_least: Option<f64>,
}
