//! What is collected of a cell while it is measured, and what that comes to.

use super::described_call::choose;
use super::instruments::frequency;
use crate::config::routes::{self, Route};
use crate::config::{self, CellId, Config, Observe};
use crate::events::recording::Recording;
use crate::events::samples::{Block, Round};
use crate::results::disturbance::Disturbance;
use crate::results::halts::CellWakeups;
use crate::results::integrity::Integrity;
use crate::results::measurement::{self, Cell, Instruments, ObserverEffect};
use crate::results::metric::MetricName;
use crate::results::source::Source;
use crate::results::stage::Breakdown;
use crate::statistics::bootstrap::{self, Boots};
use crate::statistics::breakdown::Ways;
use crate::statistics::documents;
use crate::statistics::drift::Drift;
use crate::statistics::exits;
use crate::statistics::halts::ByRegime;
use crate::statistics::metrics;
use crate::statistics::order::{self, Observation, Quantile};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

/// Blocks of a cell with a call that was given up, after which the cell is.
const MOST_SILENCES: usize = 3;

/// What is collected of a cell.
pub(super) struct Collected {
    pub(super) id: CellId,
    /// All blocks that the metrics are of, disturbed or not.
    pub(super) blocks: Vec<Block>,
    /// How many of them were measured in place of a disturbed one.
    again: usize,
    /// The blocks whose events each source has recorded.
    pub(super) traced: Vec<Traced>,
    /// What each of several initiators has brought.
    pub(super) by_initiator: Vec<(usize, Block)>,
    /// What went wrong in calls that are in none of the blocks.
    pub(super) elsewhere: Integrity,
    /// Who was silent, for each call that was given up.
    pub(super) silences: Vec<String>,
}

impl Collected {
    pub(super) fn new(id: CellId, config: &Config) -> Self {
        let sources = if id.observe == Observe::Guest { config.trace.as_slice() } else { &[] };
        let traced = sources.iter().filter(|(_, refused)| refused.is_none()).map(|&(source, _)| Traced::new(source));
        Self {
            id,
            blocks: Vec::new(),
            again: 0,
            traced: traced.collect(),
            by_initiator: Vec::new(),
            elsewhere: Integrity::default(),
            silences: Vec::new(),
        }
    }

    /// Kinds of blocks: kind 0 is what the metrics are made of, and each source of events has one.
    pub(super) fn kinds(&self) -> usize {
        1 + self.traced.len()
    }

    /// What is recorded of a kind of block.
    pub(super) fn recording(&self, kind: usize) -> Recording {
        match kind.checked_sub(1) {
            Some(index) => Recording::by(self.traced[index].source),
            None if self.traced.is_empty() => Recording::COUNTS,
            None => Recording::NOTHING,
        }
    }

    /// Adds a block of a kind.
    pub(super) fn add(&mut self, kind: usize, block: Block) {
        match kind.checked_sub(1) {
            Some(index) => self.traced[index].add(block, self.id.route),
            None => self.blocks.push(block),
        }
    }

    /// Adds what was measured in place of a disturbed block.
    pub(super) fn add_again(&mut self, kind: usize, block: Block) {
        self.again += usize::from(kind == 0);
        self.add(kind, block);
    }

    /// Nothing is measured again any more: what was disturbed counts where there is too little else.
    pub(super) fn close(&mut self) {
        let route = self.id.route;
        self.traced.iter_mut().for_each(|traced| traced.close(route));
    }

    /// Whether so few of its blocks were quiet that the results are made of all of them.
    pub(super) fn is_never_quiet(&self) -> bool {
        let quiet = self.blocks.iter().filter(|block| block.is_quiet()).count();
        quiet < enough(self.blocks.len() - self.again)
    }

    /// The blocks that the results are made of: those that nothing disturbed, where there are enough.
    pub(super) fn counted(&self) -> Vec<&Block> {
        let is_never_quiet = self.is_never_quiet();
        self.blocks.iter().filter(|block| is_never_quiet || block.is_quiet()).collect()
    }

