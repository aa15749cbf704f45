//! The straight line of a measurement: plan, machines, blocks in turn, statistics, document.

mod cell;
pub mod machine;
pub mod trace;

pub(crate) use cell::exits_per_call;

use crate::config::{self, CellId, Config, MachineSpec, Observe, routes};
use crate::events::recording::Recording;
use crate::events::samples::Block;
use crate::guest::blocks::BlockSpec;
use crate::guest::calibration::Calibration;
use crate::guest::session;
use crate::host;
use crate::report::csv::CsvWriter;
use crate::results::detail::CellDetail;
use crate::results::measurement::{self, Clock, Instruments, MEASUREMENT_SCHEMA, Measurement, Skipped, Spread};
use crate::statistics::metrics;
use cell::{Collected, assess, detail};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::time::Duration;

/// Where blocks come from: a virtual machine, or a test's invention.
pub trait Source {
    /// Runs one block.
    ///
    /// # Errors
    /// As [`crate::guest::blocks::run`].
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, session::Error>;

    /// Measures the instruments.
    ///
    /// # Errors
    /// As [`crate::guest::calibration::calibrate`].
    fn calibrate(&mut self) -> Result<Calibration, session::Error>;

    /// The frequency of the guest's TSC, kHz.
    fn tsc_khz(&self) -> u64;

    /// The bound of a skew's clock error, in cycles, and how it was obtained.
    ///
    /// # Errors
    /// As [`crate::guest::clock_exchange::exchange`].
    fn clock_error(&mut self) -> Result<(u64, String), session::Error>;

    /// From KVM_CREATE_VM until the guest was up.
    fn boot_time(&self) -> Duration;

    /// What a reader should know about this source.
    fn warnings(&self) -> Vec<String>;

    /// The name of an exit that the kernel's events tell of, by its reason and instruction set (KVM_ISA_*).
    fn exit_name(&self, reason: u64, _isa: u64) -> String {
        format!("exit {reason:#x}")
    }
}

/// Why a measurement ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine.
    #[error(transparent)]
    Machine(#[from] session::Error),
    /// Raw samples cannot be written.
    #[error(transparent)]
    Csv(#[from] io::Error),
}

/// What follows a measurement while it runs.
pub struct Observer<'a, W: Write> {
    /// Called before each block with the blocks done, their total, and the cell.
    pub progress: &'a mut dyn FnMut(usize, usize, &CellId),
    /// Where raw samples go.
    pub csv: Option<&'a mut CsvWriter<W>>,
    /// When the process started: for the time to the first broadcast.
    pub started: Option<&'a dyn Fn() -> Duration>,
    /// Where the details of the document's cells go, in their order.
    pub details: Option<&'a mut Vec<CellDetail>>,
}

/// Measures the cells and describes the result. An error ends the measurement; what was measured until then is in the
/// document all the same.
pub fn run<W: Write, S: Source>(
    config: &Config,
    cells: &[CellId],
    refused: &[config::Refused],
    mut boot: impl FnMut(MachineSpec) -> Result<S, session::Error>,
    observer: &mut Observer<'_, W>,
) -> (Measurement, Option<Error>) {
    let mut collected: Vec<Collected> = cells.iter().map(|&spec| Collected::new(spec, config)).collect();
    let mut sources = BTreeMap::new();
    let mut instruments = BTreeMap::new();
    let outcome = start(config, cells, &mut boot, &mut sources, &mut instruments, observer)
        .and_then(|()| measure(config, &mut collected, &mut sources, observer))
        .and_then(|()| if config.sweep { sweep(config, &mut collected, &mut sources, observer) } else { Ok(()) });
    let error = outcome.err();
    if let Some(details) = &mut observer.details {
        // Those of the cells that are in the document.
        let cells = collected.iter().filter(|cell| !cell.blocks.is_empty());
        details.extend(cells.filter_map(|cell| Some(detail(cell, sources.get(&MachineSpec::of(&cell.spec))?))));
    }
    let warnings = warnings(config, &sources, &instruments, &collected);
    let measurement = Measurement {
        schema: MEASUREMENT_SCHEMA.to_owned(),
        host: host::describe(),
        config: describe(config),
        cells: collected.iter().filter_map(|cell| assess(config, cell, &instruments)).collect(),
        instruments: instruments.into_values().collect(),
        skipped: refused.iter().map(skipped).collect(),
        warnings,
        partial: error.is_some(),
        error: error.as_ref().map(ToString::to_string),
    };
    (measurement, error)
}

