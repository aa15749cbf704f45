//! The stages of a broadcast call, and where the time of many calls went.

use super::source::Source;
use guest_stub::abi::act::Act;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// A stage, named by the checkpoint that it ends at. The first eight lead from the send, over the target that arrives
/// last, to the last completion; that target goes through the others when nobody waits for it any more.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Stage {
    /// The initiator's send has left the guest.
    #[serde(rename = "send exit")]
    #[strum(serialize = "send exit")]
    SendExit,
    /// The last target's local APIC has accepted the interrupt.
    #[serde(rename = "IPI accepted")]
    #[strum(serialize = "IPI accepted")]
    Accept,
    /// The last target's thread was woken, or taken out of the guest. A target that polls for interrupts needs none.
    Kick,
    /// The last target is entered, or handed the interrupt, for the last time before it takes it.
    Entry,
    /// The last target's interrupt entry has begun: max a.
    #[serde(rename = "interrupt entry")]
    #[strum(serialize = "interrupt entry")]
    Arrival,
    /// The last worker begins: max w.
    Gate,
    /// The last worker has ended: max x.
    Worker,
    /// The initiator has seen every completion: t2.
    Done,
    /// The last target's EOI.
    #[serde(rename = "EOI")]
    #[strum(serialize = "EOI")]
    Eoi,
    /// The last target is entered again after its EOI.
    Return,
}

impl Stage {
    /// The stages that add up to the round trip, in order. A stage's place here is its discriminant.
    pub const OF_ROUND_TRIP: [Self; 8] =
        [Self::SendExit, Self::Accept, Self::Kick, Self::Entry, Self::Arrival, Self::Gate, Self::Worker, Self::Done];

    /// The name in documents and reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Where calls' time went: the way from the send, over the target that arrived last, to the last completion, in stages.
/// The means of the stages and the remainder add up to that of the round trip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Breakdown {
    /// Who recorded the events that it is made of: `guest`, and perhaps `vmm` and `kernel`.
    pub sources: Vec<Source>,
    /// Rounds that it is made of, of a mesh each with a ping of every vCPU.
    pub rounds: u64,
    /// The stages that some of them have, in their order.
    pub stages: Vec<StageCost>,
    /// Mean time of a call that no stage accounts for, ns.
    pub remainder_ns: f64,
    /// Mean round trip, ns.
    pub round_trip_ns: f64,
    /// Sends that left the guest in no way that the kernel's tracepoints show; `null`: they cannot tell.
    pub accelerated: Option<Accelerated>,
    /// The exits in the calls' four parts, where both were measured: events, and what single exits cost (`--exits`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// A part of a call, from one of the guest's stamps to the next, and how much of it exits explain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it ends with: `interrupt entry`, `gate`, `worker` or `done`. It begins where the one before it ends, the first one
    /// with the send.
    pub stage: Stage,
    /// Mean, ns.
    pub mean_ns: f64,
    /// The exits in it.
    pub exits: Vec<PartExits>,
    /// What they would take if each took the mean of its act in `exit_costs`, less that of `nothing`, and all came one after the
    /// other, ns: an estimate.
    pub explained_ns: f64,
}

/// Exits of one kind in a part of a call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartExits {
    /// The act of `exit_costs` that exits so; `null`: none does, and nothing of it is explained.
    pub act: Option<Act>,
    /// A call, on the initiator's vCPU.
    pub initiator: f64,
    /// A call, on the vCPU of the target that arrived last.
    pub target: f64,
}

/// A stage of the way through a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageCost {
    /// The stage, named by what it ends with.
    pub stage: Stage,
    /// Calls that have it. What the others spent on it is in their remainder.
    pub n: u64,
    /// Its part of the mean round trip, ns: the sum over the calls that have it, divided by all.
    pub mean_ns: f64,
    /// Smallest, ns.
    pub min_ns: f64,
    /// Median, ns.
    pub p50_ns: f64,
    /// Largest, ns.
    pub max_ns: f64,
}

/// How many sends caused no exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accelerated {
    /// Sends that caused none.
    pub sends: u64,
    /// All sends.
    pub of: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_one_name_in_documents_and_reports_and_its_place_is_its_number() {
        for (place, stage) in Stage::OF_ROUND_TRIP.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
            assert_eq!(stage as usize, place);
        }
        for (stage, name) in [(Stage::Accept, "IPI accepted"), (Stage::Eoi, "EOI"), (Stage::Return, "return")] {
            assert_eq!((serde_json::to_value(stage).unwrap(), stage.name()), (name.into(), name));
        }
    }
}
