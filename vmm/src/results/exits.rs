//! How often the guest was left, a call.

use super::source::Source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exits of one reason, a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exits {
    /// Who counted: `stats` (KVM_GET_STATS_FD), `vmm` (KVM_RUN returns), or `kernel` (tracepoints, and only from the send to
    /// the last participant's return).
    pub source: Source,
    /// The reason, in the source's words.
    pub reason: String,
    /// A call, on the initiator's vCPU. Zero where the host is the initiator: then all vCPUs are targets.
    pub initiator: f64,
    /// A call, on each target's vCPU, on average.
    pub per_target: f64,
}
