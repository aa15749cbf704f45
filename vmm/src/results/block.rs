//! What each block of a cell brought, in the measurement document: for statistics other than kipi's own.

use super::disturbance::Disturbance;
use super::halts::BlockWakeups;
use super::host_cpu::BlockHostCpu;
use super::measurement::Spread;
use super::metric::MetricName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One block of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Its turn, counted from 0: blocks of the same number, of all cells, were measured one after the other. One that was
    /// measured again, after all others, has the number of the one that it replaces, and another boot. The raw samples
    /// (`--csv`) have it as `block`.
    pub number: u32,
    /// The boot of its machine that it was measured on, counted from 0; `boot` in the raw samples.
    pub boot: u32,
    /// Rounds of it that count, as the cell's are counted.
    pub rounds: u64,
    /// By metric name, in the unit that the cell's metric of that name has; a metric without a value is left out.
    pub metrics: BTreeMap<MetricName, Spread>,
    /// How KVM woke the targets, in state `halt`; `null`: nobody has counted.
    #[serde(default)]
    pub halt: Option<BlockWakeups>,
    /// What its rounds took of the host's CPUs; left out where nobody has read the clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_cpu: Option<BlockHostCpu>,
    /// What disturbed it; empty: nothing did.
    #[serde(default)]
    pub disturbances: Vec<Disturbance>,
}
