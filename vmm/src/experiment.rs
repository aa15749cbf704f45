//! The straight line of a measurement: plan, machines, blocks in turn, statistics, document.

use crate::breakdown::Ways;
use crate::call_trace;
use crate::config::{self, CellSpec, Config, MachineSpec, Observe};
use crate::host;
use crate::machine::recording::Recording;
use crate::machine::{self, BlockSpec, Calibration};
use crate::metrics::{self, MetricName};
use crate::report::csv::{CellKey, CsvWriter};
use crate::report::detail::{Arrival, CellDetail, Curve};
use crate::report::document::{
    self, Cell, CellClock, Clock, Exits, Instruments, Integrity, MEASUREMENT_SCHEMA, Measurement, ObserverEffect,
    Skipped, Spread,
};
use crate::route::Route;
use crate::samples::{self, Block, ExitSource};
use crate::stats::{self, Observation, Quantile};
use crate::trace::timeline;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::time::Duration;

/// Where blocks come from: a virtual machine, or a test's invention.
pub trait Source {
    /// Runs one block.
    ///
    /// # Errors
    /// As [`machine::Machine::run_block`].
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, machine::Error>;

    /// Measures the instruments.
    ///
    /// # Errors
    /// As [`machine::Machine::calibrate`].
    fn calibrate(&mut self) -> Result<Calibration, machine::Error>;

    /// The frequency of the guest's TSC, kHz.
    fn tsc_khz(&self) -> u64;

    /// The bound of a skew's clock error, in cycles, and how it was obtained.
    ///
    /// # Errors
    /// As [`machine::Machine::exchange_clocks`].
    fn clock_error(&mut self) -> Result<(u64, String), machine::Error>;

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
    Machine(#[from] machine::Error),
    /// Raw samples cannot be written.
    #[error(transparent)]
    Csv(#[from] io::Error),
}

/// What follows a measurement while it runs.
pub struct Observer<'a, W: Write> {
    /// Called before each block with the blocks done, their total, and the cell.
    pub progress: &'a mut dyn FnMut(usize, usize, &CellSpec),
    /// Where raw samples go.
    pub csv: Option<&'a mut CsvWriter<W>>,
    /// When the process started: for the time to the first broadcast.
    pub started: Option<&'a dyn Fn() -> Duration>,
    /// Where the details of the document's cells go, in their order.
    pub details: Option<&'a mut Vec<CellDetail>>,
}

/// What is collected of a cell.
struct Collected {
    spec: CellSpec,
    /// The blocks that the metrics are made of.
    blocks: Vec<Block>,
    /// The blocks whose events each source has recorded.
    traced: Vec<Traced>,
    /// What each of several initiators has brought.
    by_initiator: Vec<(usize, Block)>,
}

impl Collected {
    fn new(spec: CellSpec, config: &Config) -> Self {
        let sources = if spec.observe == Observe::Guest { config.trace.as_slice() } else { &[] };
        let traced = sources.iter().filter(|(_, refused)| refused.is_none()).map(|&(source, _)| Traced::new(source));
        Self { spec, blocks: Vec::new(), traced: traced.collect(), by_initiator: Vec::new() }
    }
}

/// What one source has recorded of a cell. The events themselves are not kept.
struct Traced {
    source: ExitSource,
    blocks: Vec<Block>,
    ways: Ways,
    of_events: BTreeMap<MetricName, Vec<Observation>>,
    /// Of each block, the rounds of the median and of the largest round trip, with their events.
    shown: Vec<samples::Round>,
}

impl Traced {
    fn new(source: ExitSource) -> Self {
        Self { source, blocks: Vec::new(), ways: Ways::default(), of_events: BTreeMap::new(), shown: Vec::new() }
    }

