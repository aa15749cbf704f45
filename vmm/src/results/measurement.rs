//! The measurement as a document: what `--json` writes and every other report renders.
//!
//! Times are in nanoseconds, as floating-point numbers; each metric carries its unit.

use super::acceleration::Acceleration;
use super::block::Block;
use super::distance::ByDistance;
use super::disturbance::Disturbance;
use super::exit_cost::ExitCost;
use super::halts::CellWakeups;
use super::histogram::Histogram;
use super::host_cpu::HostCpu;
use super::integrity::Integrity;
use super::metric::{Metric, MetricName};
use super::power::Power;
use super::quiet::Quiet;
use super::ran_on::RanOn;
use super::reference::Reference;
use super::sandbox::Sandbox;
use super::source::Source;
use super::stage::Breakdown;
use super::standalone::{OtherVmm, Standalone};
use super::times::Times;
use super::topology::Topology;
use guest_stub::abi::cell::{CellId, Route, Under};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::IntoStaticStr;

/// The measurement document's name and version.
pub const MEASUREMENT_SCHEMA: &str = "kipi.measurement/1";

/// One run of `kipi measure`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Name and version of this document's schema: `kipi.measurement/1`.
    #[schemars(extend("const" = "kipi.measurement/1"))]
    pub schema: String,
    /// When the run began: seconds since 1970-01-01 00:00 UTC, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<f64>,
    /// The same as a date: RFC 3339, in UTC, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The command line that it was measured with, word by word; a word that is not UTF-8 has U+FFFD in it. Left out where a log was
    /// imported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Where it was measured.
    pub host: Host,
    /// What was asked for.
    pub config: MeasurementConfig,
    /// What the instruments cost, one entry for each machine (vCPU count, place of the local APICs).
    pub instruments: Vec<Instruments>,
    /// What the intervals of the cells' metrics hold.
    #[serde(default)]
    pub intervals: IntervalScope,
    /// One entry for each combination of route, destination, target state, vCPU count and vantage.
    pub cells: Vec<Cell>,
    /// What was measured in every turn beside the cells.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// What single exits cost (`--exits`), by the place of the local APICs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exit_costs: Vec<ExitCost>,
    /// Combinations that were asked for and cannot be measured here.
    pub skipped: Vec<Skipped>,
    /// Cells that have no `times_native` of a native cell: no native call is like theirs, none can be measured here, it failed, or no
    /// turn has undisturbed blocks of both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undivided: Vec<Skipped>,
    /// Whether something disturbed it; `null`: nobody has looked.
    #[serde(default)]
    pub quiet: Option<Quiet>,
    /// Where each vCPU's thread really ran, by vCPU; left out where nobody has looked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ran_on: Vec<RanOn>,
    /// The other VMMs that cells ran under (`--under`), in turns with kipi's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under: Vec<OtherVmm>,
    /// The sandbox that kipi's process was in; left out where no guest of kipi's ran, and by versions that had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// What the reader should know before trusting a number.
    pub warnings: Vec<String>,
    /// The run was interrupted or failed: cells hold what was measured until then.
    pub partial: bool,
    /// Why the run ended early, if it did.
    pub error: Option<String>,
}

/// What 95 % intervals hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntervalScope {
    /// What varies within the run: its rounds, blocks and boots, and the host's drift as far as the run shows it.
    #[default]
    WithinRun,
    /// That, and the drift from run to run, which was measured by repeating the run: of the metrics that have `between_runs`.
    BetweenRuns,
}

