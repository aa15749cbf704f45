//! Whether a tail grew beyond what it may (`--gate`).

use super::side::{Hosts, name_on};
use super::{Open, Verdict};
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tail, compared by counts of rounds beyond a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The cell.
    #[serde(flatten)]
    pub id: CellId,
    /// The hosts whose runs are compared; left out where all are of one kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// The quantile: 0.99 is p99.
    pub quantile: f64,
    /// By how much it may grow, a fraction.
    pub margin: f64,
    /// The bound: the base's quantile, grown by that, ns; `null`: there are no counts to tell it.
    pub bound_ns: Option<f64>,
    /// The fraction of rounds that may lie beyond it.
    pub allowed: f64,
    /// Rounds of the new side.
    pub rounds: u64,
    /// Those of them that lie beyond it.
    pub beyond: u64,
    /// The interval of their fraction, wider by how much the base's quantile is uncertain; `null`: too few runs.
    pub interval: Option<[f64; 2]>,
    /// `slower`: more than may lie beyond it; `same`: no more do; `undecided`.
    pub verdict: Verdict,
    /// Where it is undecided: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

impl Gate {
    /// The cell, and where, if there are several kinds of hosts.
    pub fn name(&self) -> String {
        name_on(self.hosts.as_ref(), &self.id)
    }
}
