//! What is kept of blocks that are done: what statistics need of their rounds, in room that depends on the blocks and not on the rounds.

use crate::config::{
    self,
    routes::{self, Route},
};
use crate::events::samples::{Block, CpuTime};
use crate::results::metric::MetricName;
use crate::statistics::breakdown::Ways;
use crate::statistics::digest::{Digest, Precision};
use crate::statistics::exits::ExitTotals;
use crate::statistics::halts::ByRegime;
use crate::statistics::metrics::{self, Deliveries};
use crate::statistics::order::Sample;
use std::collections::BTreeMap;

/// How the blocks of a run are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Keeping {
    pub(super) precision: Precision,
    /// How many blocks a cell has, and how many portions they are taken for; `None`: each is one.
    portions: Option<(usize, usize)>,
    /// Whether some of the calls are to be shown.
    pub(super) has_pictures: bool,
}

impl Keeping {
    /// What is right for cells of so many rounds, in so many blocks, which so many boots share.
    pub(super) fn of(rounds: usize, blocks: usize, boots: usize, has_pictures: bool) -> Self {
        /// As many as there are blocks where a block has room for all rounds, at least: two of a boot.
        const FEWEST: usize = 50;
        let precision = Precision::of(rounds);
        let portions = boots * FEWEST.div_ceil(boots.max(1)).max(2);
        let is_divided = precision == Precision::Buckets && blocks > portions;
        Self { precision, portions: is_divided.then_some((blocks, portions)), has_pictures }
    }

    /// Which portion a block of this number is of.
    pub(super) fn turn_of(&self, number: u32) -> u32 {
        let Some((blocks, portions)) = self.portions else { return number };
        u32::try_from(config::boot_of(number as usize, blocks, portions)).unwrap_or(u32::MAX)
    }

    /// Whether portions are of several blocks.
    pub(super) fn joins_blocks(&self) -> bool {
        self.portions.is_some()
    }
}

/// Blocks that statistics take for one: a single block, or of very many, neighbours of one boot that are all quiet, or all disturbed.
pub(super) struct Portion {
    /// Those of other cells that have the same turn were measured next to it.
    pub(super) turn: u32,
    pub(super) boot: u32,
    pub(super) is_quiet: bool,
    /// Whether one of its rounds counts.
    pub(super) has_rounds: bool,
    /// All metrics but deliveries.
    of_metrics: BTreeMap<MetricName, Digest>,
    pub(super) deliveries: Deliveries,
    /// What each of its blocks had of the host's CPUs.
    pub(super) cpu: Vec<CpuTime>,
}

impl Portion {
    fn of(&self, metric: MetricName) -> impl Iterator<Item = &Digest> {
        let deliveries = (metric == MetricName::Delivery).then(|| self.deliveries.values());
        self.of_metrics.get(&metric).into_iter().chain(deliveries.into_iter().flatten())
    }
}

/// All values of a metric that portions have, each portion with its number; `None`: there are none.
pub(super) fn sample<'p>(metric: MetricName, portions: impl Iterator<Item = (u32, &'p Portion)>) -> Option<Sample> {
    Digest::sample(portions.flat_map(|(number, portion)| portion.of(metric).map(move |digest| (number, digest))))
}

/// As [`sample`], the portions told apart by their turns.
pub(super) fn sample_by_turn(metric: MetricName, portions: &[&Portion]) -> Option<Sample> {
    sample(metric, portions.iter().map(|portion| (portion.turn, *portion)))
}

/// What blocks had of the host's CPUs, by the numbers of their portions.
pub(super) fn cpu_times<'p>(
    portions: impl Iterator<Item = (u32, &'p Portion)>,
) -> impl Iterator<Item = (u32, CpuTime)> {
    portions.flat_map(|(number, portion)| portion.cpu.iter().map(move |&cpu| (number, cpu)))
}

/// Portions in the order of their first blocks.
#[derive(Default)]
pub(super) struct Portions(Vec<Portion>);

impl Portions {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Portion> {
        self.0.iter()
    }

    /// Adds a block that has these samples.
    pub(super) fn add(&mut self, block: &Block, samples: &BTreeMap<MetricName, Sample>, keeping: Keeping) {
        let (turn, boot, is_quiet) = (keeping.turn_of(block.number), block.boot, block.is_quiet());
        let is_same = |it: &Portion| (it.turn, it.boot, it.is_quiet) == (turn, boot, is_quiet);
        let found = self.0.iter().rposition(is_same).filter(|_| keeping.joins_blocks());
        let place = found.unwrap_or_else(|| {
            self.0.push(Portion {
                turn,
                boot,
                is_quiet,
                has_rounds: false,
                of_metrics: BTreeMap::new(),
                deliveries: Deliveries::new(),
                cpu: Vec::new(),
            });
            self.0.len() - 1
        });
        let portion = &mut self.0[place];
        portion.has_rounds |= !block.rounds.is_empty();
        for (&metric, sample) in samples.iter().filter(|(metric, _)| **metric != MetricName::Delivery) {
            let digest = portion.of_metrics.entry(metric).or_insert_with(|| Digest::new(keeping.precision));
            digest.add(sample.values().map(|(value, _)| value));
        }
        metrics::add_deliveries(&mut portion.deliveries, &block.rounds, keeping.precision);
        portion.cpu.extend(block.cpu);
    }

    /// Adds other blocks' behind its own.
    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

/// What is summed up over blocks.
pub(super) struct Totals {
    pub(super) exits: ExitTotals,
    pub(super) ways: Ways,
    pub(super) by_regime: ByRegime,
    pub(super) not_in_state: u64,
    /// The shortest mean time of a round's workers, in cycles.
    pub(super) shortest_worker: Option<f64>,
}

impl Totals {
    /// Of no block.
    pub(super) fn new(precision: Precision) -> Self {
        Self {
            exits: ExitTotals::default(),
            ways: Ways::new(precision),
            by_regime: ByRegime::new(precision),
            not_in_state: 0,
            shortest_worker: None,
        }
    }

    /// Adds a block of a cell of this route.
    pub(super) fn add(&mut self, block: &Block, route: Route) {
        self.exits.add(block);
        self.ways.add(block, routes::of(route).sends_from_guest());
        self.by_regime.add_block(block);
        self.not_in_state += block.not_in_state;
        self.add_worker(metrics::shortest_worker(&block.rounds));
    }

    /// Adds other blocks'.
    pub(super) fn merge(&mut self, other: &Self) {
        self.exits.merge(&other.exits);
        self.ways.merge(&other.ways);
        self.by_regime.merge(&other.by_regime);
        self.not_in_state += other.not_in_state;
        self.add_worker(other.shortest_worker);
    }

    fn add_worker(&mut self, other: Option<f64>) {
        self.shortest_worker = self.shortest_worker.into_iter().chain(other).min_by(f64::total_cmp);
    }
}