    /// Whether there is anything to say about it.
    pub(super) fn is_measured(&self) -> bool {
        !self.blocks.is_empty() || !self.elsewhere.is_clean()
    }

    /// Whether so many of its calls were given up that no more are made: each takes its deadline, and a fresh machine.
    pub(super) fn is_given_up(&self) -> bool {
        self.silences.len() >= MOST_SILENCES
    }

    /// Whether the host stamps its calls, too.
    fn has_host_stamps(&self) -> bool {
        routes::of(self.id.route).is_host() || self.id.observe == Observe::Exits
    }

    /// Whether some of its calls were recorded with events, which the host stamps.
    fn has_events(&self) -> bool {
        self.traced.iter().any(|traced| Recording::by(traced.source).has_events())
    }

    /// The median round trips, in cycles, of the blocks that the results are made of, with the turns that they were measured
    /// in; those that were measured again have none.
    pub(super) fn medians(&self) -> Vec<(u32, f64)> {
        let is_never_quiet = self.is_never_quiet();
        let in_turn = self.blocks[..self.blocks.len() - self.again].iter();
        let median = |block: &Block| {
            let round_trip = metrics::sample(MetricName::RoundTrip, &[&block.rounds])?;
            Some((block.number, round_trip.quantile(Quantile::P50)))
        };
        in_turn.filter(|block| is_never_quiet || block.is_quiet()).filter_map(median).collect()
    }

    /// Its results, on a machine with these instruments, while the host drifted so; `None` if none of its blocks was run.
    pub(super) fn assess(&self, config: &Config, instruments: &Instruments, drift: &Drift) -> Option<Cell> {
        if !self.is_measured() {
            return None;
        }
        let of_stamps = instruments.clock.of_cell(&self.id, self.has_host_stamps());
        let clock = instruments.clock.of_cell(&self.id, self.has_host_stamps() || self.has_events());
        let khz = frequency(clock.tsc_khz);
        let mut integrity = self.elsewhere;
        let traced = || self.traced.iter().flat_map(|traced| &traced.blocks);
        let swept = self.by_initiator.iter().map(|(_, block)| block);
        self.blocks.iter().chain(swept).for_each(|block| integrity.add(block.integrity));
        self.traced.iter().for_each(|traced| integrity.add(traced.integrity));
        // What two sources have seen is the kernel's: the last one of a name counts.
        let mut by_source: Vec<&Traced> = self.traced.iter().collect();
        by_source.sort_by_key(|traced| traced.source);
        let of_events = by_source.into_iter().flat_map(|traced| &traced.of_events);
        let counted = self.counted();
        let boots = boots(&counted, drift);
        let boots_of_events = boots_by_number(&counted, drift);
        let rounds: Vec<&[Round]> = counted.iter().map(|block| block.rounds.as_slice()).collect();
        let worker = metrics::shortest_worker(&rounds).map(|cycles| metrics::nanoseconds(cycles, khz));
        let with_exits: Vec<&Block> = counted.iter().copied().chain(traced()).collect();
        Some(Cell {
            id: self.id,
            rounds: counted.iter().map(|block| block.whole_rounds()).sum(),
            rounds_asked: config.rounds as u64,
            not_in_state: counted.iter().map(|block| block.not_in_state).sum(),
            integrity,
            clock,
            exits: exits::per_call(&with_exits, config::targets(&self.id)),
            breakdown: breakdown(self, khz),
            halt: halt(self, khz),
            observer_effect: observer_effect(config, self, khz),
            by_initiator: self
                .by_initiator
                .iter()
                .map(|(initiator, block)| by_initiator(*initiator, block, khz))
                .collect(),
            metrics: metrics::collect(&rounds)
                .into_iter()
                .map(|(metric, sample)| (metric, sample, &boots, of_stamps))
                .chain(of_events.filter_map(|(&metric, values)| {
                    Some((metric, order::Sample::new(values.clone())?, &boots_of_events, clock))
                }))
                .map(|(metric, sample, boots, clock)| {
                    (metric, metric.to_document(&sample, boots, khz, metric.clock_error(clock.error_ns, worker)))
                })
                .collect(),
            blocks: self.blocks.iter().map(|block| documents::block(block, khz)).collect(),
            never_quiet: self.is_never_quiet(),
        })
    }
}

