//! What comes of the blocks that were collected of a cell: its part of the document.

use super::collected::{Collected, sources};
use super::instruments::frequency;
use super::kept::{self, Portion, Totals};
use super::traced::Traced;
use crate::config::routes;
use crate::config::{self, Config};
use crate::events::recording::Recording;
use crate::events::samples::{Block, Round};
use crate::results::block;
use crate::results::exit_cost::ExitCost;
use crate::results::halts::CellWakeups;
use crate::results::histogram::Histogram;
use crate::results::initiators::{ByInitiator, DeliveryTo};
use crate::results::instruments::Instruments;
use crate::results::measurement::Cell;
use crate::results::metric::MetricName;
use crate::results::observer_effect::ObserverEffect;
use crate::results::source::Source;
use crate::results::stage::Breakdown;
use crate::results::topology::Topology;
use crate::statistics::bootstrap::{self, Boots};
use crate::statistics::distances;
use crate::statistics::documents;
use crate::statistics::drift::Drift;
use crate::statistics::halts::ByRegime;
use crate::statistics::host_cpu;
use crate::statistics::metrics;
use crate::statistics::order::{self, Observation, Quantile};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

impl Collected {
    /// Its results, on a machine with these instruments, where single exits cost so much, of a host with this topology, which drifted
    /// so; `None` if none of its blocks was run.
    pub(super) fn assess(
        &self,
        config: &Config,
        topology: &Topology,
        instruments: &Instruments,
        costs: &[ExitCost],
        drift: &Drift,
    ) -> Option<Cell> {
        if !self.is_measured() {
            return None;
        }
        let of_stamps = instruments.clock.of_cell(&self.id, self.has_host_stamps());
        let clock = instruments.clock.of_cell(&self.id, self.has_host_stamps() || self.has_events());
        let khz = frequency(clock.tsc_khz);
        // What two sources have seen is the kernel's: the last one of a name counts.
        let mut by_source: Vec<&Traced> = self.traced.iter().collect();
        by_source.sort_by_key(|traced| traced.source);
        let of_events = by_source.into_iter().flat_map(|traced| {
            let portions = traced.counted.portions();
            let boots = boots(portions.iter().map(|portion| portion.boot), drift);
            let sample = move |metric| kept::sample(metric, (0..).zip(portions.iter().copied()));
            MetricName::OF_EVENTS.iter().map(move |&metric| (metric, sample(metric), boots.clone()))
        });
        let never_quiet = self.is_never_quiet();
        let counted = self.counted();
        let totals = self.totals();
        let boots = boots(counted.iter().map(|portion| portion.boot), drift);
        let numbered = || (0..).zip(counted.iter().copied());
        let nanoseconds = |cycles| metrics::nanoseconds(cycles, khz);
        let round_trips = kept::sample(MetricName::RoundTrip, numbered()).map(|sample| {
            Histogram::of_counted(sample.values().map(|(cycles, count)| (nanoseconds(cycles), count as u64)))
        });
        let samples = MetricName::ALL.iter().filter_map(|&metric| Some((metric, kept::sample(metric, numbered())?)));
        let worker = totals.shortest_worker.map(nanoseconds);
        let targets = config::targets(&self.id);
        let mut exits = totals.exits.clone();
        self.traced.iter().for_each(|traced| exits.merge(&traced.counted.totals.exits));
        let blocks: Vec<block::Block> = self.blocks.iter().map(|block| documents::block(block, khz)).collect();
        let is_counted = |block: &&block::Block| never_quiet || block.disturbances.is_empty();
        let deliveries: Vec<_> = counted.iter().map(|portion| &portion.deliveries).collect();
        Some(Cell {
            id: self.id,
            beside: self.is_beside,
            rounds: blocks.iter().filter(is_counted).map(|block| block.rounds).sum(),
            rounds_asked: config.rounds as u64,
            not_in_state: totals.not_in_state,
            integrity: self.integrity(),
            clock,
            exits: exits.per_call(targets),
            breakdown: breakdown(self, &totals, costs, khz),
            halt: halt(self, totals.by_regime, khz),
            host_cpu: host_cpu::of_cell(&kept::cpu_times(numbered()).collect::<Vec<_>>(), targets, &boots),
            observer_effect: observer_effect(config, self, khz),
            by_initiator: self
                .by_initiator
                .iter()
                .map(|(initiator, block)| by_initiator(*initiator, block, khz))
                .collect(),
            by_distance: distances::by_distance(&deliveries, &boots, khz, |initiator, target| {
                let [initiator, target] = [initiator, target].map(|vcpu| config::cpu_of(&config.pin, vcpu));
                Some(topology.label(initiator?, target?))
            }),
            metrics: samples
                .map(|(metric, sample)| (metric, sample, boots.clone(), of_stamps))
                .chain(of_events.filter_map(|(metric, sample, boots)| Some((metric, sample?, boots, clock))))
                .map(|(metric, sample, boots, clock)| {
                    (metric, metric.to_document(&sample, &boots, khz, metric.clock_error(clock.error_ns, worker)))
                })
                .collect(),
            round_trips,
            blocks,
            never_quiet,
            // Of other cells' blocks as well.
            times_native: Vec::new(),
            times_own_vmm: Vec::new(),
        })
    }
}

