//! Delivery from several initiators.

use super::disturbance::Disturbance;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Delivery from one initiator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByInitiator {
    /// The vCPU that called.
    pub initiator: usize,
    /// Rounds that count.
    pub rounds: u64,
    /// Its targets, by rising vCPU.
    pub targets: Vec<DeliveryTo>,
    /// What disturbed its block, which was measured again once; empty: nothing did.
    #[serde(default)]
    pub disturbances: Vec<Disturbance>,
}

/// Delivery to one target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryTo {
    /// The target.
    pub vcpu: usize,
    /// Median, ns.
    pub p50_ns: f64,
}