    fn add(&mut self, mut block: Block, route: Route, number: u32) {
        self.ways.add(Ways::of(&block, route.sends_from_guest()));
        for (metric, observation) in metrics::of_events(&block.rounds, number) {
            self.of_events.entry(metric).or_default().push(observation);
        }
        let rounds: Vec<&samples::Round> = block.rounds.iter().collect();
        self.shown.extend(call_trace::choose(&rounds).into_iter().map(|(_, number)| rounds[number].clone()));
        for round in &mut block.rounds {
            round.trace = Vec::new();
        }
        self.blocks.push(block);
    }
}

/// Measures the cells and describes the result. An error ends the measurement; what was measured until then is in the
/// document all the same.
pub fn run<W: Write, S: Source>(
    config: &Config,
    cells: &[CellSpec],
    refused: &[config::Refused],
    mut boot: impl FnMut(MachineSpec) -> Result<S, machine::Error>,
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
        details.extend(cells.filter_map(|cell| Some(detail(cell, sources.get(&cell.spec.machine())?))));
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
    cells: &[CellSpec],
    boot: &mut impl FnMut(MachineSpec) -> Result<S, machine::Error>,
    sources: &mut BTreeMap<MachineSpec, S>,
    instruments: &mut BTreeMap<MachineSpec, Instruments>,
    observer: &Observer<'_, W>,
) -> Result<(), Error> {
    for cell in cells {
        if sources.contains_key(&cell.machine()) {
            continue;
        }
        let mut source = boot(cell.machine())?;
        let start = std::time::Instant::now();
        source.run_block(&block(config, cell, Recording::COUNTS, 0, 1))?;
        let boot_ns = (source.boot_time() + start.elapsed()).as_nanos() as f64;
        let since_start = observer.started.filter(|_| sources.is_empty()).map(|started| started());
        let calibration = source.calibrate()?;
        let (error, method) = source.clock_error()?;
        let khz = frequency(source.tsc_khz());
        let clock = Clock { tsc_khz: khz.get(), error_ns: metrics::nanoseconds(error as f64, khz), method };
        instruments.insert(
            cell.machine(),
            Instruments {
                vcpus: cell.vcpus,
                local_apic: cell.machine().irqchip.name().to_owned(),
                stamp_ns: spread(&calibration.stamp, khz),
                exit_leg_ns: spread(&calibration.exit_leg, khz),
                exit_round_trip_ns: spread(&calibration.exit_round_trip, khz),
                first_broadcast_ns: since_start.map(|time| time.as_nanos() as f64),
                boot_ns,
                clock,
            },
        );
        sources.insert(cell.machine(), source);
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
            let Some(source) = sources.get_mut(&cell.spec.machine()) else { continue };
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
                        csv.block(&key(&cell.spec), number, &block.rounds, source.tsc_khz())?;
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
    let is_swept = |cell: &&mut Collected| cell.spec.observe == Observe::Guest && !cell.spec.route.is_host();
    let mut cells: Vec<&mut Collected> = collected.iter_mut().filter(is_swept).collect();
    let initiators: Vec<Vec<usize>> = cells.iter().map(|cell| config::initiators(cell.spec.vcpus)).collect();
    let total = initiators.iter().map(Vec::len).sum();
    let mut done = 0;
    for turn in 0..initiators.iter().map(Vec::len).max().unwrap_or(0) {
        for (cell, initiators) in cells.iter_mut().zip(&initiators) {
            let Some(&initiator) = initiators.get(turn) else { continue };
            let Some(source) = sources.get_mut(&cell.spec.machine()) else { continue };
            (observer.progress)(done, total, &cell.spec);
            let spec = block(config, &cell.spec, Recording::COUNTS, config.warmup, config.rounds.min(ROUNDS));
            cell.by_initiator.push((initiator, source.run_block(&BlockSpec { initiator, ..spec })?));
            done += 1;
        }
    }
    Ok(())
}

fn block(config: &Config, cell: &CellSpec, recording: Recording, warmup: usize, rounds: usize) -> BlockSpec {
    BlockSpec {
        route: cell.route,
        destination: cell.destination,
        target_state: cell.target_state,
        initiator: 0,
        worker: config.worker,
        argument: config.argument,
        observe: cell.observe == Observe::Exits,
        recording,
        warmup,
        rounds,
    }
}

fn key(cell: &CellSpec) -> CellKey<'static> {
    CellKey {
        route: cell.route.name(),
        destination: cell.destination.name(),
        target_state: cell.target_state.name(),
        vcpus: cell.vcpus,
        observe: cell.observe.name(),
    }
}

/// A cell's results; `None` if none of its blocks was run.
fn assess(config: &Config, cell: &Collected, instruments: &BTreeMap<MachineSpec, Instruments>) -> Option<Cell> {
    let clock = &instruments.get(&cell.spec.machine())?.clock;
    if cell.blocks.is_empty() {
        return None;
    }
    let khz = frequency(clock.tsc_khz);
    let mut integrity = samples::Integrity::default();
    let traced = || cell.traced.iter().flat_map(|traced| &traced.blocks);
    let swept = cell.by_initiator.iter().map(|(_, block)| block);
    cell.blocks.iter().chain(traced()).chain(swept).for_each(|block| integrity.add(block.integrity));
    // What two sources have seen is the kernel's: the last one of a name counts.
    let mut by_source: Vec<&Traced> = cell.traced.iter().collect();
    by_source.sort_by_key(|traced| traced.source);
    let of_events = by_source.into_iter().flat_map(|traced| &traced.of_events);
    let rounds: Vec<&[samples::Round]> = cell.blocks.iter().map(|block| block.rounds.as_slice()).collect();
    Some(Cell {
        route: cell.spec.route.name().to_owned(),
        destination: cell.spec.destination.name().to_owned(),
        target_state: cell.spec.target_state.name().to_owned(),
        vcpus: cell.spec.vcpus,
        observe: cell.spec.observe.name().to_owned(),
        rounds: rounds.iter().map(|block| block.len() as u64).sum(),
        rounds_asked: config.rounds as u64,
        not_in_state: cell.blocks.iter().map(|block| block.not_in_state).sum(),
        integrity: Integrity {
            lost: integrity.lost,
            duplicate: integrity.duplicate,
            late: integrity.late,
            timed_out: integrity.timed_out,
        },
        clock: CellClock { tsc_khz: clock.tsc_khz, error_ns: clock.error_ns },
        exits: exits_per_call(&cell.blocks.iter().chain(traced()).collect::<Vec<_>>(), cell.spec.targets()),
        breakdown: breakdown(cell, khz),
        observer_effect: observer_effect(config, cell, khz),
        by_initiator: cell.by_initiator.iter().map(|(initiator, block)| by_initiator(*initiator, block, khz)).collect(),
        metrics: metrics::collect(&rounds)
            .into_iter()
            .chain(of_events.filter_map(|(metric, values)| Some((*metric, stats::Sample::new(values.clone())?))))
            .map(|(metric, sample)| (metric.name().to_owned(), metric.to_document(&sample, khz)))
            .collect(),
    })
}

/// Delivery to each target, in cycles.
fn deliveries<'a>(rounds: impl Iterator<Item = &'a samples::Round>) -> BTreeMap<usize, stats::Summary> {
    let mut by_target: BTreeMap<usize, Vec<Observation>> = BTreeMap::new();
    for (vcpu, value) in rounds.flat_map(metrics::deliveries) {
        by_target.entry(vcpu).or_default().push(Observation { value, block: 0 });
    }
    by_target.into_iter().filter_map(|(vcpu, values)| Some((vcpu, stats::Sample::new(values)?.summary()))).collect()
}

