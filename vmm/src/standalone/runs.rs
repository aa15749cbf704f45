//! Runs: boots of one image that measure the same on the same machine.

use super::boot::{Boot, End, Plan, Tsc};
use crate::config::CellId;
use crate::events::recording::Recording;
use crate::guest::blocks::BlockSpec;
use crate::guest::recorded;
use crate::guest::session::Limits;
use crate::results::measurement::Skipped;
use std::collections::BTreeSet;

/// A run: one boot or more.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedRun {
    /// In their order. There is at least one.
    boots: Vec<Boot>,
    /// The log's last boot, if it would be one of them, and was cut off where the log ends.
    cut_off: Option<Boot>,
}

/// The runs of a log's boots, in the order of their first ones. Whoever boots a machine again and again stops it in the middle of a
/// boot: the last one, cut off after others of its run have come to their end, is no part of that.
pub fn of(boots: Vec<Boot>) -> Vec<RecordedRun> {
    let mut runs: Vec<RecordedRun> = Vec::new();
    let last = boots.len().saturating_sub(1);
    for (number, boot) in boots.into_iter().enumerate() {
        // Each boot may lack cells that others have.
        let has_it = |run: &RecordedRun| run.boots.iter().all(|other| other.is_of_same_run(&boot));
        match runs.iter_mut().find(|run| has_it(run)) {
            Some(run) if number == last && run.can_lack(&boot) => run.cut_off = Some(boot),
            Some(run) => run.boots.push(boot),
            None => runs.push(RecordedRun { boots: vec![boot], cut_off: None }),
        }
    }
    runs
}

impl RecordedRun {
    /// Whether a boot that follows these was cut off with nothing wrong until then, and is not needed.
    fn can_lack(&self, boot: &Boot) -> bool {
        let was_said = |text: &String| self.boots.iter().any(|other| other.texts.contains(text));
        boot.end == End::Unknown
            && self.boots.iter().any(|other| other.end == End::Complete)
            && boot.texts.iter().all(was_said)
            && is_clean(boot)
    }

    /// The log's last boot, if it was cut off and is no part of this run for that reason alone.
    pub fn cut_off(&self) -> Option<&Boot> {
        self.cut_off.as_ref()
    }

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

/// Whether no call of a boot's whole blocks went wrong.
fn is_clean(boot: &Boot) -> bool {
    let Plan { warmup, worker, argument, deadline, settle, .. } = boot.plan;
    let limits = Limits { deadline, settle };
    boot.blocks.iter().all(|(&(cell, _), block)| {
        let spec = BlockSpec { cell, initiator: 0, worker, argument, recording: Recording::NOTHING, warmup, rounds: 0 };
        let assessed = recorded::assess(&spec, &block.block, limits, boot.platform.x2apic);
        assessed.is_ok_and(|block| block.integrity.is_clean())
    })
}

#[cfg(test)]
mod tests;
