//! What is collected of a cell while it is measured, and which of it counts.

use super::traced::Traced;
use crate::config::routes;
use crate::config::{CellId, Config, MIN_BOOTS, Observe};
use crate::events::recording::Recording;
use crate::events::samples::Block;
use crate::results::integrity::Integrity;
use crate::results::metric::MetricName;
use crate::results::source::Source;
use crate::statistics::metrics;
use crate::statistics::order::Quantile;
use std::collections::BTreeSet;

/// Blocks of a cell with a call that was given up, after which the cell is.
const MOST_SILENCES: usize = 3;

/// What is collected of a cell.
pub(super) struct Collected {
    pub(super) id: CellId,
    /// Nobody has asked for it: others are divided by it.
    pub(super) is_beside: bool,
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
    /// Why it is measured no more, where the others are all the same.
    pub(super) failed: Option<String>,
}

impl Collected {
    pub(super) fn new(id: CellId, config: &Config) -> Self {
        let traced = sources(config, &id)
            .iter()
            .filter(|(_, refused)| refused.is_none())
            .map(|&(source, _)| Traced::new(source));
        Self {
            id,
            is_beside: config.beside.contains(&id),
            blocks: Vec::new(),
            again: 0,
            traced: traced.collect(),
            by_initiator: Vec::new(),
            elsewhere: Integrity::default(),
            silences: Vec::new(),
            failed: None,
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
        let quiet = self.blocks.iter().filter(|block| block.is_quiet());
        !are_enough(boots(quiet), boots(self.in_turn().iter()))
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

    /// Whether no more of its calls are made: it has failed, or so many were given up, each of which takes its deadline and a
    /// fresh machine.
    pub(super) fn is_given_up(&self) -> bool {
        self.failed.is_some() || self.silences.len() >= MOST_SILENCES
    }

    /// Whether the host stamps its calls, too.
    pub(super) fn has_host_stamps(&self) -> bool {
        routes::of(self.id.route).is_host() || self.id.observe == Observe::Exits
    }

    /// Whether some of its calls were recorded with events, which the host stamps.
    pub(super) fn has_events(&self) -> bool {
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
}

/// The sources of events that are tried on a cell.
pub(super) fn sources<'c>(config: &'c Config, cell: &CellId) -> &'c [(Source, Option<String>)] {
    let is_traced = cell.observe == Observe::Guest && !routes::of(cell.route).is_native();
    if is_traced { &config.trace } else { &[] }
}

/// The boots of these blocks.
pub(super) fn boots<'b>(blocks: impl Iterator<Item = &'b Block>) -> impl Iterator<Item = u32> {
    blocks.map(|block| block.boot)
}

/// Whether quiet blocks, of these boots, are enough for results, of those that were asked for: for an interval, if those would be.
pub(super) fn are_enough(quiet: impl Iterator<Item = u32>, asked: impl Iterator<Item = u32>) -> bool {
    let quiet: Vec<u32> = quiet.collect();
    let asked: Vec<u32> = asked.collect();
    let distinct = |boots: &[u32]| boots.iter().collect::<BTreeSet<_>>().len();
    quiet.len() >= asked.len().min(MIN_BOOTS) && distinct(&quiet) >= distinct(&asked).min(MIN_BOOTS)
}