/// How many quiet blocks are enough for results, where so many were asked for: what an interval needs.
fn enough(asked: usize) -> usize {
    asked.min(config::MIN_BOOTS)
}

/// What one source has recorded of a cell. The events themselves are not kept.
pub(super) struct Traced {
    pub(super) source: Source,
    pub(super) blocks: Vec<Block>,
    /// What went wrong in all blocks, those included that do not count.
    integrity: Integrity,
    /// Blocks that were disturbed, by number, as long as they may be measured again.
    disturbed: BTreeMap<u32, Block>,
    /// What disturbed each of its blocks, those that do not count included.
    disturbances: Vec<Vec<Disturbance>>,
    /// So few blocks were quiet that disturbed ones count, too.
    never_quiet: bool,
    ways: Ways,
    of_events: BTreeMap<MetricName, Vec<Observation>>,
    /// How the targets were woken, by the kernel's events.
    by_regime: ByRegime,
    /// Of each block, the rounds of the median and of the largest round trip, with their events.
    pub(super) shown: Vec<Round>,
}

impl Traced {
    fn new(source: Source) -> Self {
        Self {
            source,
            blocks: Vec::new(),
            integrity: Integrity::default(),
            disturbed: BTreeMap::new(),
            disturbances: Vec::new(),
            never_quiet: false,
            ways: Ways::default(),
            of_events: BTreeMap::new(),
            by_regime: ByRegime::default(),
            shown: Vec::new(),
        }
    }

    /// A disturbed block waits until it is known whether there is a better one.
    fn add(&mut self, block: Block, route: Route) {
        self.integrity.add(block.integrity);
        self.disturbances.push(block.disturbances.clone());
        if block.is_quiet() {
            self.disturbed.remove(&block.number);
            self.count(block, route);
        } else {
            self.disturbed.insert(block.number, block);
        }
    }

    /// What was disturbed counts if there is too little else.
    fn close(&mut self, route: Route) {
        let disturbed = std::mem::take(&mut self.disturbed);
        if self.blocks.len() < enough(self.blocks.len() + disturbed.len()) {
            self.never_quiet = true;
            for block in disturbed.into_values() {
                self.count(block, route);
            }
        }
    }

    fn count(&mut self, mut block: Block, route: Route) {
        self.ways.add(Ways::of(&block, routes::of(route).sends_from_guest()));
        for (metric, observation) in metrics::of_events(&block.rounds, block.number) {
            self.of_events.entry(metric).or_default().push(observation);
        }
        if block.recording.kernel {
            self.by_regime.add_rounds(&block.rounds);
        }
        let rounds: Vec<&Round> = block.rounds.iter().collect();
        self.shown.extend(choose(&rounds).into_iter().map(|(_, number)| rounds[number].clone()));
        for round in &mut block.rounds {
            round.trace = Vec::new();
        }
        self.blocks.push(block);
    }
}

/// Where samples come from that count these blocks by their place.
fn boots(blocks: &[&Block], drift: &Drift) -> Boots {
    Boots { of_block: blocks.iter().map(|block| block.boot).collect(), drift: drift.clone() }
}

/// Where samples come from that count blocks by their number, as these and blocks of other kinds do.
fn boots_by_number(blocks: &[&Block], drift: &Drift) -> Boots {
    let mut of_block = Vec::new();
    for block in blocks {
        let number = block.number as usize;
        // A number without a block is none of a sample either.
        of_block.resize(of_block.len().max(number + 1), block.boot);
        of_block[number] = block.boot;
    }
    Boots { of_block, drift: drift.clone() }
}

