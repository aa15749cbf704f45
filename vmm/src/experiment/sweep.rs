//! Delivery from several initiators.

use super::Error;
use super::machine::{self, Machine};
use super::run::{Ran, Run};
use crate::config::{self, CellId, MachineSpec, Observe, routes};
use crate::events::recording::Recording;
use crate::guest::blocks::BlockSpec;

impl<M: Machine, B: FnMut(MachineSpec) -> Result<M, machine::Error>> Run<'_, '_, M, B> {
    /// Runs a few rounds of each cell of the guest's vantage from several initiators, the cells in turn.
    pub(super) fn sweep(&mut self) -> Result<(), Error> {
        const ROUNDS: usize = 20;
        // Where everybody calls at once, there is nothing to choose.
        let has_choice = |cell: &CellId| !routes::of(cell.route).is_host() && config::at_once(cell) == 1;
        let is_swept = |cell: &CellId| cell.observe == Observe::Guest && has_choice(cell);
        let swept = (0..self.cells.len()).filter(|&cell| is_swept(&self.cells[cell].id));
        let swept: Vec<_> = swept.map(|cell| (cell, config::initiators(self.cells[cell].id.vcpus))).collect();
        let total = swept.iter().map(|(_, initiators)| initiators.len()).sum();
        let mut done = 0;
        for turn in 0..swept.iter().map(|(_, initiators)| initiators.len()).max().unwrap_or(0) {
            for (cell, initiators) in &swept {
                let Some(&initiator) = initiators.get(turn) else { continue };
                (self.observer.progress)(done, total, &self.cells[*cell].id);
                let rounds = self.config.rounds.min(ROUNDS);
                let spec = self.config_block(*cell, Recording::COUNTS, self.config.warmup, rounds);
                let spec = BlockSpec { initiator, ..spec };
                let mut ran = self.run_block(*cell, &spec)?;
                if let Ran::Whole(block) = &ran
                    && !block.is_quiet()
                {
                    self.cells[*cell].elsewhere.add(block.integrity);
                    ran = self.run_block(*cell, &spec)?;
                }
                if let Ran::Whole(block) | Ran::Cut(block) = ran {
                    self.cells[*cell].by_initiator.push((initiator, block));
                }
                done += 1;
            }
        }
        Ok(())
    }
}
