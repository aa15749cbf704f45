//! A measurement while it runs: the cells' blocks in turn, and disturbed ones once more.

use super::collected::Collected;
use super::exit_costs::{self, Priced};
use super::instruments::Effort;
use super::kept::Keeping;
use super::machine::{self, Machine};
use super::machines::Machines;
use super::pace::Pace;
use super::references::{self, Referred};
use super::{Error, Observer, Repeats};
use crate::config::{self, Config, MachineSpec};
use crate::events::recording::Recording;
use crate::events::samples::Block;
use crate::guest::blocks::BlockSpec;
use crate::guest::delay::Share;
use crate::native;
use std::time::{Duration, Instant};

/// A measurement that is going on.
pub(super) struct Run<'r, 'o, M, B> {
    pub(super) config: &'r Config,
    /// Machines that each cell's blocks are spread over.
    pub(super) boots: usize,
    /// Rounds of each cell: what is planned, and where the time ends the run before, what was made.
    pub(super) rounds: usize,
    /// Blocks that each cell is planned to have.
    pub(super) blocks: usize,
    began: Instant,
    pub(super) cells: Vec<Collected>,
    pub(super) references: Vec<Referred>,
    pub(super) priced: Vec<Priced>,
    pub(super) machines: Machines<M, B>,
    pub(super) observer: &'r mut Observer<'o>,
    /// Blocks that were run.
    done: usize,
    pace: Pace,
    /// Why there are fewer rounds than were to be.
    pub(super) ended: Option<String>,
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
pub(super) enum Ran {
    /// All of its calls were made.
    Whole(Block),
    /// One of its calls was given up: the rounds before it.
    Cut(Block),
    /// Its cell has failed, or too many of the cell's calls were given up, or a log that it is read from lacks it.
    NotRun,
}

impl<'r, 'o, M, B> Run<'r, 'o, M, B> {
    /// Nothing has been run yet. `boots` is how many machines each cell's blocks are to be spread over.
    pub(super) fn new(
        config: &'r Config,
        boots: usize,
        cells: Vec<Collected>,
        machines: Machines<M, B>,
        observer: &'r mut Observer<'o>,
    ) -> Self {
        let ids: Vec<_> = cells.iter().map(|cell| cell.id).collect();
        Self {
            config,
            boots,
            rounds: config.rounds,
            blocks: 0,
            began: Instant::now(),
            references: references::all(config, &ids),
            priced: exit_costs::all(config, &ids),
            cells,
            machines,
            observer,
            done: 0,
            pace: Pace::new(),
            ended: None,
        }
    }
}

impl<M: Machine, B: FnMut(MachineSpec) -> Result<M, machine::Error>> Run<'_, '_, M, B> {
    /// Boots each machine that a cell needs, makes one call on it, and measures its instruments.
    pub(super) fn start(&mut self) -> Result<(), Error> {
        for cell in 0..self.cells.len() {
            if self.machines.instruments(&self.cells[cell].id).is_none() {
                let started = self.start_machine_of(cell);
                self.or_go_on_without(cell, started)?;
            }
        }
        Ok(())
    }

    fn start_machine_of(&mut self, cell: usize) -> Result<(), Error> {
        let id = self.cells[cell].id;
        let machine = self.machines.get(&id)?;
        let boot_time = machine.boot_time();
        if machine.has_run() {
            // How long it took from its creation to its first call, nobody has seen.
            return Ok(self.machines.measure_instruments(&id, None, None, false, Effort::Full)?);
        }
        let start = Instant::now();
        let first = self.config_block(cell, Recording::COUNTS, 0, 1);
        let is_of_same = |other: &Collected| MachineSpec::of(&other.id) == MachineSpec::of(&id);
        let since_boot = match self.run_block(cell, &first)? {
            Ran::Whole(_) => boot_time + start.elapsed(),
            Ran::Cut(block) => {
                self.cells[cell].elsewhere.add(block.integrity);
                // Another of the machine's cells may do better.
                if self.cells[cell + 1..].iter().any(is_of_same) {
                    return Ok(());
                }
                self.machines.get(&id)?.boot_time()
            }
            Ran::NotRun => return Ok(()),
        };
        let since_start = self.observer.started.filter(|_| self.machines.is_first(&id)).map(|started| started());
        let parks = self.cells.iter().any(|other| is_of_same(other) && !other.id.wait.is_spin());
        let effort = if self.config.is_one_of_many { Effort::Little } else { Effort::Full };
        Ok(self.machines.measure_instruments(&id, Some(since_boot), since_start, parks, effort)?)
    }

