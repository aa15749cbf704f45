//! What it costs that events are recorded.

use super::disturbance::Disturbance;
use super::source::Source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one source of events costs: the same rounds with it and with none, block by block in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObserverEffect {
    /// `stats`, `vmm` or `kernel`.
    pub source: Source,
    /// Why it could not be used, if so; then there are no numbers.
    pub unavailable: Option<String>,
    /// Median round trip with it, ns.
    pub on_ns: Option<f64>,
    /// Median round trip with no source, ns.
    pub off_ns: Option<f64>,
    /// The one divided by the other.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio, a bootstrap of boots and of the pairs of blocks within them, each pair measured one block
    /// after the other: low, high; `null`: the pairs are of fewer than five boots.
    pub ci95: Option<[f64; 2]>,
    /// Events that found no room.
    pub lost: u64,
    /// What disturbed each of the blocks that were run with it, those included that another one replaced.
    #[serde(default)]
    pub disturbances: Vec<Vec<Disturbance>>,
    /// Too few of them were undisturbed: what is made of its events (the stages, the kernel's share, how KVM woke targets) and
    /// this comparison are made of disturbed blocks, too.
    #[serde(default)]
    pub never_quiet: bool,
}