/// Boots each machine that a cell needs, makes one call on it, and measures its instruments.
fn start<W: Write, S: Source>(
    config: &Config,
    cells: &[CellId],
    boot: &mut impl FnMut(MachineSpec) -> Result<S, session::Error>,
    sources: &mut BTreeMap<MachineSpec, S>,
    instruments: &mut BTreeMap<MachineSpec, Instruments>,
    observer: &Observer<'_, W>,
) -> Result<(), Error> {
    for cell in cells {
        if sources.contains_key(&MachineSpec::of(cell)) {
            continue;
        }
        let mut source = boot(MachineSpec::of(cell))?;
        let start = std::time::Instant::now();
        source.run_block(&block(config, cell, Recording::COUNTS, 0, 1))?;
        let boot_ns = (source.boot_time() + start.elapsed()).as_nanos() as f64;
        let since_start = observer.started.filter(|_| sources.is_empty()).map(|started| started());
        let calibration = source.calibrate()?;
        let (error, method) = source.clock_error()?;
        let khz = frequency(source.tsc_khz());
        let clock = Clock { tsc_khz: khz.get(), error_ns: metrics::nanoseconds(error as f64, khz), method };
        instruments.insert(
            MachineSpec::of(cell),
            Instruments {
                vcpus: cell.vcpus,
                local_apic: MachineSpec::of(cell).local_apics.name().to_owned(),
                stamp_ns: spread(&calibration.stamp, khz),
                exit_leg_ns: spread(&calibration.exit_leg, khz),
                exit_round_trip_ns: spread(&calibration.exit_round_trip, khz),
                first_broadcast_ns: since_start.map(|time| time.as_nanos() as f64),
                boot_ns,
                clock,
            },
        );
        sources.insert(MachineSpec::of(cell), source);
    }
    Ok(())
}

/// A frequency of zero, which no KVM tells, would make every time infinite.
fn frequency(khz: u64) -> NonZeroU64 {
    NonZeroU64::new(khz).unwrap_or(NonZeroU64::MIN)
}

/// The quantiles of an instrument's cost; all zero, with `n` zero, if it could not be measured.
fn spread(cycles: &[i64], khz: NonZeroU64) -> Spread {
    metrics::spread(cycles, khz).unwrap_or(Spread { n: 0, min: 0.0, p50: 0.0, p99: 0.0, max: 0.0 })
}

/// Runs the cells' blocks in turn, so that a host that drifts does it to all alike.
fn measure<W: Write, S: Source>(
    config: &Config,
    collected: &mut [Collected],
    sources: &mut BTreeMap<MachineSpec, S>,
    observer: &mut Observer<'_, W>,
) -> Result<(), Error> {
    let sizes = config::blocks(config.rounds, config.warmup);
    let of_cell = |cell: &Collected| 1 + cell.traced.len();
    let total = sizes.len() * collected.iter().map(of_cell).sum::<usize>();
    let mut done = 0;
    for (number, &rounds) in sizes.iter().enumerate() {
        for cell in &mut *collected {
            let Some(source) = sources.get_mut(&MachineSpec::of(&cell.spec)) else { continue };
            let plain = if cell.traced.is_empty() { Recording::COUNTS } else { Recording::NOTHING };
            // Each kind of block comes first in its turn: what the one before leaves behind, in caches or in the host's halt
            // polling, is shared out.
            let kinds = of_cell(cell);
            for kind in (0..kinds).map(|turn| (turn + number) % kinds) {
                (observer.progress)(done, total, &cell.spec);
                let traced = kind.checked_sub(1).and_then(|index| cell.traced.get_mut(index));
                let recording = traced.as_ref().map_or(plain, |traced| Recording::by(traced.source));
                let block = source.run_block(&block(config, &cell.spec, recording, config.warmup, rounds))?;
                if let Some(traced) = traced {
                    traced.add(block, cell.spec.route, u32::try_from(number).unwrap_or(u32::MAX));
                } else {
                    if let Some(csv) = &mut observer.csv {
                        csv.block(&cell.spec, number, &block.rounds, source.tsc_khz())?;
                    }
                    cell.blocks.push(block);
                }
                done += 1;
            }
        }
    }
    Ok(())
}

