//! What is collected of a cell while it is measured, and what that comes to.

use super::described_call::choose;
use super::instruments::frequency;
use crate::config::routes::{self, Route};
use crate::config::{self, CellId, Config, MIN_BOOTS, Observe};
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
use std::collections::{BTreeMap, BTreeSet};
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
        !are_enough(self.blocks.iter().filter(|block| block.is_quiet()), self.in_turn().iter())
    }

    /// The blocks that were not measured in place of another one.
    fn in_turn(&self) -> &[Block] {
        &self.blocks[..self.blocks.len() - self.again]
    }

    /// The number of the last turn that it was measured in; `None`: in none.
    pub(super) fn last_turn(&self) -> Option<usize> {
        self.in_turn().last().map(|block| block.number as usize)
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
        let median = |block: &Block| {
            let round_trip = metrics::sample(MetricName::RoundTrip, &[&block.rounds])?;
            Some((block.number, round_trip.quantile(Quantile::P50)))
        };
        self.in_turn().iter().filter(|block| is_never_quiet || block.is_quiet()).filter_map(median).collect()
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
        let of_events = by_source.into_iter().flat_map(|traced| {
            let boots = boots(traced.blocks.iter(), drift);
            traced
                .of_events
                .iter()
                .map(move |(&metric, values)| (metric, order::Sample::new(values.clone()), boots.clone()))
        });
        let counted = self.counted();
        let boots = boots(counted.iter().copied(), drift);
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
                .map(|(metric, sample)| (metric, sample, boots.clone(), of_stamps))
                .chain(of_events.filter_map(|(metric, sample, boots)| Some((metric, sample?, boots, clock))))
                .map(|(metric, sample, boots, clock)| {
                    (metric, metric.to_document(&sample, &boots, khz, metric.clock_error(clock.error_ns, worker)))
                })
                .collect(),
            blocks: self.blocks.iter().map(|block| documents::block(block, khz)).collect(),
            never_quiet: self.is_never_quiet(),
        })
    }
}

/// Whether these quiet blocks are enough for results, of those that were asked for: for an interval, if those would be.
fn are_enough<'b>(quiet: impl Iterator<Item = &'b Block>, asked: impl Iterator<Item = &'b Block>) -> bool {
    let quiet: Vec<u32> = quiet.map(|block| block.boot).collect();
    let asked: Vec<u32> = asked.map(|block| block.boot).collect();
    let distinct = |boots: &[u32]| boots.iter().collect::<BTreeSet<_>>().len();
    quiet.len() >= asked.len().min(MIN_BOOTS) && distinct(&quiet) >= distinct(&asked).min(MIN_BOOTS)
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
        if !are_enough(self.blocks.iter(), self.blocks.iter().chain(disturbed.values())) {
            self.never_quiet = true;
            for block in disturbed.into_values() {
                self.count(block, route);
            }
        }
    }

    fn count(&mut self, mut block: Block, route: Route) {
        self.ways.add(Ways::of(&block, routes::of(route).sends_from_guest()));
        let place = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        for (metric, observation) in metrics::of_events(&block.rounds, place) {
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
fn boots<'b>(blocks: impl Iterator<Item = &'b Block>, drift: &Drift) -> Boots {
    Boots { of_block: blocks.map(|block| block.boot).collect(), drift: drift.clone() }
}

/// Where pairs of blocks come from, by their turn: the boot of the first of these blocks. What the host's drift does to both
/// blocks of a pair leaves their ratio alone.
fn boots_of_turns(blocks: &[&Block]) -> Boots {
    let mut of_turn = BTreeMap::new();
    for block in blocks {
        of_turn.entry(block.number).or_insert(block.boot);
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
    // The blocks of one turn are a pair, and so is what was measured in place of them; where disturbed blocks count, a turn has
    // all of its blocks.
    let round_trips = |blocks: &[&Block]| {
        let by_turn = blocks.iter().map(|block| (block.number, block.rounds.as_slice()));
        metrics::numbered_sample(MetricName::RoundTrip, by_turn)
    };
    let p50 = |sample: &order::Sample| metrics::nanoseconds(sample.quantile(Quantile::P50), khz);
    let counted = cell.counted();
    let off = round_trips(&counted);
    let boots = boots_of_turns(&counted);
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
