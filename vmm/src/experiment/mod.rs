//! The straight line of a measurement: plan, machines, blocks in turn, statistics, document; and that of a [`trace`].

#![deny(clippy::wildcard_enum_match_arm)]

mod between_runs;
mod cell;
mod clock;
mod clock_partners;
mod described_call;
mod described_event;
mod detail;
mod instruments;
pub mod machine;
mod machines;
mod pace;
pub mod probe;
mod references;
pub mod trace;
mod warnings;

use crate::config::{self, CellId, Config, MachineSpec, Observe, routes};
use crate::events::recording::Recording;
use crate::events::samples::Block;
use crate::guest::blocks::BlockSpec;
use crate::guest::session;
use crate::host;
use crate::results::detail::CellDetail;
use crate::results::measurement::{self, IntervalScope, MEASUREMENT_SCHEMA, Measurement, Skipped};
use crate::results::quiet::Quiet;
use crate::statistics::drift::Drift;
use cell::Collected;
use guest_stub::abi::Destination;
use machine::Machine;
use machines::Machines;
use pace::Pace;
use references::Referred;
use std::io;
use std::time::{Duration, Instant};

/// Why a measurement ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Machine(#[from] session::Error),
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
/// and what went wrong or disturbed them.
pub fn run<M: Machine>(
    config: &Config,
    cells: &[CellId],
    refused: &[config::Refused],
    mut boot: impl FnMut(MachineSpec) -> Result<M, session::Error>,
    observer: &mut Observer<'_>,
) -> (Measurement, Option<Error>) {
    let (mut measurement, mut error) = run_once(config, cells, refused, &mut boot, observer);
    let mut repetitions = Vec::new();
    while error.is_none() && repetitions.len() < config.repetitions {
        let progress = &mut *observer.progress;
        let mut observer = Observer { progress, samples: None, started: None, details: None, repeats: None };
        let (repetition, failure) = run_once(config, cells, refused, &mut boot, &mut observer);
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
    boot: impl FnMut(MachineSpec) -> Result<M, session::Error>,
    observer: &mut Observer<'_>,
) -> (Measurement, Option<Error>) {
    let references = references::all(config, cells);
    let cells = cells.iter().map(|&cell| Collected::new(cell, config)).collect();
    let boots = config.boots.unwrap_or_else(|| config::boots(config.rounds));
    let blocks = config::blocks(config.rounds, config.warmup, boots).len();
    let mut run = Run {
        config,
        boots,
        cells,
        references,
        machines: Machines::new(boot),
        observer,
        done: 0,
        pace: Pace::start(),
        ended: None,
    };
    let outcome =
        run.start().and_then(|()| run.measure()).and_then(|()| if config.sweep { run.sweep() } else { Ok(()) });
    let error = outcome.err();
    let Run { boots, mut cells, references, machines, observer, ended, .. } = run;
    cells.iter_mut().for_each(Collected::close);
    if let Some(details) = &mut observer.details {
        let cells = cells.iter().filter(|cell| cell.is_measured());
        details.extend(cells.filter_map(|cell| Some(detail::detail(cell, machines.last(&cell.id)?))));
    }
    let medians = cells.iter().map(Collected::medians).chain(references.iter().map(Referred::medians));
    let drift = Drift::of_cells(&medians.collect::<Vec<_>>());
    let assessed: Vec<_> =
        cells.iter().filter_map(|cell| cell.assess(config, machines.instruments(&cell.id)?, &drift)).collect();
    let quiet = machines.unknown_disturbances().map(|unknown| Quiet::of_cells(&assessed, unknown));
    let measurement = Measurement {
        schema: MEASUREMENT_SCHEMA.to_owned(),
        host: host::describe(),
        config: describe(config, boots_of(blocks, boots, &cells)),
        intervals: IntervalScope::WithinRun,
        cells: assessed,
        references: references.into_iter().map(Referred::into_document).collect(),
        quiet,
        warnings: ended.into_iter().chain(warnings::all(config, &machines, &cells)).collect(),
        instruments: machines.into_instruments(),
        skipped: refused.iter().map(skipped).collect(),
        partial: error.is_some(),
        error: error.as_ref().map(ToString::to_string),
    };
    (measurement, error)
}

/// A measurement that is going on.
struct Run<'r, 'o, M, B> {
    config: &'r Config,
    /// Machines that each cell's blocks are spread over.
    boots: usize,
    cells: Vec<Collected>,
    references: Vec<Referred>,
    machines: Machines<M, B>,
    observer: &'r mut Observer<'o>,
    /// Blocks that were run.
    done: usize,
    pace: Pace,
    /// Why there are fewer rounds than were to be.
    ended: Option<String>,
}

/// A block that is to be run.
#[derive(Debug, Clone, Copy)]
struct Planned {
    cell: usize,
    kind: usize,
    number: usize,
    rounds: usize,
}

/// What became of a block.
enum Ran {
    /// All of its calls were made.
    Whole(Block),
    /// One of its calls was given up: the rounds before it.
    Cut(Block),
    /// Too many of its cell's calls were given up.
    NotRun,
}

impl<M: Machine, B: FnMut(MachineSpec) -> Result<M, session::Error>> Run<'_, '_, M, B> {
    /// Boots each machine that a cell needs, makes one call on it, and measures its instruments.
    fn start(&mut self) -> Result<(), Error> {
        for cell in 0..self.cells.len() {
            let id = self.cells[cell].id;
            if self.machines.instruments(&id).is_some() {
                continue;
            }
            let boot_time = self.machines.get(&id)?.boot_time();
            let start = Instant::now();
            let first = self.config_block(cell, Recording::COUNTS, 0, 1);
            let since_boot = match self.run_block(cell, &first)? {
                Ran::Whole(_) => boot_time + start.elapsed(),
                Ran::Cut(block) => {
                    self.cells[cell].elsewhere.add(block.integrity);
                    // Another of the machine's cells may do better.
                    let is_of_same = |other: &Collected| MachineSpec::of(&other.id) == MachineSpec::of(&id);
                    if self.cells[cell + 1..].iter().any(is_of_same) {
                        continue;
                    }
                    self.machines.get(&id)?.boot_time()
                }
                Ran::NotRun => continue,
            };
            let since_start = self.observer.started.filter(|_| self.machines.is_first(&id)).map(|started| started());
            self.machines.measure_instruments(&id, since_boot, since_start)?;
        }
        Ok(())
    }

    /// Runs the cells' blocks in turn, so that a host that drifts does it to all alike, each boot's on fresh machines.
    fn measure(&mut self) -> Result<(), Error> {
        let sizes = config::blocks(self.config.rounds, self.config.warmup, self.boots);
        let total = sizes.len() * self.cells.iter().map(Collected::kinds).sum::<usize>();
        let mut disturbed = Vec::new();
        let start = Instant::now();
        for (number, &rounds) in sizes.iter().enumerate() {
            if number == 1 && self.config.boots.is_none() {
                self.limit_boots(start.elapsed().saturating_mul(u32::try_from(sizes.len()).unwrap_or(u32::MAX)));
            }
            let boot_of = |number| config::boot_of(number, sizes.len(), self.boots);
            if number > 0 && boot_of(number) != boot_of(number - 1) {
                self.machines.discard_all();
            }
            for cell in 0..self.cells.len() {
                // Each kind of block comes first in its turn: what the one before leaves behind, in caches or in the host's
                // halt polling, is shared out.
                let kinds = self.cells[cell].kinds();
                for kind in (0..kinds).map(|turn| (turn + number) % kinds) {
                    let planned = Planned { cell, kind, number, rounds };
                    let block = self.run_planned(planned, total)?;
                    if block.as_ref().is_some_and(|block| !block.is_quiet()) {
                        disturbed.push(planned);
                    }
                    if let Some(block) = block {
                        self.keep(planned, block, Collected::add)?;
                    }
                }
            }
            for reference in &mut self.references {
                reference.measure(&mut self.machines, u32::try_from(number).unwrap_or(u32::MAX))?;
            }
            if self.config.limit_time && number + 1 < sizes.len() && self.pace.is_over(total) {
                self.ended = Some(format!(
                    "others used the machine most of the time: after twice the time of a quiet run, {} of {} blocks of each cell \
                     were measured (--rounds {} waits for all)",
                    number + 1,
                    sizes.len(),
                    self.config.rounds
                ));
                break;
            }
        }
        self.measure_again(disturbed, sizes.len(), total)
    }

    /// Runs disturbed blocks once more, and those that are disturbed again, until all are quiet, as many have been run again as
    /// there are blocks, or the time is up. Each boot's blocks are run on fresh machines, as they were at first.
    fn measure_again(&mut self, mut disturbed: Vec<Planned>, numbers: usize, total: usize) -> Result<(), Error> {
        let limit = self.pace.repeats(total, self.config.limit_time);
        if let Some(announce) = self.observer.repeats.as_mut().filter(|_| !disturbed.is_empty()) {
            let expected = self.pace.quiet_time(disturbed.len());
            announce(&Repeats { disturbed: disturbed.len(), blocks: self.done, expected, limit });
        }
        let start = Instant::now();
        let mut left = total;
        while !disturbed.is_empty() && left > 0 {
            disturbed.truncate(left);
            left -= disturbed.len();
            let boot_of = |planned: &Planned| config::boot_of(planned.number, numbers, self.boots);
            let by_boot: Vec<Vec<Planned>> =
                disturbed.chunk_by(|one, next| boot_of(one) == boot_of(next)).map(<[Planned]>::to_vec).collect();
            let of_wave = self.done + disturbed.len();
            disturbed.clear();
            for planned in by_boot {
                self.machines.discard_all();
                for planned in planned {
                    if start.elapsed() > limit {
                        return Ok(());
                    }
                    let Some(block) = self.run_planned(planned, of_wave)? else { continue };
                    if !block.is_quiet() {
                        disturbed.push(planned);
                    }
                    self.keep(planned, block, Collected::add_again)?;
                }
            }
        }
        Ok(())
    }

    /// Runs a block of those that, with all before it, are `total`.
    fn run_planned(&mut self, planned: Planned, total: usize) -> Result<Option<Block>, Error> {
        let Planned { cell, kind, number, rounds } = planned;
        let collected = &self.cells[cell];
        (self.observer.progress)(self.done, total, &collected.id);
        self.done += 1;
        let spec = self.config_block(cell, collected.recording(kind), self.config.warmup, rounds);
        let start = Instant::now();
        Ok(match self.run_block(cell, &spec)? {
            Ran::Whole(block) | Ran::Cut(block) => {
                let khz = self.machines.last(&self.cells[cell].id).map_or(0, Machine::tsc_khz);
                self.pace.add(&block, spec.warmup, start.elapsed(), khz);
                Some(Block { number: u32::try_from(number).unwrap_or(u32::MAX), ..block })
            }
            Ran::NotRun => None,
        })
    }

    /// Takes fewer boots where they would lengthen a measurement that takes `time` by more than a quarter, and a second; but as
    /// many as an interval needs.
    fn limit_boots(&mut self, time: Duration) {
        const AT_LEAST: Duration = Duration::from_secs(1);
        let most = AT_LEAST.max(time / 4).as_nanos() / self.machines.boot_time().as_nanos().max(1);
        self.boots = self.boots.min(usize::try_from(most).unwrap_or(usize::MAX).max(config::MIN_BOOTS));
    }

    /// Adds a block to its cell, and hands its samples on if the metrics are made of them.
    fn keep(&mut self, planned: Planned, block: Block, add: fn(&mut Collected, usize, Block)) -> Result<(), Error> {
        let collected = &mut self.cells[planned.cell];
        if planned.kind == 0
            && let Some(samples) = &mut self.observer.samples
        {
            let khz = self.machines.last(&collected.id).map_or(0, Machine::tsc_khz);
            samples(&collected.id, &block, khz)?;
        }
        add(collected, planned.kind, block);
        Ok(())
    }

    /// Runs a few rounds of each cell of the guest's vantage from several initiators, the cells in turn.
    fn sweep(&mut self) -> Result<(), Error> {
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

    /// Runs one block of a cell, on a fresh machine if a call was given up on the last one.
    fn run_block(&mut self, cell: usize, spec: &BlockSpec) -> Result<Ran, Error> {
        let collected = &mut self.cells[cell];
        if collected.is_given_up() {
            return Ok(Ran::NotRun);
        }
        let result = self.machines.get(&collected.id)?.run_block(spec);
        let boot = self.machines.boot_number(&collected.id);
        match result {
            Ok(block) => Ok(Ran::Whole(Block { boot, ..block })),
            Err(session::Error::GivenUp(given_up)) => {
                self.machines.discard(&collected.id);
                collected.silences.push(given_up.diagnosis.to_string());
                Ok(Ran::Cut(Block { boot, ..given_up.block }))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn config_block(&self, cell: usize, recording: Recording, warmup: usize, rounds: usize) -> BlockSpec {
        let Config { worker, argument, .. } = *self.config;
        BlockSpec { cell: self.cells[cell].id, initiator: 0, worker, argument, recording, warmup, rounds }
    }
}

fn skipped(refused: &config::Refused) -> Skipped {
    Skipped { id: refused.cell, reason: refused.refusal.reason().to_owned() }
}

/// How many of `boots` machines the cells' blocks, of which there were to be so many each, were spread over: fewer where there are
/// fewer blocks, or the run ended early.
fn boots_of(blocks: usize, boots: usize, cells: &[Collected]) -> usize {
    let last = cells.iter().filter_map(Collected::last_turn).max();
    last.map_or(0, |last| config::boot_of(last, blocks, boots) + 1)
}

/// The destinations that were tried, each once.
fn destinations(config: &Config) -> Vec<Destination> {
    let of_calls = config.calls.iter().flat_map(|&call| config.destinations_of(call)).copied();
    config::without_repeats(&of_calls.collect::<Vec<_>>())
}

fn describe(config: &Config, boots: usize) -> measurement::MeasurementConfig {
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect();
    measurement::MeasurementConfig {
        vcpus: config.vcpus.clone(),
        routes: names(&mut config.routes.iter().map(|route| route.name())),
        destinations: names(&mut destinations(config).iter().map(|destination| destination.name())),
        target_states: names(&mut config.target_states.iter().map(|state| state.name())),
        idle_before_us: config.idle_before.iter().copied().flatten().collect(),
        observe: names(&mut config.observe.iter().map(|observe| observe.name())),
        trace: names(&mut config.trace.iter().map(|(source, _)| source.name())),
        rounds: config.rounds as u64,
        warmup: config.warmup as u64,
        boots: boots as u64,
        repetitions: config.repetitions as u64,
        worker: config.worker.name().to_owned(),
        argument: config.argument,
        pin: config.pin.clone(),
        latency_us: config.latency_us,
    }
}
