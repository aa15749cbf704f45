//! What is collected of a cell while it is measured, and what that comes to.

use super::{Source, frequency};
use crate::config::routes::{self, Route};
use crate::config::{self, CellId, Config, MachineSpec, Observe};
use crate::events::recording::Recording;
use crate::events::samples::{self, Block, ExitSource};
use crate::events::timeline;
use crate::experiment::trace;
use crate::results::detail::{Arrival, CellDetail, Curve};
use crate::results::integrity::Integrity;
use crate::results::measurement::{self, Cell, CellClock, Exits, Instruments, ObserverEffect};
use crate::statistics::breakdown::Ways;
use crate::statistics::metrics::{self, MetricName};
use crate::statistics::order::{self, Observation, Quantile};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// What is collected of a cell.
pub(super) struct Collected {
    pub(super) spec: CellId,
    /// The blocks that the metrics are made of.
    pub(super) blocks: Vec<Block>,
    /// The blocks whose events each source has recorded.
    pub(super) traced: Vec<Traced>,
    /// What each of several initiators has brought.
    pub(super) by_initiator: Vec<(usize, Block)>,
}

impl Collected {
    pub(super) fn new(spec: CellId, config: &Config) -> Self {
        let sources = if spec.observe == Observe::Guest { config.trace.as_slice() } else { &[] };
        let traced = sources.iter().filter(|(_, refused)| refused.is_none()).map(|&(source, _)| Traced::new(source));
        Self { spec, blocks: Vec::new(), traced: traced.collect(), by_initiator: Vec::new() }
    }
}

/// What one source has recorded of a cell. The events themselves are not kept.
pub(super) struct Traced {
    pub(super) source: ExitSource,
    pub(super) blocks: Vec<Block>,
    ways: Ways,
    of_events: BTreeMap<MetricName, Vec<Observation>>,
    /// Of each block, the rounds of the median and of the largest round trip, with their events.
    shown: Vec<samples::Round>,
}

impl Traced {
    fn new(source: ExitSource) -> Self {
        Self { source, blocks: Vec::new(), ways: Ways::default(), of_events: BTreeMap::new(), shown: Vec::new() }
    }

    pub(super) fn add(&mut self, mut block: Block, route: Route, number: u32) {
        self.ways.add(Ways::of(&block, routes::of(route).sends_from_guest()));
        for (metric, observation) in metrics::of_events(&block.rounds, number) {
            self.of_events.entry(metric).or_default().push(observation);
        }
        let rounds: Vec<&samples::Round> = block.rounds.iter().collect();
        self.shown.extend(trace::choose(&rounds).into_iter().map(|(_, number)| rounds[number].clone()));
        for round in &mut block.rounds {
            round.trace = Vec::new();
        }
        self.blocks.push(block);
    }
}

/// A cell's results; `None` if none of its blocks was run.
pub(super) fn assess(
    config: &Config,
    cell: &Collected,
    instruments: &BTreeMap<MachineSpec, Instruments>,
) -> Option<Cell> {
    let clock = &instruments.get(&MachineSpec::of(&cell.spec))?.clock;
    if cell.blocks.is_empty() {
        return None;
    }
    let khz = frequency(clock.tsc_khz);
    let mut integrity = Integrity::default();
    let traced = || cell.traced.iter().flat_map(|traced| &traced.blocks);
    let swept = cell.by_initiator.iter().map(|(_, block)| block);
    cell.blocks.iter().chain(traced()).chain(swept).for_each(|block| integrity.add(block.integrity));
    // What two sources have seen is the kernel's: the last one of a name counts.
    let mut by_source: Vec<&Traced> = cell.traced.iter().collect();
    by_source.sort_by_key(|traced| traced.source);
    let of_events = by_source.into_iter().flat_map(|traced| &traced.of_events);
    let rounds: Vec<&[samples::Round]> = cell.blocks.iter().map(|block| block.rounds.as_slice()).collect();
    Some(Cell {
        id: cell.spec,
        rounds: rounds.iter().map(|block| block.len() as u64).sum(),
        rounds_asked: config.rounds as u64,
        not_in_state: cell.blocks.iter().map(|block| block.not_in_state).sum(),
        integrity,
        clock: CellClock { tsc_khz: clock.tsc_khz, error_ns: clock.error_ns },
        exits: exits_per_call(&cell.blocks.iter().chain(traced()).collect::<Vec<_>>(), config::targets(&cell.spec)),
        breakdown: breakdown(cell, khz),
        observer_effect: observer_effect(config, cell, khz),
        by_initiator: cell.by_initiator.iter().map(|(initiator, block)| by_initiator(*initiator, block, khz)).collect(),
        metrics: metrics::collect(&rounds)
            .into_iter()
            .chain(of_events.filter_map(|(metric, values)| Some((*metric, order::Sample::new(values.clone())?))))
            .map(|(metric, sample)| (metric.name().to_owned(), metric.to_document(&sample, khz)))
            .collect(),
    })
}

/// Delivery to each target, in cycles.
fn deliveries<'a>(rounds: impl Iterator<Item = &'a samples::Round>) -> BTreeMap<usize, order::Summary> {
    let mut by_target: BTreeMap<usize, Vec<Observation>> = BTreeMap::new();
    for (vcpu, value) in rounds.flat_map(metrics::deliveries) {
        by_target.entry(vcpu).or_default().push(Observation { value, block: 0 });
    }
    by_target.into_iter().filter_map(|(vcpu, values)| Some((vcpu, order::Sample::new(values)?.summary()))).collect()
}