fn by_initiator(initiator: usize, block: &Block, khz: NonZeroU64) -> document::ByInitiator {
    let target = |(vcpu, summary): (usize, stats::Summary)| document::DeliveryTo {
        vcpu,
        p50_ns: metrics::nanoseconds(summary.p50, khz),
    };
    document::ByInitiator {
        initiator,
        rounds: block.rounds.len() as u64,
        targets: deliveries(block.rounds.iter()).into_iter().map(target).collect(),
    }
}

/// What pictures of a cell need.
fn detail<S: Source>(cell: &Collected, source: &S) -> CellDetail {
    let khz = frequency(source.tsc_khz());
    let blocks: Vec<&[samples::Round]> = cell.blocks.iter().map(|block| block.rounds.as_slice()).collect();
    let samples = metrics::collect(&blocks);
    let curve = |metric: MetricName| {
        let values: Vec<f64> = samples.get(&metric)?.values().map(|value| metrics::nanoseconds(value, khz)).collect();
        Some(Curve::of(metric.name(), &values))
    };
    let arrivals = deliveries(blocks.iter().copied().flatten()).into_iter().map(|(vcpu, summary)| {
        let [p50, p99] = [summary.p50, summary.p99].map(|value| metrics::nanoseconds(value, khz));
        Arrival { vcpu, p50, p99 }
    });
    // Rounds with events tell more; of several sources, that of most.
    let sees_most =
        cell.traced.iter().max_by_key(|traced| traced.shown.iter().map(|round| round.trace.len()).sum::<usize>());
    let traced: Vec<&samples::Round> = sees_most.iter().flat_map(|traced| &traced.shown).collect();
    let stamped: Vec<samples::Round> = if traced.iter().all(|round| round.trace.is_empty()) {
        let rounds: Vec<&samples::Round> = blocks.iter().copied().flatten().collect();
        let with_stamps = |round: &samples::Round| {
            let trace = timeline::of_round(round, &[], None);
            samples::Round { trace, ..round.clone() }
        };
        call_trace::choose(&rounds).into_iter().map(|(_, number)| with_stamps(rounds[number])).collect()
    } else {
        Vec::new()
    };
    let rounds: Vec<&samples::Round> = if stamped.is_empty() { traced } else { stamped.iter().collect() };
    let exit_names = |reason, isa| source.exit_name(reason, isa);
    CellDetail {
        curves: [MetricName::RoundTrip, MetricName::Delivery, MetricName::StartSkew]
            .into_iter()
            .filter_map(curve)
            .collect(),
        arrivals: arrivals.collect(),
        calls: call_trace::choose(&rounds)
            .into_iter()
            .map(|(which, number)| call_trace::call(which, number, &rounds, khz, &exit_names))
            .collect(),
    }
}

