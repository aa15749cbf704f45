//! What calls take in one set of runs in those of another, such as a virtual machine's in bare metal's: what `kipi compare
//! --as-overhead` writes. Nothing is judged.
//!
//! Times are in nanoseconds; intervals are `[low, high]`, of 95 %.

use super::comparison::Difference;
use super::comparison::side::Side;
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The overhead document's name and version.
pub const OVERHEAD_SCHEMA: &str = "kipi.overhead/1";

/// A set of runs in terms of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Name and version of this document's schema: `kipi.overhead/1`.
    #[schemars(extend("const" = "kipi.overhead/1"))]
    pub schema: String,
    /// Version of the kipi that has divided.
    pub kipi: String,
    /// What is divided by.
    pub base: Side,
    /// What is divided.
    pub new: Side,
    /// In what the machines differ, and what was measured; one that is not allowed makes ratios meaningless.
    pub differences: Vec<Difference>,
    /// Why nothing is divided; empty: something is.
    pub not_comparable: Vec<String>,
    /// The cells that both sides have, of the guest's vantage.
    pub cells: Vec<OverheadRow>,
    /// Cells that only the base has values of.
    pub only_in_base: Vec<CellId>,
    /// Cells that only the new side has values of.
    pub only_in_new: Vec<CellId>,
    /// What the reader should know before trusting a ratio.
    pub warnings: Vec<String>,
}

/// A cell's round trip in the base's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverheadRow {
    /// The cell, of the new side.
    #[serde(flatten)]
    pub id: CellId,
    /// The base's median of its runs' medians, ns.
    pub base_ns: f64,
    /// The new side's, ns.
    pub new_ns: f64,
    /// The second less the first, ns.
    pub added_ns: f64,
    /// How many times as long the new side's takes: of the means of the runs' medians' logarithms. Where each side is one run, the
    /// quotient of their medians.
    pub ratio: f64,
    /// Its interval; `null`: one run is of fewer than five boots.
    pub ci95: Option<[f64; 2]>,
    /// What the interval holds; `null`: there is none.
    pub interval_of: Option<IntervalOf>,
}

/// What varies in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntervalOf {
    /// Runs.
    Runs,
    /// Boots and blocks within the only run of each side: how much runs differ is not known.
    Boots,
}

#[cfg(test)]
pub(crate) mod fixture;