/// Where a measurement was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The same on machines that are alike in processor model, hypervisor below, topology of the CPUs that are online, KVM's modules and
    /// their parameters, whatever kernel and microcode they run: 16 hexadecimal digits. Left out where the standalone image ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Kernel release, as `uname -r`; `none` where the standalone image ran, which needs no kernel.
    pub kernel: String,
    /// Processor model name.
    pub cpu: String,
    /// The processor's microcode revision (`/proc/cpuinfo`); left out where the kernel shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
    /// The kernel's command line (`/proc/cmdline`); left out where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Processors that this process may run on, or that the standalone image has started.
    pub cpus: Vec<usize>,
    /// What they share.
    #[serde(default, skip_serializing_if = "Topology::is_not_known")]
    pub topology: Topology,
    /// KVM's vendor modules that are loaded (`kvm_intel`, `kvm_amd`, `kvm_pvm`), or `built-in or unknown`; empty
    /// where the standalone image ran.
    pub kvm: Vec<String>,
    /// Settings of KVM that change results, by `module.parameter`; those that can be read.
    pub settings: BTreeMap<String, String>,
    /// Whether the processor accelerates local APICs for kipi's virtual machines, those of which are in KVM; empty: nobody has looked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apic_acceleration: Vec<Acceleration>,
    /// Idle states, frequencies, mitigations.
    #[serde(default)]
    pub power: Power,
    /// This machine is itself a virtual machine (CPUID's hypervisor bit).
    pub nested: bool,
    /// The signature of the hypervisor below it, such as `KVMKVMKVM`; left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// Version of kipi; of the standalone image, where it ran.
    pub kipi: String,
    /// The standalone image ran, without kipi's VMM, and a log of it was imported; left out where kipi measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standalone: Option<Standalone>,
}

impl Host {
    /// What the standalone image ran on, if it did: `standalone image under KVMKVMKVM`.
    pub fn standalone_platform(&self) -> Option<String> {
        self.standalone.as_ref().map(|_| match &self.hypervisor {
            Some(signature) => format!("standalone image under {signature}"),
            None if self.nested => "standalone image under a hypervisor without a signature".to_owned(),
            None => "standalone image on bare metal".to_owned(),
        })
    }
}

/// What was asked for, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasurementConfig {
    /// vCPU counts.
    pub vcpus: Vec<usize>,
    /// What a round was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
    /// How participants waited for each other; left out where they polled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
    /// Vantages.
    pub observe: Vec<String>,
    /// Sources of events that were tried on each cell of the guest's vantage.
    pub trace: Vec<String>,
    /// Measured rounds of each cell.
    pub rounds: u64,
    /// The time that was given, s, as many rounds being made as fit; left out where rounds were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// The time after which a call was given up, ms, if one was set; left out where it went by the vCPUs that share a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The KVM device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The guest image's file; left out where it was the one that kipi was built with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// The virtual machines' halt-polling limit, ns, if one was set; left out where it was the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt_poll_ns: Option<u32>,
    /// By how much of its own round trip each call on a virtual machine was lengthened on purpose, to see whether that is found: a
    /// share; left out where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injected_delay: Option<f64>,
    /// The route whose calls alone were lengthened; left out where all were, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injected_route: Option<Route>,
    /// How long an exit kept targets out of the guest in state `out`, µs; left out where no target was in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_us: Option<u64>,
}

fn one_boot() -> u64 {
    1
}

/// What the instruments of one virtual machine cost, and how well its clocks agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instruments {
    /// The virtual machine's vCPU count.
    pub vcpus: usize,
    /// Where its local APICs are; `null`: it is no virtual machine, but threads on the host's own processors, each in a vCPU's
    /// place. With the vCPU count and the interface, this identifies the machine.
    pub local_apic: Option<LocalApics>,
    /// The hypervisor's interface that its guest finds; KVM's where it is not there.
    #[serde(default, skip_serializing_if = "Interface::is_kvm")]
    pub interface: Interface,
    /// The VMM whose machine it is, as in [`CellId::under`]; left out where that is kipi's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<Under>,
    /// One time-stamp read in the guest, or in a thread, ns: the difference of two in a row.
    pub stamp_ns: Spread,
    /// From the guest's stamp to the VMM's, for one observed exit on an otherwise idle vCPU, ns; none (`n` is 0) without a virtual
    /// machine.
    pub exit_leg_ns: Spread,
    /// One observed exit and the way back, ns; as above.
    pub exit_round_trip_ns: Spread,
    /// From process start (exec) to the first completed broadcast call, ns; of the first virtual machine only.
    pub first_broadcast_ns: Option<f64>,
    /// From KVM_CREATE_VM, or from the start of the first thread, to the first completed call of this machine, ns; left out of a run of
    /// the standalone image, which nobody saw start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_ns: Option<f64>,
    /// From KVM_CREATE_VM, or from the start of the first thread, until all vCPUs or threads are up, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_ns: Option<f64>,
    /// One instruction of the guest's at CPL0, which some hypervisors emulate, ns; `null` without a virtual machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction_ns: Option<Spread>,
    /// The floor of calls whose participants park: the round trip of the same rendezvous by as many threads of the host that sleep
    /// (futex(2)), without a virtual machine, ns. Where participants park, and not on one vCPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub park_floor_ns: Option<Spread>,
    /// The clocks of this machine's vCPUs.
    pub clock: Clock,
}