/// Where the calls' time went, by the source that sees most.
fn breakdown(cell: &Collected, khz: NonZeroU64) -> Option<document::Breakdown> {
    let recorded = cell.traced.iter().filter(|traced| Recording::by(traced.source).has_events());
    let sees_most = recorded.filter_map(|traced| traced.ways.breakdown(khz)).max_by_key(|found| found.stages.len());
    if sees_most.is_some() {
        return sees_most;
    }
    let mut ways = Ways::default();
    cell.blocks.iter().for_each(|block| ways.add(Ways::of(block, cell.spec.route.sends_from_guest())));
    ways.breakdown(khz)
}

/// What each source that was asked for costs.
fn observer_effect(config: &Config, cell: &Collected, khz: NonZeroU64) -> Vec<ObserverEffect> {
    if cell.spec.observe != Observe::Guest {
        return Vec::new();
    }
    let round_trips = |blocks: &[Block]| {
        let rounds: Vec<&[samples::Round]> = blocks.iter().map(|block| block.rounds.as_slice()).collect();
        metrics::collect(&rounds).remove(&MetricName::RoundTrip)
    };
    let p50 = |sample: &stats::Sample| metrics::nanoseconds(sample.quantile(Quantile::P50), khz);
    let off = round_trips(&cell.blocks);
    let effect = |(source, unavailable): &(ExitSource, Option<String>)| {
        let traced = cell.traced.iter().find(|traced| traced.source == *source);
        let on = traced.and_then(|traced| round_trips(&traced.blocks));
        let ratio = on.as_ref().zip(off.as_ref()).and_then(|(on, off)| stats::ratio_of_medians(on, off));
        let lost = |traced: &Traced| traced.blocks.iter().map(|block| block.lost + block.dropped).sum();
        ObserverEffect {
            source: source.name().to_owned(),
            unavailable: unavailable.clone(),
            on_ns: on.as_ref().map(p50),
            off_ns: on.as_ref().and(off.as_ref()).map(p50),
            ratio: ratio.map(|ratio| ratio.value),
            ci95: ratio.and_then(|ratio| ratio.interval),
            lost: traced.map_or(0, lost),
        }
    };
    config.trace.iter().map(effect).collect()
}

/// Exits a call, by source and reason; those that never occurred are left out.
pub(crate) fn exits_per_call(blocks: &[&Block], targets: usize) -> Vec<Exits> {
    let targets = targets.max(1) as f64;
    let mut total = samples::Exits::new();
    for (key, count) in blocks.iter().flat_map(|block| &block.exits) {
        let sum = total.entry(key.clone()).or_default();
        sum.initiator += count.initiator;
        sum.targets += count.targets;
    }
    let per_call = |((source, reason), count): ((ExitSource, String), samples::ExitCount)| {
        let calls: u64 = blocks.iter().map(|block| block.counted_rounds(source)).sum();
        (calls > 0 && count.initiator + count.targets > 0).then(|| Exits {
            source: source.name().to_owned(),
            reason,
            initiator: count.initiator as f64 / calls as f64,
            per_target: count.targets as f64 / calls as f64 / targets,
        })
    };
    total.into_iter().filter_map(per_call).collect()
}

fn skipped(refused: &config::Refused) -> Skipped {
    Skipped {
        route: refused.cell.route.name().to_owned(),
        destination: refused.cell.destination.name().to_owned(),
        target_state: refused.cell.target_state.name().to_owned(),
        vcpus: refused.cell.vcpus,
        reason: refused.reason.to_owned(),
    }
}

fn describe(config: &Config) -> document::Config {
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect();
    document::Config {
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
    let host_calls = collected.iter().map(|cell| cell.spec).filter(|spec| spec.route.is_host());
    if let Some(most) = host_calls.map(|spec| spec.vcpus).max().filter(|&vcpus| vcpus.min(cpus) >= config.cpus.len()) {
        warnings.push(format!(
            "the host's calls share their CPU with a vCPU, {most} vCPUs on {} CPUs: the numbers tell about the host's \
             scheduler (pass a smaller --vcpus)",
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
            let CellSpec { route, destination, target_state, vcpus, .. } = cell.spec;
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
