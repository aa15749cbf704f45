//! The straight line of a measurement: plan, machines, blocks in turn, statistics, document; and that of a [`trace`].

#![deny(clippy::wildcard_enum_match_arm)]

pub mod acceleration;
mod assess;
mod between_runs;
mod clock;
mod clock_partners;
mod collected;
mod described_call;
mod described_config;
mod described_event;
mod detail;
mod exit_costs;
mod instruments;
mod kept;
pub mod machine;
mod machines;
pub mod native;
mod pace;
mod pilot;
pub mod probe;
pub mod recorded;
mod references;
mod run;
mod sweep;
mod times_native;
pub mod trace;
mod traced;
pub mod under;
mod warnings;

use crate::config::{self, CellId, Config, MachineSpec};
use crate::events::samples::Block;
use crate::host;
use crate::results::detail::CellDetail;
use crate::results::host_cpu::HostCpu;
use crate::results::measurement::{Cell, IntervalScope, MEASUREMENT_SCHEMA, Measurement, Skipped};
use crate::results::quiet::Quiet;
use crate::statistics::drift::Drift;
use collected::Collected;
use described_config::{boots_of, describe, skipped};
use machine::Machine;
use machines::Machines;
use references::Referred;
use run::Run;
use std::io;
use std::time::Duration;
use times_native::{Divided, times_native};

/// Why a measurement ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Machine(#[from] machine::Error),
    /// Raw samples cannot be written.
    #[error(transparent)]
    Samples(#[from] io::Error),
}

/// Takes a block's raw samples: the cell, the block, and the frequency of the guest's TSC in kHz.
pub type RawSink<'a> = &'a mut dyn FnMut(&CellId, &Block, u64) -> io::Result<()>;

/// What follows a measurement while it runs.
pub struct Observer<'a> {
    /// Called before each block with the blocks done, their total, and the cell.
    pub progress: &'a mut dyn FnMut(usize, usize, &CellId),
    /// Where raw samples go.
    pub samples: Option<RawSink<'a>>,
    /// When the process started: for the time to the first broadcast.
    pub started: Option<&'a dyn Fn() -> Duration>,
    /// Where the details of the document's cells go, in their order.
    pub details: Option<&'a mut Vec<CellDetail>>,
    /// Called before disturbed blocks are measured again.
    pub repeats: Option<&'a mut dyn FnMut(&Repeats)>,
}

/// Disturbed blocks that are to be measured again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// How many they are.
    pub disturbed: usize,
    /// How many blocks there are.
    pub blocks: usize,
    /// How long it takes if they are quiet then.
    pub expected: Duration,
    /// How long it takes at most.
    pub limit: Duration,
}

/// Measures the cells and describes the result. An error ends the measurement; what was measured until then is in the
/// document all the same. A call that is given up is no error: its cell counts it, and goes on on a fresh machine.
///
/// Repetitions, if they are asked for, come afterwards. Of them, the document has the drift between runs, each run's quantiles,
/// and what went wrong or disturbed them. What single exits cost is of the first run alone.
pub fn run<M: Machine>(
    config: &Config,
    cells: &[CellId],
    refused: &[config::Refused],
    mut boot: impl FnMut(MachineSpec) -> Result<M, machine::Error>,
    observer: &mut Observer<'_>,
) -> (Measurement, Option<Error>) {
    // All of them have the time together.
    let runs = u32::try_from(config.repetitions).unwrap_or(u32::MAX).saturating_add(1);
    let first = Config { time: config.time.map(|time| time / runs), ..config.clone() };
    let (mut measurement, mut error) = run_once(&first, cells, refused, &mut boot, observer);
    let mut repetitions = Vec::new();
    let again = Config { exit_costs: false, ..first };
    while error.is_none() && repetitions.len() < config.repetitions {
        let progress = &mut *observer.progress;
        let mut observer = Observer { progress, samples: None, started: None, details: None, repeats: None };
        let (repetition, failure) = run_once(&again, cells, refused, &mut boot, &mut observer);
        error = failure;
        repetitions.push(repetition);
    }
    between_runs::add_faults(&mut measurement, &repetitions);
    match &error {
        None => between_runs::widen(&mut measurement, &repetitions),
        Some(error) => (measurement.partial, measurement.error) = (true, Some(error.to_string())),
    }
    (measurement, error)
}

