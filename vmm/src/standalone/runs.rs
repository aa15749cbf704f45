//! Runs: boots of one image that measure the same on the same machine.

use super::boot::{Boot, Tsc};
use crate::config::CellId;
use crate::results::measurement::Skipped;
use std::collections::BTreeSet;

/// A run: one boot or more.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedRun {
    /// In their order. There is at least one.
    boots: Vec<Boot>,
}

/// The runs of these boots, in the order of their first ones.
pub fn of(boots: Vec<Boot>) -> Vec<RecordedRun> {
    let mut runs: Vec<RecordedRun> = Vec::new();
    for boot in boots {
        // Each boot may lack cells that others have.
        let has_it = |run: &RecordedRun| run.boots.iter().all(|other| other.is_of_same_run(&boot));
        match runs.iter_mut().find(|run| has_it(run)) {
            Some(run) => run.boots.push(boot),
            None => runs.push(RecordedRun { boots: vec![boot] }),
        }
    }
    runs
}

impl RecordedRun {
    /// The boots.
    pub fn boots(&self) -> &[Boot] {
        &self.boots
    }

    /// The first one, whose image, platform and plan are those of all.
    pub fn first(&self) -> &Boot {
        &self.boots[0]
    }

    /// The cells, in the order of their numbers.
    pub fn cells(&self) -> Vec<CellId> {
        let of_boot = |boot: &Boot| boot.cells.iter().map(|(&number, &cell)| (number, cell)).collect::<Vec<_>>();
        let numbered: BTreeSet<(u32, CellId)> = self.boots.iter().flat_map(of_boot).collect();
        let mut seen = BTreeSet::new();
        numbered.into_iter().map(|(_, cell)| cell).filter(|&cell| seen.insert(cell)).collect()
    }

    /// What was asked for and was not measured, each once.
    pub fn skipped(&self) -> Vec<Skipped> {
        let mut seen = BTreeSet::new();
        let all = self.boots.iter().flat_map(|boot| &boot.skipped);
        all.filter(|it| seen.insert((it.id, &it.reason))).cloned().collect()
    }

    /// The turns that some boot has a block of. Those that all boots lack are not waited for.
    pub fn turns(&self) -> Vec<u32> {
        let turns: BTreeSet<u32> =
            self.boots.iter().flat_map(|boot| boot.blocks.keys()).map(|&(_, turn)| turn).collect();
        turns.into_iter().collect()
    }

    /// The frequency that is known best: all boots have the same counter.
    pub fn tsc(&self) -> &Tsc {
        self.boots.iter().map(|boot| &boot.tsc).min_by_key(|tsc| tsc.error_ppm).unwrap_or(&self.first().tsc)
    }

    /// Whole blocks.
    pub fn blocks(&self) -> usize {
        self.boots.iter().map(|boot| boot.blocks.len()).sum()
    }
}

#[cfg(test)]
mod tests;
