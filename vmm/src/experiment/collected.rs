//! What is collected of a cell while it is measured, and which of it counts.

use super::described_call::choose;
use super::kept::{Keeping, Portion, Portions, Totals};
use super::traced::Traced;
use crate::config::{self, CellId, Config, MIN_BOOTS, Observe, routes};
use crate::events::recording::Recording;
use crate::events::samples::{Block, Round};
use crate::results::block;
use crate::results::integrity::Integrity;
use crate::results::metric::MetricName;
use crate::results::source::Source;
use crate::statistics::digest::Precision;
use crate::statistics::{documents, metrics};
use std::collections::BTreeSet;

/// Blocks of a cell with a call that was given up, after which the cell is.
const MOST_SILENCES: usize = 3;

/// What is collected of a cell.
pub(super) struct Collected {
    pub(super) id: CellId,
    /// Nobody has asked for it: others are divided by it.
    pub(super) is_beside: bool,
    keeping: Keeping,
    /// How many targets a call has.
    targets: usize,
    /// All blocks that the metrics are of, disturbed or not, with their metrics in cycles.
    pub(super) blocks: Vec<block::Block>,
    /// What is kept of these blocks' rounds.
    portions: Portions,
    /// Of the blocks that nothing disturbed, and of the others.
    quiet: Totals,
    disturbed: Totals,
    /// Rounds that may be shown, and whether nothing disturbed them.
    shown: Vec<(Round, bool)>,
    /// What went wrong in these blocks.
    integrity: Integrity,
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
            keeping: Keeping::default(),
            targets: config::targets(&id),
            blocks: Vec::new(),
            portions: Portions::default(),
            quiet: Totals::new(Precision::Exact),
            disturbed: Totals::new(Precision::Exact),
            shown: Vec::new(),
            integrity: Integrity::default(),
            again: 0,
            traced: traced.collect(),
            by_initiator: Vec::new(),
            elsewhere: Integrity::default(),
            silences: Vec::new(),
            failed: None,
        }
    }

    /// Before the first of its blocks.
    pub(super) fn keep_as(&mut self, keeping: Keeping) {
        self.keeping = keeping;
        [self.quiet, self.disturbed] = [(); 2].map(|()| Totals::new(keeping.precision));
        self.traced.iter_mut().for_each(|traced| traced.keep_as(keeping));
    }

    /// How the values of its metrics are kept.
    pub(super) fn precision(&self) -> Precision {
        self.keeping.precision
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
    pub(super) fn add(&mut self, kind: usize, block: &Block) {
        match kind.checked_sub(1) {
            Some(index) => self.traced[index].add(block, self.id.route),
            None => self.add_block(block),
        }
    }

    fn add_block(&mut self, block: &Block) {
        let samples = metrics::collect(&[&block.rounds]);
        self.integrity.add(block.integrity);
        self.portions.add(block, &samples, self.keeping);
        let totals = if block.is_quiet() { &mut self.quiet } else { &mut self.disturbed };
        totals.add(block, self.id.route);
        if self.keeping.has_pictures {
            let rounds: Vec<&Round> = block.rounds.iter().collect();
            let all = || (0..rounds.len()).collect();
            let shown: Vec<usize> = match self.keeping.precision {
                Precision::Exact => all(),
                Precision::Buckets => choose(&rounds).into_iter().map(|(_, number)| number).collect(),
            };
            self.shown.extend(shown.into_iter().map(|number| (rounds[number].clone(), block.is_quiet())));
        }
        self.blocks.push(documents::block_in_cycles(block, &samples, self.targets));
    }

    /// Adds what was measured in place of a disturbed block.
    pub(super) fn add_again(&mut self, kind: usize, block: &Block) {
        self.again += usize::from(kind == 0);
        self.add(kind, block);
    }

    /// Nothing is measured again any more: what was disturbed counts where there is too little else.
    pub(super) fn close(&mut self) {
        self.traced.iter_mut().for_each(Traced::close);
    }

    /// Whether so few of its blocks were quiet that the results are made of all of them.
    pub(super) fn is_never_quiet(&self) -> bool {
        let quiet = self.blocks.iter().filter(|block| block.disturbances.is_empty()).map(|block| block.boot);
        let in_turn = self.in_turn().iter().map(|block| block.boot);
        !are_enough(quiet, in_turn)
    }

    /// The blocks that were not measured in place of another one.
    fn in_turn(&self) -> &[block::Block] {
        &self.blocks[..self.blocks.len() - self.again]
    }

    /// The number of the last turn that it was measured in; `None`: in none.
    pub(super) fn last_turn(&self) -> Option<usize> {
        self.in_turn().last().map(|block| block.number as usize)
    }

    /// What is kept of the blocks that nothing disturbed.
    pub(super) fn quiet_portions(&self) -> impl Iterator<Item = &Portion> {
        self.portions.iter().filter(|portion| portion.is_quiet)
    }

    /// What is kept of the blocks that the results are made of: those that nothing disturbed, where there are enough.
    pub(super) fn counted(&self) -> Vec<&Portion> {
        let is_never_quiet = self.is_never_quiet();
        self.portions.iter().filter(|portion| is_never_quiet || portion.is_quiet).collect()
    }

    /// What the same blocks have together.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::new(self.keeping.precision);
        totals.merge(&self.quiet);
        if self.is_never_quiet() {
            totals.merge(&self.disturbed);
        }
        totals
    }

    /// Rounds of the same blocks that may be shown.
    pub(super) fn shown(&self) -> Vec<&Round> {
        let is_never_quiet = self.is_never_quiet();
        self.shown.iter().filter(|(_, is_quiet)| is_never_quiet || *is_quiet).map(|(round, _)| round).collect()
    }

    /// Rounds of all blocks that do not count, because a target was not in its state.
    pub(super) fn not_in_state(&self) -> u64 {
        self.quiet.not_in_state + self.disturbed.not_in_state
    }

    /// What went wrong in all of its calls.
    pub(super) fn integrity(&self) -> Integrity {
        let mut integrity = self.elsewhere;
        integrity.add(self.integrity);
        self.by_initiator.iter().for_each(|(_, block)| integrity.add(block.integrity));
        self.traced.iter().for_each(|traced| integrity.add(traced.integrity));
        integrity
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
        let median = |block: &block::Block| Some((block.number, block.metrics.get(&MetricName::RoundTrip)?.p50));
        let counted = self.in_turn().iter().filter(|block| is_never_quiet || block.disturbances.is_empty());
        counted.filter_map(median).collect()
    }
}

/// The sources of events that are tried on a cell.
pub(super) fn sources<'c>(config: &'c Config, cell: &CellId) -> &'c [(Source, Option<String>)] {
    let is_traced = cell.observe == Observe::Guest && !routes::of(cell.route).is_native();
    if is_traced { &config.trace } else { &[] }
}

/// Whether quiet blocks, of these boots, are enough for results, of those that were asked for: for an interval, if those would be.
pub(super) fn are_enough(quiet: impl Iterator<Item = u32>, asked: impl Iterator<Item = u32>) -> bool {
    let quiet: Vec<u32> = quiet.collect();
    let asked: Vec<u32> = asked.collect();
    let distinct = |boots: &[u32]| boots.iter().collect::<BTreeSet<_>>().len();
    quiet.len() >= asked.len().min(MIN_BOOTS) && distinct(&quiet) >= distinct(&asked).min(MIN_BOOTS)
}
