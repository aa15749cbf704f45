//! What the standalone image has measured, as a measurement: its boots are machines that answer with the blocks of a log.

use super::Observer;
use super::machine::{Error, Machine};
use crate::config::{self, CellId, Config, Observe};
use crate::events::samples::Block;
use crate::guest::blocks::BlockSpec;
use crate::guest::calibration::Calibration;
use crate::guest::recorded;
use crate::guest::session::Limits;
use crate::results::count::count;
use crate::results::measurement::host::Host;
use crate::results::measurement::{Measurement, Skipped};
use crate::results::power::Power;
use crate::results::standalone::{NO_KERNEL, Standalone};
use crate::results::topology::Topology;
use crate::standalone::boot::{Boot, End, Plan, Tsc};
use crate::standalone::runs::RecordedRun;
use crate::statistics::clock_error::{self, Ahead, ClockError, Comparisons};
use guest_stub::abi::Wait;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Describes a run as if it had been measured now. `log` is what its log is called. What the log lacks is among the warnings; a run of
/// which a boot did not come to its end is a partial one.
pub fn import(run: &RecordedRun, log: &str, observer: &mut Observer<'_>) -> (Measurement, Option<super::Error>) {
    let replay = Replay { run, turns: run.turns(), asked: RefCell::default() };
    let cells = run.cells();
    let (mut measurement, error) =
        super::run(&asked(run, &cells, replay.turns.len()), &cells, &[], |_| Ok(replay.boot()), observer);
    measurement.started = None;
    measurement.host = host(run, log);
    measurement.skipped = run.skipped();
    measurement.undivided = undivided(run, &cells);
    measurement.warnings.extend(warnings(run));
    if error.is_none()
        && let Some(why) = ended_early(run)
    {
        (measurement.partial, measurement.error) = (true, Some(why));
    }
    (measurement, error)
}

/// A cell of a run of which the document has nothing, since no block of it is whole.
pub fn lost_cell(run: &RecordedRun, imported: &Measurement) -> Option<CellId> {
    run.cells().into_iter().find(|id| !imported.cells.iter().any(|cell| cell.id == *id))
}

/// A run that is read block by block.
struct Replay<'l> {
    run: &'l RecordedRun,
    turns: Vec<u32>,
    /// How many blocks of each cell have been asked for: those of one boot come after those of another.
    asked: RefCell<BTreeMap<CellId, usize>>,
}

impl Replay<'_> {
    /// The boot that comes next, when all that was asked of the one before is told.
    fn boot(&self) -> Recorded<'_> {
        let asked = self.asked.borrow().values().copied().max().unwrap_or(0);
        let boots = self.run.boots();
        let number = asked / self.turns.len().max(1);
        Recorded { replay: self, boot: &boots[number.min(boots.len() - 1)] }
    }
}

/// One boot of a run.
struct Recorded<'r> {
    replay: &'r Replay<'r>,
    boot: &'r Boot,
}

