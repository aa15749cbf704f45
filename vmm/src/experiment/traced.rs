//! The blocks of a cell that a source of events has recorded, and what is counted of them.

use super::collected::{are_enough, boots};
use super::described_call::choose;
use crate::config::routes::{self, Route};
use crate::events::samples::{Block, Round};
use crate::results::disturbance::Disturbance;
use crate::results::integrity::Integrity;
use crate::results::metric::MetricName;
use crate::results::source::Source;
use crate::statistics::breakdown::Ways;
use crate::statistics::halts::ByRegime;
use crate::statistics::metrics;
use crate::statistics::order::Observation;
use crate::statistics::parts::Parts;
use std::collections::BTreeMap;

/// What one source has recorded of a cell. The events themselves are not kept.
pub(super) struct Traced {
    pub(super) source: Source,
    pub(super) blocks: Vec<Block>,
    /// What went wrong in all blocks, those included that do not count.
    pub(super) integrity: Integrity,
    /// Blocks that were disturbed, by number, as long as they may be measured again.
    disturbed: BTreeMap<u32, Block>,
    /// What disturbed each of its blocks, those that do not count included.
    pub(super) disturbances: Vec<Vec<Disturbance>>,
    /// So few blocks were quiet that disturbed ones count, too.
    pub(super) never_quiet: bool,
    pub(super) ways: Ways,
    pub(super) parts: Parts,
    pub(super) of_events: BTreeMap<MetricName, Vec<Observation>>,
    /// How the targets were woken, by the kernel's events.
    pub(super) by_regime: ByRegime,
    /// Of each block, the rounds of the median and of the largest round trip, with their events.
    pub(super) shown: Vec<Round>,
}

impl Traced {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            blocks: Vec::new(),
            integrity: Integrity::default(),
            disturbed: BTreeMap::new(),
            disturbances: Vec::new(),
            never_quiet: false,
            ways: Ways::default(),
            parts: Parts::default(),
            of_events: BTreeMap::new(),
            by_regime: ByRegime::default(),
            shown: Vec::new(),
        }
    }

    /// A disturbed block waits until it is known whether there is a better one.
    pub(super) fn add(&mut self, block: Block, route: Route) {
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
    pub(super) fn close(&mut self, route: Route) {
        let disturbed = std::mem::take(&mut self.disturbed);
        if !are_enough(boots(self.blocks.iter()), boots(self.blocks.iter().chain(disturbed.values()))) {
            self.never_quiet = true;
            for block in disturbed.into_values() {
                self.count(block, route);
            }
        }
    }

    fn count(&mut self, mut block: Block, route: Route) {
        let route = routes::of(route);
        self.ways.add(Ways::of(&block, route.sends_from_guest()));
        self.parts.add(&block);
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
