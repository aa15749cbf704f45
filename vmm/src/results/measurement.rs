//! The measurement as a document: what `--json` writes and every other report renders.
//!
//! Times are in nanoseconds, as floating-point numbers; each metric carries its unit.

pub mod config;
pub mod host;

use super::block::Block;
use super::clock::CellClock;
use super::distance::ByDistance;
use super::disturbance::Disturbance;
use super::exit_cost::ExitCost;
use super::exits::Exits;
use super::halts::CellWakeups;
use super::histogram::Histogram;
use super::host_cpu::HostCpu;
use super::initiators::ByInitiator;
use super::instruments::Instruments;
use super::integrity::Integrity;
use super::metric::{Metric, MetricName};
use super::observer_effect::ObserverEffect;
use super::quiet::Quiet;
use super::ran_on::RanOn;
use super::reference::Reference;
use super::sandbox::Sandbox;
use super::stage::Breakdown;
use super::standalone::OtherVmm;
use super::times::Times;
use config::MeasurementConfig;
use guest_stub::abi::cell::CellId;
use host::Host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