fn by_initiator(initiator: usize, block: &Block, khz: NonZeroU64) -> measurement::ByInitiator {
    let target = |(vcpu, summary): (usize, order::Summary)| measurement::DeliveryTo {
        vcpu,
        p50_ns: metrics::nanoseconds(summary.p50, khz),
    };
    measurement::ByInitiator {
        initiator,
        rounds: block.rounds.len() as u64,
        targets: deliveries(block.rounds.iter()).into_iter().map(target).collect(),
    }
}

/// What pictures of a cell need.
pub(super) fn detail<S: Source>(cell: &Collected, source: &S) -> CellDetail {
    let khz = frequency(source.tsc_khz());
    let blocks: Vec<&[samples::Round]> = cell.blocks.iter().map(|block| block.rounds.as_slice()).collect();
    let samples = metrics::collect(&blocks);
    let curve = |metric: MetricName| {
        let values: Vec<f64> = samples.get(&metric)?.values().map(|value| metrics::nanoseconds(value, khz)).collect();
        Some(Curve::of(metric.name(), &values))
    };
    let arrivals = deliveries(blocks.iter().copied().flatten()).into_iter().map(|(vcpu, summary)| {
        let [p50, p99] = [summary.p50, summary.p99].map(|value| metrics::nanoseconds(value, khz));
        Arrival { vcpu, p50, p99 }
    });
    // Rounds with events tell more; of several sources, that of most.
    let sees_most =
        cell.traced.iter().max_by_key(|traced| traced.shown.iter().map(|round| round.trace.len()).sum::<usize>());
    let traced: Vec<&samples::Round> = sees_most.iter().flat_map(|traced| &traced.shown).collect();
    let stamped: Vec<samples::Round> = if traced.iter().all(|round| round.trace.is_empty()) {
        let rounds: Vec<&samples::Round> = blocks.iter().copied().flatten().collect();
        let with_stamps = |round: &samples::Round| {
            let trace = timeline::of_round(round, &[], None);
            samples::Round { trace, ..round.clone() }
        };
        trace::choose(&rounds).into_iter().map(|(_, number)| with_stamps(rounds[number])).collect()
    } else {
        Vec::new()
    };
    let rounds: Vec<&samples::Round> = if stamped.is_empty() { traced } else { stamped.iter().collect() };
    let exit_names = |reason, isa| source.exit_name(reason, isa);
    CellDetail {
        curves: [MetricName::RoundTrip, MetricName::Delivery, MetricName::StartSkew]
            .into_iter()
            .filter_map(curve)
            .collect(),
        arrivals: arrivals.collect(),
        calls: trace::choose(&rounds)
            .into_iter()
            .map(|(which, number)| trace::call(which, number, &rounds, khz, &exit_names))
            .collect(),
    }
}

/// Where the calls' time went, by the source that sees most.
fn breakdown(cell: &Collected, khz: NonZeroU64) -> Option<measurement::Breakdown> {
    let recorded = cell.traced.iter().filter(|traced| Recording::by(traced.source).has_events());
    let sees_most = recorded.filter_map(|traced| traced.ways.breakdown(khz)).max_by_key(|found| found.stages.len());
    if sees_most.is_some() {
        return sees_most;
    }
    let mut ways = Ways::default();
    cell.blocks.iter().for_each(|block| ways.add(Ways::of(block, routes::of(cell.spec.route).sends_from_guest())));
    ways.breakdown(khz)
}

/// What each source that was asked for costs.
fn observer_effect(config: &Config, cell: &Collected, khz: NonZeroU64) -> Vec<ObserverEffect> {
    if cell.spec.observe != Observe::Guest {
        return Vec::new();
    }
    let round_trips = |blocks: &[Block]| {
        let rounds: Vec<&[samples::Round]> = blocks.iter().map(|block| block.rounds.as_slice()).collect();
        metrics::collect(&rounds).remove(&MetricName::RoundTrip)
    };
    let p50 = |sample: &order::Sample| metrics::nanoseconds(sample.quantile(Quantile::P50), khz);
    let off = round_trips(&cell.blocks);
    let effect = |(source, unavailable): &(ExitSource, Option<String>)| {
        let traced = cell.traced.iter().find(|traced| traced.source == *source);
        let on = traced.and_then(|traced| round_trips(&traced.blocks));
        let ratio = on.as_ref().zip(off.as_ref()).and_then(|(on, off)| order::ratio_of_medians(on, off));
        let lost = |traced: &Traced| traced.blocks.iter().map(|block| block.lost + block.dropped).sum();
        ObserverEffect {
            source: source.name().to_owned(),
            unavailable: unavailable.clone(),
            on_ns: on.as_ref().map(p50),
            off_ns: on.as_ref().and(off.as_ref()).map(p50),
            ratio: ratio.map(|ratio| ratio.value),
            ci95: ratio.and_then(|ratio| ratio.interval),
            lost: traced.map_or(0, lost),
        }
    };
    config.trace.iter().map(effect).collect()
}

/// Exits a call, by source and reason; those that never occurred are left out.
pub(crate) fn exits_per_call(blocks: &[&Block], targets: usize) -> Vec<Exits> {
    let targets = targets.max(1) as f64;
    let mut total = samples::Exits::new();
    for (key, count) in blocks.iter().flat_map(|block| &block.exits) {
        let sum = total.entry(key.clone()).or_default();
        sum.initiator += count.initiator;
        sum.targets += count.targets;
    }
    let per_call = |((source, reason), count): ((ExitSource, String), samples::ExitCount)| {
        let calls: u64 = blocks.iter().map(|block| block.counted_rounds(source)).sum();
        (calls > 0 && count.initiator + count.targets > 0).then(|| Exits {
            source: source.name().to_owned(),
            reason,
            initiator: count.initiator as f64 / calls as f64,
            per_target: count.targets as f64 / calls as f64 / targets,
        })
    };
    total.into_iter().filter_map(per_call).collect()
}
