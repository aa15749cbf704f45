//! What is measured in every turn beside the cells, a few rounds of each: how the host drifts shows in it, whatever the cells
//! are, and can be divided out.

use super::instruments::frequency;
use super::machine::{self, Machine};
use super::machines::Machines;
use crate::config::{CellId, Config, MachineSpec, routes};
use crate::events::recording::Recording;
use crate::events::samples::Block;
use crate::guest::blocks::BlockSpec;
use crate::results::metric::MetricName;
use crate::results::reference::{Reference, ReferenceBlock};
use crate::statistics::documents;
use crate::statistics::metrics;
use crate::statistics::order::Quantile;
use guest_stub::abi::Worker;

/// Rounds of a reference cell in each turn, and before them.
const ROUNDS: usize = 3;
const WARMUP: usize = 1;
/// Exits in each turn.
const EXITS: usize = 20;

/// A reference, and what its turns have brought.
pub(super) struct Referred {
    /// The cell; `None`: an exit of vCPU 0, of the machine of the first cell that has a virtual one.
    cell: Option<CellId>,
    /// Whose machine it is measured on.
    machine: CellId,
    blocks: Vec<ReferenceBlock>,
    is_given_up: bool,
}

/// The references that a configuration asks for beside `cells`.
pub(super) fn all(config: &Config, cells: &[CellId]) -> Vec<Referred> {
    let Some(references) = &config.references else { return Vec::new() };
    let new = |cell, machine| Referred { cell, machine, blocks: Vec::new(), is_given_up: false };
    let exits = cells.iter().find(|cell| !routes::of(cell.route).is_native()).map(|&first| new(None, first));
    references.iter().map(|&cell| new(Some(cell), cell)).chain(exits).collect()
}

impl Referred {
    /// Measures it in turn `number`. A call that is given up ends it, and its machine.
    pub(super) fn measure<M: Machine, B: FnMut(MachineSpec) -> Result<M, machine::Error>>(
        &mut self,
        machines: &mut Machines<M, B>,
        number: u32,
    ) -> Result<(), machine::Error> {
        if self.is_given_up {
            return Ok(());
        }
        let machine = machines.get(&self.machine)?;
        let khz = frequency(machine.tsc_khz());
        let measured = match self.cell {
            Some(cell) => machine.run_block(&spec(cell)).map(|block| {
                let p50_ns = metrics::nanoseconds(median(&block)?, khz);
                Some((block.rounds.len() as u64, p50_ns, block.disturbances))
            }),
            None => machine.calibrate(EXITS).map(|calibration| {
                let spread = documents::spread(&calibration.exit_round_trip, khz)?;
                Some((spread.n, spread.p50, Vec::new()))
            }),
        };
        match measured {
            Ok(values) => {
                let boot = machines.boot_number(&self.machine);
                self.blocks.extend(values.map(|(n, p50_ns, disturbances)| ReferenceBlock {
                    number,
                    boot,
                    n,
                    p50_ns,
                    disturbances,
                }));
                Ok(())
            }
            Err(machine::Error::GivenUp(_)) => {
                machines.discard(&self.machine);
                self.is_given_up = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The medians of what nothing disturbed, with their turns.
    pub(super) fn medians(&self) -> Vec<(u32, f64)> {
        let quiet = self.blocks.iter().filter(|block| block.disturbances.is_empty());
        quiet.map(|block| (block.number, block.p50_ns)).collect()
    }

    pub(super) fn into_document(self) -> Reference {
        Reference { cell: self.cell, blocks: self.blocks }
    }
}

fn spec(cell: CellId) -> BlockSpec {
    BlockSpec {
        cell,
        initiator: 0,
        worker: Worker::Stamp,
        argument: 0,
        recording: Recording::COUNTS,
        warmup: WARMUP,
        rounds: ROUNDS,
    }
}

/// The median round trip, in cycles.
fn median(block: &Block) -> Option<f64> {
    Some(metrics::sample(MetricName::RoundTrip, &[&block.rounds])?.quantile(Quantile::P50))
}