/// Delivery to each target, in cycles.
pub(super) fn deliveries<'a>(rounds: impl Iterator<Item = &'a Round>) -> BTreeMap<usize, order::Summary> {
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
        rounds: block.whole_rounds(),
        targets: deliveries(block.rounds.iter()).into_iter().map(target).collect(),
        disturbances: block.disturbances.clone(),
    }
}

/// Where the calls' time went, by the source that sees most.
fn breakdown(cell: &Collected, khz: NonZeroU64) -> Option<Breakdown> {
    let recorded = cell.traced.iter().filter(|traced| Recording::by(traced.source).has_events());
    let sees_most = recorded.filter_map(|traced| traced.ways.breakdown(khz)).max_by_key(|found| found.stages.len());
    if sees_most.is_some() {
        return sees_most;
    }
    let mut ways = Ways::default();
    cell.counted()
        .into_iter()
        .for_each(|block| ways.add(Ways::of(block, routes::of(cell.id.route).sends_from_guest())));
    ways.breakdown(khz)
}

/// How the targets were woken: by the kernel's events where they were recorded, else by KVM's counters.
fn halt(cell: &Collected, khz: NonZeroU64) -> Option<CellWakeups> {
    let by_rounds = cell.traced.iter().find_map(|traced| traced.by_regime.to_document(Source::Kernel, khz));
    by_rounds.or_else(|| {
        let mut by_blocks = ByRegime::default();
        let traced = cell.traced.iter().flat_map(|traced| &traced.blocks);
        cell.counted().into_iter().chain(traced).for_each(|block| by_blocks.add_block(block));
        by_blocks.to_document(Source::Stats, khz)
    })
}

/// What each source that was asked for costs.
fn observer_effect(config: &Config, cell: &Collected, khz: NonZeroU64) -> Vec<ObserverEffect> {
    if cell.id.observe != Observe::Guest {
        return Vec::new();
    }
    // By the block's number, so that those of one turn are a pair; a number without a block that counts has no rounds.
    let round_trips = |blocks: &[&Block]| {
        let mut rounds: Vec<&[Round]> = Vec::new();
        for block in blocks {
            rounds.resize(rounds.len().max(block.number as usize + 1), &[]);
            rounds[block.number as usize] = &block.rounds;
        }
        metrics::sample(MetricName::RoundTrip, &rounds)
    };
    let p50 = |sample: &order::Sample| metrics::nanoseconds(sample.quantile(Quantile::P50), khz);
    let off = round_trips(&cell.counted());
    // What the host's drift does to both blocks of a pair leaves their ratio alone.
    let boots = boots_by_number(&cell.counted(), &Drift::none());
    let effect = |(source, unavailable): &(Source, Option<String>)| {
        let traced = cell.traced.iter().find(|traced| traced.source == *source);
        let on = traced.and_then(|traced| round_trips(&traced.blocks.iter().collect::<Vec<_>>()));
        let ratio = on.as_ref().zip(off.as_ref()).and_then(|(on, off)| bootstrap::ratio_of_medians(on, off, &boots));
        let lost = |traced: &Traced| traced.blocks.iter().map(|block| block.lost + block.dropped).sum();
        ObserverEffect {
            source: *source,
            unavailable: unavailable.clone(),
            on_ns: on.as_ref().map(p50),
            off_ns: on.as_ref().and(off.as_ref()).map(p50),
            ratio: ratio.map(|ratio| ratio.value),
            ci95: ratio.and_then(|ratio| ratio.interval),
            lost: traced.map_or(0, lost),
            disturbances: traced.map_or_else(Vec::new, |traced| traced.disturbances.clone()),
            never_quiet: traced.is_some_and(|traced| traced.never_quiet),
        }
    };
    config.trace.iter().map(effect).collect()
}
