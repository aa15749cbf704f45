//! What a measurement was asked for, in the document.

use guest_stub::abi::cell::Route;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was asked for, with defaults filled in. Every setting is there; what a document of before leaves out was not said yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasurementConfig {
    /// vCPU counts.
    pub vcpus: Vec<usize>,
    /// What a round was.
    #[serde(default)]
    pub calls: Vec<String>,
    /// Routes.
    pub routes: Vec<String>,
    /// Destinations.
    pub destinations: Vec<String>,
    /// Target states.
    pub target_states: Vec<String>,
    /// Times that halted targets were to have been in HLT before the send, µs; empty: as short as may be.
    #[serde(default)]
    pub idle_before_us: Vec<u32>,
    /// How participants waited for each other: `spin`, `park`. Documents of before leave it out where they polled.
    #[serde(default)]
    pub waits: Vec<String>,
    /// Vantages.
    pub observe: Vec<String>,
    /// Sources of events that were tried on each cell of the guest's vantage.
    pub trace: Vec<String>,
    /// Measured rounds of each cell.
    pub rounds: u64,
    /// The time that was given, s, as many rounds being made as fit; `null`: rounds were asked for.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// Rounds of each block that are run before it and thrown away.
    pub warmup: u64,
    /// Machines, booted one after the other, that each cell's blocks were spread over, those of blocks that were measured again
    /// not counted; one, where a document does not say.
    #[serde(default = "one_boot")]
    pub boots: u64,
    /// How often the measurement was to be repeated, to measure the drift from run to run. Counts of calls that went wrong,
    /// `quiet` and `warnings` are of the repetitions, too; all else is of the first run.
    #[serde(default)]
    pub repetitions: u64,
    /// The worker.
    pub worker: String,
    /// The worker's argument.
    pub argument: u64,
    /// CPUs that vCPU threads are pinned to, in turn; empty: not pinned.
    pub pin: Vec<usize>,
    /// Time between the targets' readiness and the send, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle_us: Option<u64>,
    /// The time after which a call was given up, ms, if one was set; `null`: it went by the vCPUs that share a CPU.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// The time that held, for each vCPU count.
    #[serde(default)]
    pub deadlines: Vec<Deadline>,
    /// The KVM device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The guest image's file; `null`: the one that kipi was built with.
    #[serde(default)]
    pub guest: Option<String>,
    /// Whether rounds of each target state, and exits, were measured in every turn beside what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<bool>,
    /// Whether native calls were measured beside what was asked for, or were to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<bool>,
    /// Whether what single exits cost was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_costs: Option<bool>,
    /// Whether calls from every vCPU, or from 16 of many, were measured, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_every_vcpu: Option<bool>,
    /// Whether fewer rounds were to be made where most blocks were disturbed, and took twice as long as on a quiet machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_time: Option<bool>,
    /// The longest time that CPUs may take to leave an idle state, µs (`/dev/cpu_dma_latency`); `null`: not limited.
    #[serde(default)]
    pub latency_us: Option<u32>,
    /// The virtual machines' halt-polling limit, ns, if one was set; `null`: the host's.
    #[serde(default)]
    pub halt_poll_ns: Option<u32>,
    /// By how much of its own round trip each call on a virtual machine was lengthened on purpose, to see whether that is found: a
    /// share; `null`: none was.
    #[serde(default)]
    pub injected_delay: Option<f64>,
    /// The route whose calls alone were lengthened; `null`: all were, or none.
    #[serde(default)]
    pub injected_route: Option<Route>,
    /// How long an exit kept targets out of the guest in state `out`, µs. Documents of before leave it out where no target was in it.
    #[serde(default)]
    pub out_us: Option<u64>,
}

/// The time after which a call was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// On so many vCPUs.
    pub vcpus: usize,
    /// ms.
    pub ms: u64,
}

fn one_boot() -> u64 {
    1
}