/// Where samples come from that count blocks of these boots by their place.
pub(super) fn boots(of_block: impl Iterator<Item = u32>, drift: &Drift) -> Boots {
    Boots { of_block: of_block.collect(), drift: drift.clone() }
}

/// Where pairs of blocks come from, by their turn: the boot of the first of these portions. What the host's drift does to both
/// blocks of a pair leaves their ratio alone.
pub(super) fn boots_of_turns(portions: &[&Portion]) -> Boots {
    let mut of_turn = BTreeMap::new();
    for portion in portions {
        of_turn.entry(portion.turn).or_insert(portion.boot);
    }
    // A turn without one of these blocks has no pair.
    let turns = of_turn.last_key_value().map_or(0, |(&last, _)| last + 1);
    Boots {
        of_block: (0..turns).map(|turn| of_turn.get(&turn).copied().unwrap_or_default()).collect(),
        drift: Drift::none(),
    }
}

/// Delivery to each target, in cycles.
pub(super) fn deliveries<'a>(rounds: impl Iterator<Item = &'a Round>) -> BTreeMap<usize, order::Summary> {
    let mut by_target: BTreeMap<usize, Vec<Observation>> = BTreeMap::new();
    for (vcpu, value) in rounds.flat_map(metrics::deliveries) {
        by_target.entry(vcpu).or_default().push(Observation::one(value, 0));
    }
    by_target.into_iter().filter_map(|(vcpu, values)| Some((vcpu, order::Sample::new(values)?.summary()))).collect()
}

fn by_initiator(initiator: usize, block: &Block, khz: NonZeroU64) -> ByInitiator {
    let target =
        |(vcpu, summary): (usize, order::Summary)| DeliveryTo { vcpu, p50_ns: metrics::nanoseconds(summary.p50, khz) };
    ByInitiator {
        initiator,
        rounds: block.whole_rounds(),
        targets: deliveries(block.rounds.iter()).into_iter().map(target).collect(),
        disturbances: block.disturbances.clone(),
    }
}

/// Where the calls' time went, by the source that sees most.
fn breakdown(cell: &Collected, totals: &Totals, costs: &[ExitCost], khz: NonZeroU64) -> Option<Breakdown> {
    let recorded = cell.traced.iter().filter(|traced| Recording::by(traced.source).has_events());
    let of_source = recorded.filter_map(|traced| {
        let local_apics = routes::of(cell.id.route).local_apics()?;
        let parts = traced.counted.parts.priced(costs, local_apics, khz).unwrap_or_default();
        Some(Breakdown { parts, ..traced.counted.totals.ways.breakdown(khz)? })
    });
    of_source.max_by_key(|found| found.stages.len()).or_else(|| totals.ways.breakdown(khz))
}

/// How the targets were woken: by the kernel's events where they were recorded, else by KVM's counters.
fn halt(cell: &Collected, mut by_blocks: ByRegime, khz: NonZeroU64) -> Option<CellWakeups> {
    let by_rounds = cell.traced.iter().find_map(|traced| traced.counted.by_regime.to_document(Source::Kernel, khz));
    by_rounds.or_else(|| {
        cell.traced.iter().for_each(|traced| by_blocks.merge(&traced.counted.totals.by_regime));
        by_blocks.to_document(Source::Stats, khz)
    })
}

/// What each source that was asked for costs.
fn observer_effect(config: &Config, cell: &Collected, khz: NonZeroU64) -> Vec<ObserverEffect> {
    // The blocks of one turn are a pair, and so is what was measured in place of them; where disturbed blocks count, a turn has
    // all of its blocks.
    let round_trips = |portions: &[&Portion]| kept::sample_by_turn(MetricName::RoundTrip, portions);
    let p50 = |sample: &order::Sample| metrics::nanoseconds(sample.quantile(Quantile::P50), khz);
    let counted = cell.counted();
    let off = round_trips(&counted);
    let boots = boots_of_turns(&counted);
    let effect = |(source, unavailable): &(Source, Option<String>)| {
        let traced = cell.traced.iter().find(|traced| traced.source == *source);
        let on = traced.and_then(|traced| round_trips(&traced.counted.portions()));
        let ratio = on.as_ref().zip(off.as_ref()).and_then(|(on, off)| bootstrap::ratio_of_medians(on, off, &boots));
        ObserverEffect {
            source: *source,
            unavailable: unavailable.clone(),
            on_ns: on.as_ref().map(p50),
            off_ns: on.as_ref().and(off.as_ref()).map(p50),
            ratio: ratio.map(|ratio| ratio.value),
            ci95: ratio.and_then(|ratio| ratio.interval),
            lost: traced.map_or(0, |traced| traced.counted.lost),
            disturbances: traced.map_or_else(Vec::new, |traced| traced.disturbances.clone()),
            never_quiet: traced.is_some_and(|traced| traced.never_quiet),
        }
    };
    sources(config, &cell.id).iter().map(effect).collect()
}
