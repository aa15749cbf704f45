//! What single exits cost, in the measurement document.

use super::machine::LocalApics;
use super::metric::Metric;
use super::reference::ReferenceBlock;
use guest_stub::abi::act::Act;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one thing costs that a guest does and that KVM or the VMM may have to do for it. Measured on vCPU 0 of the machine of the
/// first cell with these local APICs, in every turn after the cells, while the other vCPUs sleep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExitCost {
    /// What the guest does.
    pub act: Act,
    /// Where the machine's local APICs are.
    pub local_apic: LocalApics,
    /// The machine's vCPU count.
    pub vcpus: usize,
    /// Why there is no cost, if so: it cannot be done here, or never came about as it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// Why it was not tried again after the turns in `blocks`, which the numbers are of, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
    /// How often it was done and does not count, in all turns: of `hlt-timer`, the deadline had passed before HLT.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// From a time stamp right before it to one right after it; of `hlt` and `hlt-timer`, to the first instructions of the
    /// interrupt's handler. What the stamps cost, which `nothing` tells, is in it.
    pub cost: Option<Metric>,
    /// Mean of the same, ns.
    pub mean_ns: Option<f64>,
    /// How much KVM's counter `exits` grows with one of them, beyond what it grows with `nothing`; `null`: it cannot be read.
    pub exits: Option<f64>,
    /// The same of KVM's counter `insn_emulation`.
    pub emulated: Option<f64>,
    /// The same of KVM_RUN's returns to the VMM.
    pub returns: Option<f64>,
    /// One entry for each turn. The cost is made of those that nothing disturbed, and of all where `never_quiet` is true.
    pub blocks: Vec<ReferenceBlock>,
    /// Too few turns were undisturbed: fewer than five, or than five boots' where there were as many.
    #[serde(default)]
    pub never_quiet: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