/// A hypervisor's interface, as CPUID shows it from leaf 4000_0000H on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// KVM's.
    #[default]
    #[strum(serialize = "KVM")]
    Kvm,
    /// Hyper-V's, with KVM's behind it.
    #[strum(serialize = "Hyper-V")]
    HyperV,
}

impl Interface {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is what documents leave out.
    pub const fn is_kvm(&self) -> bool {
        matches!(self, Self::Kvm)
    }
}

/// Where a machine's local APICs are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum LocalApics {
    /// In KVM.
    #[default]
    Kernel,
    /// In the VMM.
    User,
}

impl LocalApics {
    /// The name in documents and reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Quantiles of a cost, or of a metric in one block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// How many were measured.
    pub n: u64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// How well the vCPUs' clocks agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Frequency of the guest's TSC, or of the host's, kHz.
    pub tsc_khz: u64,
    /// Bound ε of the error of a difference of two vCPUs' stamps, ns; `null`: unknown, since nothing bounds some vCPU's.
    pub error_ns: Option<f64>,
    /// What is added to ε where one of the stamps is the host's, ns: zero where KVM tells vCPU 0's TSC offset.
    #[serde(default)]
    pub host_error_ns: f64,
    /// TSC cycles that were subtracted from each vCPU's stamps, by its index: how far its TSC offset is from vCPU 0's.
    /// Where several virtual machines were booted, those of the last one, or where the offsets are estimated, of the one whose ε
    /// is largest.
    #[serde(default)]
    pub subtracted: Vec<i64>,
    /// How all of it was obtained.
    pub method: String,
}

impl Clock {
    /// The clock of a cell; `with_host` says whether the host's stamps are among those that are compared.
    pub fn of_cell(&self, cell: &CellId, with_host: bool) -> CellClock {
        let error_ns = if with_host {
            self.error_ns.map(|error| error + self.host_error_ns)
        } else if cell.has_one_clock() {
            Some(0.0)
        } else {
            self.error_ns
        };
        CellClock { tsc_khz: self.tsc_khz, error_ns }
    }
}

/// One cell's results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What was measured.
    #[serde(flatten)]
    pub id: CellId,
    /// Nobody has asked for it: it is native, and measured for others to be divided by. Left out where it is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
    /// Rounds that count: calls, or of a mesh, as often as every vCPU has sent a ping.
    pub rounds: u64,
    /// Rounds asked for.
    pub rounds_asked: u64,
    /// Rounds that were run but do not count, because a target was not in the state that was asked for.
    pub not_in_state: u64,
    /// What went wrong, in repetitions of the run, too; all zero in a good run.
    pub integrity: Integrity,
    /// The clocks.
    pub clock: CellClock,
    /// Exits a call by who counted them and by reason, the time between the rounds included.
    pub exits: Vec<Exits>,
    /// Where the calls' time went, of the rounds whose events were recorded; `null`: none were.
    pub breakdown: Option<Breakdown>,
    /// How KVM woke the targets, in state `halt`; `null`: nobody could tell.
    #[serde(default)]
    pub halt: Option<CellWakeups>,
    /// What its calls take of the host's CPUs; left out where nobody has read the clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_cpu: Option<HostCpu>,
    /// What recording costs: one entry for each source that was asked for.
    pub observer_effect: Vec<ObserverEffect>,
    /// Delivery from several initiators, if that was asked for: a few rounds of each.
    pub by_initiator: Vec<ByInitiator>,
    /// Delivery by how far apart initiator and target are, of the rounds that the metrics are made of, nearest first; empty where
    /// it is not known which CPU each of them runs on: they are not pinned, or the host calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_distance: Vec<ByDistance>,
    /// By metric name; a metric that cannot exist here (a skew of one target) is left out.
    pub metrics: BTreeMap<MetricName, Metric>,
    /// Its round trips by buckets of 1 %: of the rounds that the metrics are made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trips: Option<Histogram>,
    /// All blocks, in the order in which they were measured. The metrics are made of those that nothing disturbed, and of all
    /// where `never_quiet` is true.
    #[serde(default)]
    pub blocks: Vec<Block>,
    /// Too few of its blocks were undisturbed, although disturbed ones were measured again: fewer than five, or than five boots'
    /// where there were as many.
    #[serde(default)]
    pub never_quiet: bool,
    /// Its times in those of the same call on the host's own processors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times_native: Vec<Times>,
    /// Of a cell under another VMM: its times in those of the same cell under kipi's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times_own_vmm: Vec<Times>,
}