impl Machine for Recorded<'_> {
    /// The block that the cell has next: of the next turn, or the next boot's first one.
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, Error> {
        let mut asked = self.replay.asked.borrow_mut();
        let asked = asked.entry(spec.cell).or_default();
        let turns = &self.replay.turns;
        let (boot, turn) = (*asked / turns.len(), turns[*asked % turns.len()]);
        *asked += 1;
        let Some(boot) = self.replay.run.boots().get(boot) else { return Err(Error::NotRecorded) };
        let found = boot.blocks.get(&(spec.cell, turn)).ok_or(Error::NotRecorded)?;
        let Plan { deadline, settle, .. } = boot.plan;
        let block = recorded::assess(spec, &found.block, Limits { deadline, settle }, boot.platform.x2apic);
        let mut result = block.map_err(Error::from);
        if let Err(Error::GivenUp(given_up)) = &mut result
            && found.silent > 1
        {
            given_up.silence = format!("{} and {} more", given_up.silence, found.silent - 1);
        }
        result
    }

    fn has_run(&self) -> bool {
        true
    }

    fn calibrate(&mut self, _count: usize) -> Result<Calibration, Error> {
        let Boot { stamps, instructions, .. } = self.boot;
        Ok(Calibration { stamp: stamps.clone(), instructions: instructions.clone(), ..Calibration::default() })
    }

    fn tsc_khz(&self) -> u64 {
        self.replay.run.tsc().khz
    }

    /// By the boot's exchanges of stamps. Nobody knows the offsets of its vCPUs' TSCs, which another boot may have anew.
    fn clock_error(&mut self, _earlier: &Comparisons) -> Result<ClockError, Error> {
        let vcpus = self.boot.plan.vcpus;
        let mut comparisons = Comparisons::default();
        for partner in 1..vcpus {
            let made = self.boot.exchanges.get(&partner);
            comparisons.exchanges += made.map_or(0, |&(made, _)| made);
            comparisons.ahead.push(made.and_then(|&(_, shortest)| Ahead::of(&[shortest])));
        }
        let bounds = comparisons.ahead.iter().map(|ahead| ahead.map(Ahead::bound)).chain([Some(0)]);
        let bounds: Option<Vec<u64>> = bounds.collect();
        let exchanges = match (vcpus, comparisons.exchanges) {
            (1, _) => "one vCPU".to_owned(),
            (_, made) => {
                format!("{} of stamps between {vcpus} vCPUs, whose TSC offsets are not known", count(made, "exchange"))
            }
        };
        let method = format!("{exchanges}; {}", frequency(self.replay.run.tsc()));
        let subtracted = vec![0; vcpus];
        Ok(ClockError { vcpus: bounds.map(clock_error::skew_error), host: 0, subtracted, comparisons, method })
    }

    fn boot_time(&self) -> Duration {
        Duration::ZERO
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

fn frequency(Tsc { khz, error_ppm, source }: &Tsc) -> String {
    let error = if *error_ppm == 0 { String::new() } else { format!(" ± {error_ppm} ppm") };
    format!("TSC at {:.3} MHz{error} ({source})", *khz as f64 / 1000.0)
}

/// What the image was asked for, with as many blocks as the log has turns of.
fn asked(run: &RecordedRun, cells: &[CellId], turns: usize) -> Config {
    fn each<T: Copy + PartialEq>(cells: &[CellId], of: impl Fn(&CellId) -> T) -> Vec<T> {
        config::without_repeats(&cells.iter().map(of).collect::<Vec<T>>())
    }
    let Plan { vcpus, rounds, warmup, worker, argument, settle, deadline, .. } = run.first().plan;
    let boots = run.boots().len();
    Config {
        device: PathBuf::new(),
        guest: None,
        vcpus: vec![vcpus],
        calls: each(cells, |cell| cell.call),
        routes: each(cells, |cell| cell.route),
        destinations: each(cells, |cell| cell.destination),
        target_states: each(cells, |cell| cell.target_state),
        idle_before: vec![None],
        waits: vec![Wait::Spin],
        observe: vec![Observe::Guest],
        trace: Vec::new(),
        sweep: false,
        rounds: rounds * boots,
        warmup,
        boots: Some(boots),
        blocks: Some(turns * boots),
        repetitions: 0,
        references: None,
        beside: Vec::new(),
        undivided: Vec::new(),
        exit_costs: false,
        worker,
        argument,
        pin: Vec::new(),
        latency_us: None,
        time: None,
        limit_time: false,
        // A processor each.
        cpus: (0..vcpus).collect(),
        deadline: Some(deadline),
        settle,
        out: config::OUT,
        halt_poll_ns: None,
        is_one_of_many: false,
        injected_delay: None,
    }
}

/// The machine that the image ran on, as far as it has seen it.
fn host(run: &RecordedRun, log: &str) -> Host {
    let Boot { image, platform, .. } = run.first();
    let tsc = run.tsc();
    Host {
        key: None,
        kernel: NO_KERNEL.to_owned(),
        cpu: platform.cpu.clone(),
        microcode: None,
        command_line: None,
        cpus: (0..platform.processors as usize).collect(),
        topology: Topology::default(),
        kvm: Vec::new(),
        settings: BTreeMap::new(),
        apic_acceleration: Vec::new(),
        power: Power::default(),
        nested: platform.hypervisor.is_some(),
        hypervisor: platform.hypervisor.clone(),
        kipi: image.version.clone(),
        standalone: Some(Standalone {
            door: image.door.clone(),
            command_line: image.command_line.clone(),
            log: log.to_owned(),
            imported_by: env!("CARGO_PKG_VERSION").to_owned(),
            listed: platform.listed,
            tsc_source: tsc.source.clone(),
            tsc_error_ppm: tsc.error_ppm,
        }),
    }
}

/// No cell is × native: threads of the machine that imports are on other processors. What takes their place is told.
fn undivided(run: &RecordedRun, cells: &[CellId]) -> Vec<Skipped> {
    let reason = if run.first().platform.hypervisor.is_some() {
        "no thread of its machine's host is in a log; kipi compare --as-overhead METAL.json THIS.json divides by the same calls on bare metal"
    } else {
        "these calls are native themselves; kipi compare --as-overhead THIS.json VM.json divides those of a virtual machine by them"
    };
    cells.iter().map(|&id| Skipped { id, reason: reason.to_owned() }).collect()
}

/// What the image has told people of, and what the log lacks, boot by boot where there are several.
fn warnings(run: &RecordedRun) -> Vec<String> {
    let boots = run.boots();
    let mut warnings = Vec::new();
    for (number, boot) in (1..).zip(boots) {
        let of_boot = |text: String| if boots.len() == 1 { text } else { format!("boot {number}: {text}") };
        warnings.extend(boot.texts.iter().map(|text| of_boot(format!("the image says: {text}"))));
        warnings.extend(boot.faults.lines().map(of_boot));
    }
    warnings.extend(run.cut_off().map(|boot| {
        let (number, blocks) = (boots.len() + 1, boot.blocks.len());
        let planned = boot.cells.len() * boot.plan.blocks as usize;
        format!("boot {number}, the last one, is cut off after {blocks} of its {planned} blocks: it is left out")
    }));
    warnings
}

/// Why the run is not all that it was to be; `None`: all boots have come to their end.
fn ended_early(run: &RecordedRun) -> Option<String> {
    let boots = run.boots();
    let (number, boot) = (1..).zip(boots).find(|(_, boot)| boot.end != End::Complete)?;
    let which = if boots.len() == 1 { "the run".to_owned() } else { format!("boot {number}") };
    Some(match (boot.end, boot.texts.last()) {
        (End::Unknown, _) if number < boots.len() => format!("{which} is cut off: the log has not got its end"),
        (End::Unknown, _) => format!("the log ends before {which} does"),
        (_, Some(why)) => format!("the image has ended {which}: {why}"),
        (_, None) => format!("the image has ended {which}"),
    })
}

#[cfg(test)]
mod tests;