/// Runs a few rounds of each cell of the guest's vantage from several initiators, the cells in turn.
fn sweep<W: Write, S: Source>(
    config: &Config,
    collected: &mut [Collected],
    sources: &mut BTreeMap<MachineSpec, S>,
    observer: &mut Observer<'_, W>,
) -> Result<(), Error> {
    const ROUNDS: usize = 20;
    let is_swept =
        |cell: &&mut Collected| cell.spec.observe == Observe::Guest && !routes::of(cell.spec.route).is_host();
    let mut cells: Vec<&mut Collected> = collected.iter_mut().filter(is_swept).collect();
    let initiators: Vec<Vec<usize>> = cells.iter().map(|cell| config::initiators(cell.spec.vcpus)).collect();
    let total = initiators.iter().map(Vec::len).sum();
    let mut done = 0;
    for turn in 0..initiators.iter().map(Vec::len).max().unwrap_or(0) {
        for (cell, initiators) in cells.iter_mut().zip(&initiators) {
            let Some(&initiator) = initiators.get(turn) else { continue };
            let Some(source) = sources.get_mut(&MachineSpec::of(&cell.spec)) else { continue };
            (observer.progress)(done, total, &cell.spec);
            let spec = block(config, &cell.spec, Recording::COUNTS, config.warmup, config.rounds.min(ROUNDS));
            cell.by_initiator.push((initiator, source.run_block(&BlockSpec { initiator, ..spec })?));
            done += 1;
        }
    }
    Ok(())
}

fn block(config: &Config, cell: &CellId, recording: Recording, warmup: usize, rounds: usize) -> BlockSpec {
    BlockSpec { cell: *cell, initiator: 0, worker: config.worker, argument: config.argument, recording, warmup, rounds }
}

fn skipped(refused: &config::Refused) -> Skipped {
    Skipped { id: refused.cell, reason: refused.reason.to_owned() }
}

fn describe(config: &Config) -> measurement::Config {
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect();
    measurement::Config {
        vcpus: config.vcpus.clone(),
        routes: names(&mut config.routes.iter().map(|route| route.name())),
        destinations: names(&mut config.destinations.iter().map(|destination| destination.name())),
        target_states: names(&mut config.target_states.iter().map(|state| state.name())),
        observe: names(&mut config.observe.iter().map(|observe| observe.name())),
        trace: names(&mut config.trace.iter().map(|(source, _)| source.name())),
        rounds: config.rounds as u64,
        warmup: config.warmup as u64,
        worker: config.worker.name().to_owned(),
        argument: config.argument,
        pin: config.pin.clone(),
    }
}

/// What a reader must know before trusting the numbers.
fn warnings<S: Source>(
    config: &Config,
    sources: &BTreeMap<MachineSpec, S>,
    instruments: &BTreeMap<MachineSpec, Instruments>,
    collected: &[Collected],
) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    let cpus = if config.pin.is_empty() { config.cpus.len() } else { distinct(&config.pin) };
    if let Some(most) = instruments.keys().map(|machine| machine.vcpus).max().filter(|&vcpus| vcpus > cpus) {
        warnings.push(format!(
            "{most} vCPUs share {cpus} CPUs: a call waits for the host's scheduler, and the numbers tell about that"
        ));
    }
    let host_calls = collected.iter().map(|cell| cell.spec).filter(|spec| routes::of(spec.route).is_host());
    if let Some(most) = host_calls.map(|spec| spec.vcpus).max().filter(|&vcpus| vcpus.min(cpus) >= config.cpus.len()) {
        warnings.push(format!(
            "the host's calls share their CPU with a vCPU, {most} vCPUs on {} CPUs: the numbers tell about the host's \
             scheduler (fewer vCPUs leave the host a CPU)",
            config.cpus.len()
        ));
    }
    for (source, refused) in &config.trace {
        warnings
            .extend(refused.as_ref().map(|reason| format!("source {} has recorded nothing: {reason}", source.name())));
    }
    for cell in collected {
        for traced in &cell.traced {
            let lost: u64 = traced.blocks.iter().map(|block| block.lost + block.dropped).sum();
            if lost > 0 {
                let (route, state) = (cell.spec.route.name(), cell.spec.target_state.name());
                let source = traced.source.name();
                warnings.push(format!(
                    "source {source} has lost {lost} events of {route} {state}: its calls may lack some"
                ));
            }
        }
        let not_in_state: u64 = cell.blocks.iter().map(|block| block.not_in_state).sum();
        if not_in_state > 0 {
            let CellId { route, destination, target_state, vcpus, .. } = cell.spec;
            warnings.push(format!(
                "{not_in_state} rounds of {} {} {}, {vcpus} vCPUs, do not count: a target was not in state {}",
                route.name(),
                destination.name(),
                target_state.name(),
                target_state.name()
            ));
        }
    }
    warnings.extend(sources.values().flat_map(Source::warnings));
    warnings.dedup();
    warnings
}

fn distinct(cpus: &[usize]) -> usize {
    cpus.iter().collect::<std::collections::BTreeSet<_>>().len()
}