    /// What went wrong natively with a cell that nobody asked for is noted there, and ends no measurement of the others.
    fn or_go_on_without<T>(&mut self, cell: usize, result: Result<T, Error>) -> Result<Option<T>, Error> {
        let collected = &mut self.cells[cell];
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Machine(machine::Error::Native(native::Error::Interrupted))) => {
                Err(Error::Machine(machine::Error::Native(native::Error::Interrupted)))
            }
            Err(Error::Machine(machine::Error::Native(error))) if collected.is_beside => {
                collected.failed = Some(error.to_string());
                self.machines.discard(&collected.id);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs the cells' blocks in turn, so that a host that drifts does it to all alike, each boot's on fresh machines.
    pub(super) fn measure(&mut self) -> Result<(), Error> {
        if let Some(time) = self.config.time {
            self.rounds = self.rounds_in(time)?;
            self.boots = self.config.boots.unwrap_or_else(|| config::boots(self.rounds));
        }
        let sizes = self.config.sizes(self.rounds, self.boots);
        self.blocks = sizes.len();
        let keeping = Keeping::of(self.rounds, self.blocks, self.boots, self.observer.details.is_some());
        self.cells.iter_mut().for_each(|cell| cell.keep_as(keeping));
        let total = sizes.len() * self.cells.iter().map(Collected::kinds).sum::<usize>();
        let mut disturbed = Vec::new();
        let start = Instant::now();
        for (number, &rounds) in sizes.iter().enumerate() {
            if number == 1 && self.config.boots.is_none() {
                let expected = start.elapsed().saturating_mul(u32::try_from(sizes.len()).unwrap_or(u32::MAX));
                self.limit_boots(self.config.time.map_or(expected, |time| time.min(expected)));
            }
            let boots = self.boots;
            let boot_of = |number| config::boot_of(number, sizes.len(), boots);
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
                        self.keep(planned, &block, Collected::add)?;
                    }
                }
            }
            for reference in &mut self.references {
                reference.measure(&mut self.machines, u32::try_from(number).unwrap_or(u32::MAX))?;
            }
            for priced in &mut self.priced {
                priced.measure(&mut self.machines, number)?;
            }
            // An interval needs so many boots.
            let has_boots = number + 1 < sizes.len() && boot_of(number + 1) >= config::MIN_BOOTS;
            if self.config.limit_time && has_boots && self.pace.is_over(total) {
                self.ended = Some(format!(
                    "most blocks were disturbed, and would have taken less than half of the time on a quiet machine: the run ended \
                     after {} of {} blocks of each cell (--rounds {} makes all of them)",
                    number + 1,
                    sizes.len(),
                    self.rounds
                ));
                break;
            }
            if has_boots && self.is_time_over(disturbed.len()) {
                self.rounds = sizes[..=number].iter().sum();
                break;
            }
        }
        self.measure_again(disturbed, sizes.len(), total)
    }

    /// Runs disturbed blocks once more, and those that are disturbed again, until all are quiet, as many have been run again as
    /// there are blocks, or the time is up. Each boot's blocks are run on fresh machines, as they were at first.
    fn measure_again(&mut self, mut disturbed: Vec<Planned>, numbers: usize, total: usize) -> Result<(), Error> {
        if self.config.is_one_of_many {
            return Ok(());
        }
        let limit = self.time_left().unwrap_or_else(|| self.pace.repeats(total, self.config.limit_time));
        if let Some(announce) = self.observer.repeats.as_mut().filter(|_| !disturbed.is_empty()) {
            let expected = self.pace.quiet_time(disturbed.len());
            announce(&Repeats { disturbed: disturbed.len(), blocks: self.done, expected, limit });
        }
        let end = self.pace.spent().saturating_add(limit);
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
                    if self.pace.spent() > end {
                        return Ok(());
                    }
                    let Some(block) = self.run_planned(planned, of_wave)? else { continue };
                    if !block.is_quiet() {
                        disturbed.push(planned);
                    }
                    self.keep(planned, &block, Collected::add_again)?;
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
        if !self.cells[cell].is_given_up() {
            // Booting is no part of the block.
            let booted = self.machines.get(&spec.cell).map(|_| ()).map_err(Error::from);
            self.or_go_on_without(cell, booted)?;
        }
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

    /// Whether the time that the run was given is over but for what disturbed blocks take that are measured again.
    fn is_time_over(&self, disturbed: usize) -> bool {
        self.time_left().is_some_and(|left| left <= self.pace.quiet_time(disturbed))
    }

    /// What is left of that time; `None`: it was given none.
    fn time_left(&self) -> Option<Duration> {
        self.config.time.map(|time| time.saturating_sub(self.began.elapsed()))
    }

    /// Takes fewer boots where they would lengthen a measurement that takes `time` by more than a quarter, and a second; but as
    /// many as an interval needs.
    fn limit_boots(&mut self, time: Duration) {
        const AT_LEAST: Duration = Duration::from_secs(1);
        let most = AT_LEAST.max(time / 4).as_nanos() / self.machines.boot_time().as_nanos().max(1);
        self.boots = self.boots.min(usize::try_from(most).unwrap_or(usize::MAX).max(config::MIN_BOOTS));
    }

    /// Adds a block to its cell, and hands its samples on if the metrics are made of them.
    fn keep(&mut self, planned: Planned, block: &Block, add: fn(&mut Collected, usize, &Block)) -> Result<(), Error> {
        let collected = &mut self.cells[planned.cell];
        if planned.kind == 0
            && let Some(samples) = &mut self.observer.samples
        {
            let khz = self.machines.last(&collected.id).map_or(0, Machine::tsc_khz);
            samples(&collected.id, block, khz)?;
        }
        add(collected, planned.kind, block);
        Ok(())
    }

    /// Runs one block of a cell, on a fresh machine if a call was given up on the last one.
    pub(super) fn run_block(&mut self, cell: usize, spec: &BlockSpec) -> Result<Ran, Error> {
        if self.cells[cell].is_given_up() {
            return Ok(Ran::NotRun);
        }
        let ran = self.try_block(cell, spec);
        Ok(self.or_go_on_without(cell, ran)?.unwrap_or(Ran::NotRun))
    }

    fn try_block(&mut self, cell: usize, spec: &BlockSpec) -> Result<Ran, Error> {
        let collected = &mut self.cells[cell];
        let machine = self.machines.get(&collected.id)?;
        let result = match self.config.injected_delay.filter(|delay| delay.is_of(&collected.id)) {
            None => machine.run_block(spec),
            Some(delay) => machine.run_delayed_block(spec, Share(delay.millionths)),
        };
        let boot = self.machines.boot_number(&collected.id);
        match result {
            Ok(block) => Ok(Ran::Whole(Block { boot, ..block })),
            Err(machine::Error::GivenUp(given_up)) => {
                self.machines.discard(&collected.id);
                let machine::GivenUp { silence, block } = *given_up;
                collected.silences.push(silence);
                Ok(Ran::Cut(Block { boot, ..block }))
            }
            Err(machine::Error::NotRecorded) => Ok(Ran::NotRun),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn config_block(&self, cell: usize, recording: Recording, warmup: usize, rounds: usize) -> BlockSpec {
        let Config { worker, argument, .. } = *self.config;
        BlockSpec { cell: self.cells[cell].id, initiator: 0, worker, argument, recording, warmup, rounds }
    }
}