impl Skipped {
    /// Combinations by the reason for which they cannot be measured, each reason in the place where it first came up.
    pub fn by_reason(skipped: &[Self]) -> Vec<(&str, Vec<&Self>)> {
        let mut reasons: Vec<(&str, Vec<&Self>)> = Vec::new();
        for combination in skipped {
            match reasons.iter_mut().find(|(reason, _)| *reason == combination.reason) {
                Some((_, combinations)) => combinations.push(combination),
                None => reasons.push((&combination.reason, vec![combination])),
            }
        }
        reasons
    }
}

impl Measurement {
    /// Whether cells ran under other VMMs, too.
    pub fn has_other_vmms(&self) -> bool {
        self.cells.iter().any(|cell| cell.id.under.is_some())
    }

    /// The cells that were asked for.
    pub fn asked(&self) -> impl Iterator<Item = &Cell> + Clone {
        self.cells.iter().filter(|cell| !cell.beside)
    }
}

impl Cell {
    /// Whether disturbed blocks are in one of its figures: its metrics, those of its recorded events, or an initiator's.
    pub fn uses_disturbed_blocks(&self) -> bool {
        let recorded = || self.observer_effect.iter().any(|effect| effect.never_quiet);
        self.never_quiet || recorded() || self.by_initiator.iter().any(|from| !from.disturbances.is_empty())
    }

    /// The blocks that its metrics are made of.
    pub fn counted_blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| self.never_quiet || block.disturbances.is_empty())
    }

    /// Its native counterpart's share of a metric, of busy threads: the first of its divisors.
    pub fn times_native(&self, metric: MetricName) -> Option<&Times> {
        self.times_native.iter().find(|times| times.metric == metric)
    }

    /// Its share of the same cell's metric under kipi's own VMM.
    pub fn times_own_vmm(&self, metric: MetricName) -> Option<&Times> {
        self.times_own_vmm.iter().find(|times| times.metric == metric)
    }

    /// What disturbed each of its blocks: those that the metrics are made of, those with events, and the initiators'.
    pub fn disturbances(&self) -> impl Iterator<Item = &[Disturbance]> {
        let blocks = self.blocks.iter().map(|block| block.disturbances.as_slice());
        let recorded = self.observer_effect.iter().flat_map(|effect| effect.disturbances.iter().map(Vec::as_slice));
        let by_initiator = self.by_initiator.iter().map(|from| from.disturbances.as_slice());
        blocks.chain(recorded).chain(by_initiator)
    }
}

/// A cell's clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellClock {
    /// Frequency of the guest's TSC, kHz.
    pub tsc_khz: u64,
    /// Bound ε of the error of a difference of two clocks' stamps, ns: zero where one clock took all of them. `null`: unknown.
    pub error_ns: Option<f64>,
}

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

/// What one source of events costs: the same rounds with it and with none, block by block in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObserverEffect {
    /// `stats`, `vmm` or `kernel`.
    pub source: Source,
    /// Why it could not be used, if so; then there are no numbers.
    pub unavailable: Option<String>,
    /// Median round trip with it, ns.
    pub on_ns: Option<f64>,
    /// Median round trip with no source, ns.
    pub off_ns: Option<f64>,
    /// The one divided by the other.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio, a bootstrap of boots and of the pairs of blocks within them, each pair measured one block
    /// after the other: low, high; `null`: the pairs are of fewer than five boots.
    pub ci95: Option<[f64; 2]>,
    /// Events that found no room.
    pub lost: u64,
    /// What disturbed each of the blocks that were run with it, those included that another one replaced.
    #[serde(default)]
    pub disturbances: Vec<Vec<Disturbance>>,
    /// Too few of them were undisturbed: what is made of its events (the stages, the kernel's share, how KVM woke targets) and
    /// this comparison are made of disturbed blocks, too.
    #[serde(default)]
    pub never_quiet: bool,
}

/// A combination that cannot be measured here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// What was asked for.
    #[serde(flatten)]
    pub id: CellId,
    /// Why not.
    pub reason: String,
}