fn run_once<M: Machine>(
    config: &Config,
    cells: &[CellId],
    refused: &[config::Refused],
    boot: impl FnMut(MachineSpec) -> Result<M, machine::Error>,
    observer: &mut Observer<'_>,
) -> (Measurement, Option<Error>) {
    let started = host::unix_time();
    let cells = cells.iter().map(|&cell| Collected::new(cell, config)).collect();
    let boots = config.boots.unwrap_or_else(|| config::boots(config.rounds));
    let mut run = Run::new(config, boots, cells, Machines::new(boot), observer);
    let outcome =
        run.start().and_then(|()| run.measure()).and_then(|()| if config.sweep { run.sweep() } else { Ok(()) });
    let error = outcome.err();
    let Run { boots, blocks, rounds, mut cells, references, priced, machines, observer, ended, .. } = run;
    let config = &Config { rounds, ..config.clone() };
    cells.iter_mut().for_each(Collected::close);
    if let Some(details) = &mut observer.details {
        let cells = cells.iter().filter(|cell| cell.is_measured());
        details.extend(cells.filter_map(|cell| Some(detail::detail(cell, machines.last(&cell.id)?))));
    }
    let medians = cells.iter().map(Collected::medians).chain(references.iter().map(Referred::medians));
    let drift = Drift::of_cells(&medians.collect::<Vec<_>>());
    let host = host::describe();
    let exit_costs: Vec<_> = priced.iter().flat_map(|priced| priced.to_documents(&machines, &drift)).collect();
    let divided: Vec<Divided> =
        cells.iter().map(|cell| times_native(cell, &cells, |id| machines.instruments(id))).collect();
    let of_cell = |(cell, divided): (&Collected, &Divided)| {
        divided.missing.iter().map(|reason| Skipped { id: cell.id, reason: reason.clone() }).collect::<Vec<_>>()
    };
    let without_a_pair: Vec<Skipped> = cells.iter().zip(&divided).flat_map(of_cell).collect();
    let assess = |(cell, divided): (&Collected, Divided)| {
        let assessed = cell.assess(config, &host.topology, machines.instruments(&cell.id)?, &exit_costs, &drift)?;
        let host_cpu = assessed.host_cpu.map(|cpu| HostCpu { times_native: divided.cpu, ..cpu });
        Some(Cell { times_native: divided.metrics, host_cpu, ..assessed })
    };
    let assessed: Vec<_> = cells.iter().zip(divided).filter_map(assess).collect();
    let quiet = machines.unknown_disturbances().map(|unknown| Quiet::of_cells(&assessed, unknown));
    let measurement = Measurement {
        schema: MEASUREMENT_SCHEMA.to_owned(),
        started,
        date: started.and_then(host::date),
        command: Vec::new(),
        host,
        config: describe(config, boots_of(blocks, boots, &cells)),
        intervals: IntervalScope::WithinRun,
        cells: assessed,
        references: references.into_iter().map(Referred::into_document).collect(),
        exit_costs,
        quiet,
        ran_on: machines.ran_on(),
        under: Vec::new(),
        sandbox: None,
        warnings: ended.into_iter().chain(warnings::all(config, &machines, &cells)).collect(),
        instruments: machines.into_instruments(),
        skipped: refused.iter().map(skipped).collect(),
        undivided: config.undivided.iter().map(skipped).chain(without_a_pair).collect(),
        partial: error.is_some(),
        error: error.as_ref().map(ToString::to_string),
    };
    (measurement, error)
}
