//! What was measured in every turn beside the cells, in the measurement document.

use super::disturbance::Disturbance;
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was measured in every turn beside the cells, so that a drift of the host can be divided out. What a cell measures
/// anyway has its values there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Broadcast calls; `null`: an exit of vCPU 0 to the VMM and back, by a write to a port, while no other vCPU exits.
    pub cell: Option<CellId>,
    /// One entry for each turn.
    pub blocks: Vec<ReferenceBlock>,
}

/// A turn's few values of a reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceBlock {
    /// The turn: the cells' blocks of this number were measured right before it.
    pub number: u32,
    /// The boot of its machine, counted from 0.
    pub boot: u32,
    /// Round trips that were measured.
    pub n: u64,
    /// Their median, ns.
    pub p50_ns: f64,
    /// What disturbed them; empty: nothing did, or they are exits, which nobody watches.
    #[serde(default)]
    pub disturbances: Vec<Disturbance>,
}
