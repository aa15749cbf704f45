//! The trace of a few broadcast calls as a document: what `--json` writes and every other report renders.

use super::clock::CellClock;
use super::exits::Exits;
use super::integrity::Integrity;
use super::measurement::config::Deadline;
use super::measurement::host::Host;
use super::quiet::Quiet;
use super::ran_on::RanOn;
use super::sandbox::Sandbox;
use super::source;
use super::stage::{self, Breakdown};
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// The document's name and version.
pub const TRACE_SCHEMA: &str = "kipi.trace/1";

/// One run of `kipi trace`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Name and version of this document's schema: `kipi.trace/1`.
    #[schemars(extend("const" = "kipi.trace/1"))]
    pub schema: String,
    /// When it began: RFC 3339, in UTC, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The command line that it was recorded with, word by word; a word that is not UTF-8 has U+FFFD in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Where it was recorded.
    pub host: Host,
    /// What was asked for.
    pub config: TraceConfig,
    /// Who recorded events, and who could not.
    pub sources: Vec<Recorder>,
    /// Rounds that count.
    pub rounds: u64,
    /// Rounds that were run but do not count, because a target was not in the state that was asked for.
    pub not_in_state: u64,
    /// What went wrong; all zero in a good run.
    pub integrity: Integrity,
    /// The clocks.
    pub clock: CellClock,
    /// The calls that are shown.
    pub calls: Vec<Call>,
    /// Where the time of all rounds went.
    pub breakdown: Option<Breakdown>,
    /// Exits a call of all rounds, by source and reason.
    pub exits: Vec<Exits>,
    /// Whether something disturbed it; `null`: nobody has looked.
    #[serde(default)]
    pub quiet: Option<Quiet>,
    /// Where the vCPUs' threads really ran; empty: nobody has looked.
    #[serde(default)]
    pub ran_on: Vec<RanOn>,
    /// The sandbox that kipi's process was in; left out by versions that had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// What the reader should know before trusting a number.
    pub warnings: Vec<String>,
}

/// What was asked for, with defaults filled in. Every setting is there; what a document of before leaves out was not said yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceConfig {
    /// What the calls are of.
    #[serde(flatten)]
    pub id: CellId,
    /// Rounds.
    pub rounds: u64,
    /// Rounds before them that are thrown away.
    pub warmup: u64,
    /// How participants waited for each other: `spin` or `park`.
    #[serde(default)]
    pub waits: Vec<String>,
    /// Who was to record events besides the guest; `sources` says who did.
    #[serde(default)]
    pub trace: Vec<source::Source>,
    /// The worker.
    pub worker: String,
    /// The worker's argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argument: Option<u64>,
    /// CPUs that vCPU threads are pinned to, in turn; empty: not pinned.
    pub pin: Vec<usize>,
    /// Time between the targets' readiness and the send, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle_us: Option<u64>,
    /// The time after which a call was given up, ms, if one was set; `null`: it went by the vCPUs that share a CPU.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// The time that held.
    #[serde(default)]
    pub deadlines: Vec<Deadline>,
    /// The KVM device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The guest image's file; `null`: the one that kipi was built with.
    #[serde(default)]
    pub guest: Option<String>,
    /// The longest time that CPUs may take to leave an idle state, µs (`/dev/cpu_dma_latency`); `null`: not limited.
    #[serde(default)]
    pub latency_us: Option<u32>,
    /// The virtual machine's halt-polling limit, ns, if one was set; `null`: the host's.
    #[serde(default)]
    pub halt_poll_ns: Option<u32>,
    /// How long an exit kept targets out of the guest in state `out`, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_us: Option<u64>,
}

/// A source of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recorder {
    /// `guest`, `vmm`, `kernel` or `stats`.
    pub source: source::Source,
    /// Why it has recorded nothing; `null`: it has.
    pub unavailable: Option<String>,
    /// Events that found no room.
    pub lost: u64,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Why it is shown.
    pub which: Which,
    /// Its number among the rounds that count, from 0.
    pub round: u64,
    /// Its send, after that of the first round that counts, ns.
    pub begin_ns: f64,
    /// t2 − t0, ns.
    pub round_trip_ns: f64,
    /// The target that arrived last; `null`: the call had none.
    pub last_target: Option<usize>,
    /// The way over that target; the costs and the remainder add up to the round trip.
    pub stages: Vec<Stage>,
    /// What no stage accounts for, ns.
    pub remainder_ns: f64,
    /// What that target did when nobody waited for it any more.
    pub afterwards: Vec<Stage>,
    /// All events, by time.
    pub events: Vec<Event>,
}

/// Why a call is shown, by its round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Which {
    /// There is no other.
    Only,
    /// Its round trip is the median.
    Median,
    /// Its round trip is the longest.
    Worst,
}

impl Which {
    /// The name in documents and reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A stage of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stage, named by what it ends with.
    pub stage: stage::Stage,
    /// When it ended, after the send, ns.
    pub end_ns: f64,
    /// What it took, ns.
    pub cost_ns: f64,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// After the send, ns.
    pub at_ns: f64,
    /// On which vCPU, or in whose thread; `null`: in another thread of the VMM, or of the system.
    pub vcpu: Option<usize>,
    /// Who saw it: `guest`, `vmm` or `kernel`.
    pub source: source::Source,
    /// What, in one word: `send`, `worker_start`, `return`, or a tracepoint's name.
    pub kind: String,
    /// The rest, for people.
    pub detail: String,
    /// The vCPU that an interrupt was accepted for, or whose thread was woken.
    pub about: Option<usize>,
    /// The stage that ends here.
    pub stage: Option<stage::Stage>,
}
