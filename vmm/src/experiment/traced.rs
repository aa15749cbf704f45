//! The blocks of a cell that a source of events has recorded, and what is counted of them.

use super::collected::are_enough;
use super::described_call::choose;
use super::kept::{Keeping, Portion, Portions, Totals};
use crate::config::routes::Route;
use crate::events::samples::{Block, Round};
use crate::results::disturbance::Disturbance;
use crate::results::integrity::Integrity;
use crate::results::source::Source;
use crate::statistics::halts::ByRegime;
use crate::statistics::metrics;
use crate::statistics::parts::Parts;
use std::collections::BTreeMap;

/// What one source has recorded of a cell. The events themselves are not kept.
pub(super) struct Traced {
    pub(super) source: Source,
    keeping: Keeping,
    pub(super) counted: Counted,
    /// What went wrong in all blocks, those included that do not count.
    pub(super) integrity: Integrity,
    /// Blocks that were disturbed, by turn, as long as they may be measured again.
    disturbed: BTreeMap<u32, Counted>,
    /// What disturbed each of its blocks, those that do not count included.
    pub(super) disturbances: Vec<Vec<Disturbance>>,
    /// So few blocks were quiet that disturbed ones count, too.
    pub(super) never_quiet: bool,
}

/// What is kept of blocks with events.
pub(super) struct Counted {
    /// The boot of each block.
    boots: Vec<u32>,
    portions: Portions,
    pub(super) totals: Totals,
    pub(super) parts: Parts,
    /// How the targets were woken, by the kernel's events.
    pub(super) by_regime: ByRegime,
    /// Events and stays that found no room.
    pub(super) lost: u64,
    /// Of each block, the rounds of the median and of the largest round trip, with their events, if they are to be shown.
    pub(super) shown: Vec<Round>,
}

impl Counted {
    fn new(keeping: Keeping) -> Self {
        Self {
            boots: Vec::new(),
            portions: Portions::default(),
            totals: Totals::new(keeping.precision),
            parts: Parts::default(),
            by_regime: ByRegime::new(keeping.precision),
            lost: 0,
            shown: Vec::new(),
        }
    }

    pub(super) fn portions(&self) -> Vec<&Portion> {
        self.portions.iter().collect()
    }

    fn add(&mut self, block: &Block, route: Route, keeping: Keeping) {
        self.boots.push(block.boot);
        self.portions.add(block, &metrics::collect(&[&block.rounds]), keeping);
        self.totals.add(block, route);
        self.parts.add(block);
        if block.recording.kernel {
            self.by_regime.add_rounds(&block.rounds);
        }
        self.lost += block.lost + block.dropped;
        if keeping.has_pictures {
            let rounds: Vec<&Round> = block.rounds.iter().collect();
            self.shown.extend(choose(&rounds).into_iter().map(|(_, number)| rounds[number].clone()));
        }
    }

    fn append(&mut self, other: Self) {
        self.boots.extend(other.boots);
        self.portions.append(other.portions);
        self.totals.merge(&other.totals);
        self.parts.merge(&other.parts);
        self.by_regime.merge(&other.by_regime);
        self.lost += other.lost;
        self.shown.extend(other.shown);
    }
}

impl Traced {
    pub(super) fn new(source: Source) -> Self {
        let keeping = Keeping::default();
        Self {
            source,
            keeping,
            counted: Counted::new(keeping),
            integrity: Integrity::default(),
            disturbed: BTreeMap::new(),
            disturbances: Vec::new(),
            never_quiet: false,
        }
    }

    /// Before the first of its blocks.
    pub(super) fn keep_as(&mut self, keeping: Keeping) {
        (self.keeping, self.counted) = (keeping, Counted::new(keeping));
    }

    /// A disturbed block waits until it is known whether there is a better one; where blocks are joined, none takes its place.
    pub(super) fn add(&mut self, block: &Block, route: Route) {
        let keeping = self.keeping;
        let turn = keeping.turn_of(block.number);
        self.integrity.add(block.integrity);
        self.disturbances.push(block.disturbances.clone());
        if !keeping.joins_blocks() {
            self.disturbed.remove(&turn);
        }
        let counted = if block.is_quiet() {
            &mut self.counted
        } else {
            self.disturbed.entry(turn).or_insert_with(|| Counted::new(keeping))
        };
        counted.add(block, route, keeping);
    }

    /// What was disturbed counts if there is too little else.
    pub(super) fn close(&mut self) {
        let disturbed = std::mem::take(&mut self.disturbed);
        let quiet = self.counted.boots.iter().copied();
        if !are_enough(quiet.clone(), quiet.chain(disturbed.values().flat_map(|it| it.boots.iter().copied()))) {
            self.never_quiet = true;
            for counted in disturbed.into_values() {
                self.counted.append(counted);
            }
        }
    }
}
