//! The trace of a few broadcast calls as a document: what `--json` writes and every other report renders.

use super::integrity::Integrity;
use super::measurement::{Breakdown, CellClock, Exits, Host};
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The document's name and version.
pub const TRACE_SCHEMA: &str = "kipi.trace/1";

/// One run of `kipi trace`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Name and version of this document's schema: `kipi.trace/1`.
    #[schemars(extend("const" = "kipi.trace/1"))]
    pub schema: String,
    /// Where it was recorded.
    pub host: Host,
    /// What was asked for.
    pub config: Config,
    /// Who recorded events, and who could not.
    pub sources: Vec<Source>,
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
    /// What the reader should know before trusting a number.
    pub warnings: Vec<String>,
}

/// What was asked for, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the calls are of.
    #[serde(flatten)]
    pub id: CellId,
    /// Rounds.
    pub rounds: u64,
    /// Rounds before them that are thrown away.
    pub warmup: u64,
    /// The worker.
    pub worker: String,
    /// CPUs that vCPU threads are pinned to, in turn; empty: not pinned.
    pub pin: Vec<usize>,
}

/// A source of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `guest`, `vmm`, `kernel` or `stats`.
    pub source: String,
    /// Why it has recorded nothing; `null`: it has.
    pub unavailable: Option<String>,
    /// Events that found no room.
    pub lost: u64,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Why it is shown: `only`, `median` or `worst`, by round trip.
    pub which: String,
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

/// A stage of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stage, named by what it ends with.
    pub stage: String,
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
    pub source: String,
    /// What, in one word: `send`, `worker_start`, `return`, or a tracepoint's name.
    pub kind: String,
    /// The rest, for people.
    pub detail: String,
    /// The vCPU that an interrupt was accepted for, or whose thread was woken.
    pub about: Option<usize>,
    /// The stage that ends here.
    pub stage: Option<String>,
}

/// A trace made up for tests: a call of vCPU 0 to vCPU 1.
#[cfg(test)]
pub(crate) fn fixture() -> Trace {
    let event = |at_ns, vcpu, source: &str, kind: &str, detail: &str, stage: Option<&str>| Event {
        at_ns,
        vcpu: Some(vcpu),
        source: source.to_owned(),
        kind: kind.to_owned(),
        detail: detail.to_owned(),
        about: (kind == "kvm_apic_accept_irq").then_some(1),
        stage: stage.map(ToOwned::to_owned),
    };
    let stage = |stage: &str, end_ns, cost_ns| Stage { stage: stage.to_owned(), end_ns, cost_ns };
    Trace {
        schema: TRACE_SCHEMA.to_owned(),
        host: super::fixture::measurement().host,
        config: Config {
            id: super::fixture::id("x2apic", "halt"),
            rounds: 1,
            warmup: 3,
            worker: "stamp".to_owned(),
            pin: vec![0, 1],
        },
        sources: vec![
            Source { source: "vmm".to_owned(), unavailable: None, lost: 0 },
            Source { source: "kernel".to_owned(), unavailable: Some("no permission".to_owned()), lost: 0 },
        ],
        rounds: 1,
        not_in_state: 0,
        integrity: Integrity::default(),
        clock: CellClock { tsc_khz: 1_000_000, error_ns: 35.0 },
        calls: vec![Call {
            which: "only".to_owned(),
            round: 0,
            begin_ns: 0.0,
            round_trip_ns: 600.0,
            last_target: Some(1),
            stages: vec![
                stage("send exit", 20.0, 20.0),
                stage("interrupt entry", 300.0, 280.0),
                stage("gate", 400.0, 100.0),
                stage("worker", 520.0, 120.0),
                stage("done", 600.0, 80.0),
            ],
            remainder_ns: 0.0,
            afterwards: vec![stage("EOI", 610.0, 90.0)],
            events: vec![
                event(0.0, 0, "guest", "send", "send", None),
                event(20.0, 0, "kernel", "kvm_exit", "exit: msr", Some("send exit")),
                event(40.0, 0, "kernel", "kvm_apic_accept_irq", "IPI accepted for vCPU 1", None),
                event(90.0, 0, "kernel", "kvm_entry", "entry", None),
                event(100.0, 0, "guest", "sent", "sent", None),
                event(300.0, 1, "guest", "arrival", "interrupt entry", Some("interrupt entry")),
                event(390.0, 0, "guest", "worker_start", "worker begins", None),
                event(400.0, 1, "guest", "worker_start", "worker begins", Some("gate")),
                event(500.0, 0, "guest", "worker_end", "worker ends", None),
                event(520.0, 1, "guest", "worker_end", "worker ends", Some("worker")),
                event(600.0, 0, "guest", "completed", "everybody is done", Some("done")),
                event(610.0, 1, "vmm", "return", "KVM_RUN returns: apic-write 0xb0", None),
            ],
        }],
        breakdown: None,
        exits: Vec::new(),
        warnings: vec!["made up".to_owned()],
    }
}
