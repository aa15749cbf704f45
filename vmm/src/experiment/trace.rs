//! `kipi trace`: a few broadcast calls on a fresh machine, with every event of every source.

use crate::config::{self, CellId, routes};
use crate::events::exit::Exit;
use crate::events::kernel::Point;
use crate::events::recording::Recording;
use crate::events::samples::{Block, Round};
use crate::events::timeline::{Event, What};
use crate::experiment::{self, Source};
use crate::guest::blocks::BlockSpec;
use crate::guest::session;
use crate::results::integrity::Integrity;
use crate::results::measurement::CellClock;
use crate::results::trace::{self, Call, TRACE_SCHEMA, Trace};
use crate::statistics::breakdown::Ways;
use crate::statistics::metrics::nanoseconds;
use crate::statistics::order::Quantile;
use crate::statistics::stages::{Path, Stage, offered};
use guest_stub::abi::Worker;
use std::num::NonZeroU64;

/// What is to be traced.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The call, and the machine.
    pub cell: CellId,
    /// Rounds.
    pub rounds: usize,
    /// Rounds before each block that do not count.
    pub warmup: usize,
    /// The worker.
    pub worker: Worker,
    /// Its argument.
    pub argument: u64,
    /// Who records.
    pub recording: Recording,
}

/// The names of exits.
pub type ExitNames<'a> = &'a dyn Fn(u64, u64) -> String;

/// Rounds of one block: what the rings of the vCPUs' threads have room for.
const BLOCK: usize = 200;
/// Blocks in a row without a round that counts before it is given up.
const PATIENCE: usize = 5;

/// Traces the calls on `source`, and describes those whose round trips are the median and the largest. The document's host,
/// sources and pins are the caller's to fill in.
///
/// # Errors
/// As [`Source::run_block`].
pub fn run(plan: &Plan, source: &mut impl Source) -> Result<Trace, session::Error> {
    let khz = NonZeroU64::new(source.tsc_khz()).unwrap_or(NonZeroU64::MIN);
    let (clock_error, _) = source.clock_error()?;
    let mut blocks: Vec<Block> = Vec::new();
    let mut missing = plan.rounds;
    let mut idle = 0;
    while missing > 0 && idle < PATIENCE {
        let block = source.run_block(&spec(plan, missing.min(BLOCK)))?;
        idle = if block.rounds.is_empty() { idle + 1 } else { 0 };
        missing -= block.rounds.len().min(missing);
        blocks.push(block);
    }
    let mut integrity = Integrity::default();
    let mut ways = Ways::default();
    for block in &blocks {
        integrity.add(block.integrity);
        ways.add(Ways::of(block, routes::of(plan.cell.route).sends_from_guest()));
    }
    let rounds: Vec<&Round> = blocks.iter().flat_map(|block| &block.rounds).collect();
    let mut warnings = source.warnings();
    let exit_names = |reason, isa| source.exit_name(reason, isa);
    if rounds.is_empty() {
        let state = plan.cell.target_state.name();
        warnings.push(format!("no round counts: a target was not in state {state} in any of them"));
    }
    Ok(Trace {
        schema: TRACE_SCHEMA.to_owned(),
        host: crate::host::describe(),
        config: describe(plan),
        sources: sources(plan, &blocks),
        rounds: rounds.len() as u64,
        not_in_state: blocks.iter().map(|block| block.not_in_state).sum(),
        integrity,
        clock: CellClock { tsc_khz: khz.get(), error_ns: nanoseconds(clock_error as f64, khz) },
        calls: choose(&rounds)
            .into_iter()
            .map(|(which, number)| call(which, number, &rounds, khz, &exit_names))
            .collect(),
        breakdown: ways.breakdown(khz),
        exits: experiment::exits_per_call(&blocks.iter().collect::<Vec<_>>(), config::targets(&plan.cell)),
        warnings,
    })
}

fn spec(plan: &Plan, rounds: usize) -> BlockSpec {
    BlockSpec {
        cell: plan.cell,
        initiator: 0,
        worker: plan.worker,
        argument: plan.argument,
        recording: plan.recording,
        warmup: plan.warmup,
        rounds,
    }
}

fn describe(plan: &Plan) -> trace::Config {
    trace::Config {
        id: plan.cell,
        rounds: plan.rounds as u64,
        warmup: plan.warmup as u64,
        worker: plan.worker.name().to_owned(),
        pin: Vec::new(),
    }
}

fn sources(plan: &Plan, blocks: &[Block]) -> Vec<trace::Source> {
    let source = |source: &str, lost| trace::Source { source: source.to_owned(), unavailable: None, lost };
    let Recording { stats, kernel, .. } = plan.recording;
    let mut sources = vec![source("guest", 0)];
    sources.extend(stats.then(|| source("stats", 0)));
    if plan.recording.stays == crate::events::stays::Keep::Everything {
        sources.push(source("vmm", blocks.iter().map(|block| block.dropped).sum()));
    }
    sources.extend(kernel.then(|| source("kernel", blocks.iter().map(|block| block.lost).sum())));
    sources
}

/// Which rounds are shown, and why: the only one, or the median and the worst.
pub(crate) fn choose(rounds: &[&Round]) -> Vec<(&'static str, usize)> {
    let mut order: Vec<usize> = (0..rounds.len()).collect();
    order.sort_by_key(|&number| Path::critical(rounds[number]).round_trip());
    match order.as_slice() {
        [] => Vec::new(),
        [only] => vec![("only", *only)],
        [.., worst] => vec![("median", order[Quantile::P50.rank(order.len()) - 1]), ("worst", *worst)],
    }
}

/// Round `number` of `rounds` as it is shown; `which` says why.
pub(crate) fn call(which: &str, number: usize, rounds: &[&Round], khz: NonZeroU64, exit_names: ExitNames<'_>) -> Call {
    let round = rounds[number];
    let after = |tsc: u64, from: u64| nanoseconds((i128::from(tsc) - i128::from(from)) as f64, khz);
    let path = Path::critical(round);
    let (costs, remainder) = path.costs(offered(std::iter::once(&path)));
    let stages = Stage::ALL.iter().zip(costs).filter_map(|(&stage, cost)| {
        Some(trace::Stage {
            stage: stage.name().to_owned(),
            end_ns: after(path.end(stage)?, round.t0),
            cost_ns: nanoseconds(cost? as f64, khz),
        })
    });
    let end = round.participants.iter().find(|each| Some(each.vcpu) == path.target).map_or(round.t2, |each| each.x);
    let mut afterwards = Vec::new();
    let mut begin = end;
    for (name, time) in [("EOI", path.eoi), ("return", path.back)] {
        let Some(time) = time else { continue };
        let (end_ns, cost_ns) = (after(time, round.t0), after(time, begin));
        afterwards.push(trace::Stage { stage: name.to_owned(), end_ns, cost_ns });
        begin = time;
    }
    let mut ends: Vec<(Stage, u64)> = Stage::ALL.iter().filter_map(|&stage| Some((stage, path.end(stage)?))).collect();
    let events = round.trace.iter().map(|event| {
        // The first event at a checkpoint's time, in the lane that it belongs to, is that checkpoint.
        let found = ends.iter().position(|&(stage, end)| end == event.tsc && belongs(stage, event, round, &path));
        let stage = found.map(|index| ends.remove(index).0.name().to_owned());
        trace::Event {
            at_ns: after(event.tsc, round.t0),
            vcpu: event.vcpu,
            source: event.what.source().name().to_owned(),
            kind: kind(event.what).to_owned(),
            detail: detail(event, exit_names),
            about: event.about,
            stage,
        }
    });
    let events = events.collect();
    Call {
        which: which.to_owned(),
        round: number as u64,
        begin_ns: after(round.t0, rounds[0].t0),
        round_trip_ns: after(round.t2, round.t0),
        last_target: path.target,
        stages: stages.collect(),
        remainder_ns: nanoseconds(remainder as f64, khz),
        afterwards,
        events,
    }
}

/// Whether an event at a stage's end is what the stage ends with.
fn belongs(stage: Stage, event: &Event, round: &Round, path: &Path) -> bool {
    match stage {
        Stage::SendExit => event.vcpu == round.initiator && event.what != What::Send,
        Stage::Accept => event.about == path.target || matches!(event.what, What::Served(..)),
        Stage::Kick => event.about == path.target || event.vcpu == path.target,
        Stage::Entry => event.vcpu == path.target && event.what.source() != What::Send.source(),
        Stage::Arrival => event.vcpu == path.target && event.what == What::Arrival,
        Stage::Gate => event.what == What::WorkerStart,
        Stage::Worker => event.what == What::WorkerEnd,
        Stage::Done => event.what == What::Completed,
    }
}

fn kind(what: What) -> &'static str {
    match what {
        What::Send => "send",
        What::Sent => "sent",
        What::Arrival => "arrival",
        What::WorkerStart => "worker_start",
        What::WorkerEnd => "worker_end",
        What::Completed => "completed",
        What::Enter => "enter",
        What::Return(..) => "return",
        What::Served(..) => "served",
        What::Kernel(point, _) => point.name(),
    }
}

fn detail(event: &Event, exit_names: ExitNames<'_>) -> String {
    let about = || event.about.map_or_else(String::new, |vcpu| format!("vCPU {vcpu}"));
    match event.what {
        What::Send => "send".to_owned(),
        What::Sent => "sent".to_owned(),
        What::Arrival => "interrupt entry".to_owned(),
        What::WorkerStart => "gate open, worker".to_owned(),
        What::WorkerEnd => "worker ended".to_owned(),
        What::Completed => "everybody is done".to_owned(),
        What::Enter => "KVM_RUN".to_owned(),
        What::Return(left) => format!("KVM_RUN returns: {}", exit(left)),
        What::Served(left) => format!("served: {}", exit(left)),
        What::Kernel(Point::Accept, [_, vector, _]) => format!("IPI accepted for {}, vector {vector:#x}", about()),
        What::Kernel(Point::Waking, _) => format!("wakes {}", about()),
        What::Kernel(point, values) => kernel(point, values, event, exit_names),
    }
}

fn exit(Exit { kind, payload }: Exit) -> String {
    let name = kind.name();
    if payload == 0 { name.to_owned() } else { format!("{name} {payload:#x}") }
}

fn kernel(point: Point, [first, second, third]: [u64; 3], event: &Event, exit_names: ExitNames<'_>) -> String {
    let access = |write: bool| if write { "write" } else { "read" };
    match point {
        Point::Exit => format!("exit: {}", exit_names(first, second)),
        Point::Entry => "entry".to_owned(),
        Point::Ipi => format!("IPI: ICR {first:#x}"),
        Point::Inject => format!("injects vector {first:#x}"),
        Point::Eoi if first > 0xFF => "EOI, nothing in service".to_owned(),
        Point::Eoi => format!("EOI, vector {first:#x}"),
        Point::Apic => format!("APIC {} {second:#x}: {third:#x}", access(first == 1)),
        Point::Msr => format!("MSR {} {second:#x}: {third:#x}", access(first != 0)),
        Point::Mmio => format!("MMIO {} {second:#x}: {third:#x}", access(first == 2)),
        Point::Port => format!("port {} {second:#x}", access(first != 0)),
        Point::UserExit => format!("to user space, reason {first}"),
        Point::Hypercall => format!("hypercall {first}"),
        Point::Message => format!("message {second:#x} to {first:#x}"),
        Point::Wakeup => format!("HLT ends, after {first} ns"),
        Point::Switch if event.about == event.vcpu => "thread on CPU".to_owned(),
        Point::Switch => "thread off CPU".to_owned(),
        Point::Accept | Point::Waking => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::timeline::of_round;
    use crate::events::timeline::tests::{event, round};

    const KHZ: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();

    fn traced(t2: u64) -> Round {
        let mut round = Round { t2, ..round() };
        let events = [
            event(1020, 0, What::Kernel(Point::Exit, [0x7C, 2, 0])),
            Event { about: Some(1), ..event(1040, 0, What::Kernel(Point::Accept, [1, 0xE1, 0])) },
            event(1250, 1, What::Kernel(Point::Entry, [1, 0, 0])),
            event(1540, 1, What::Kernel(Point::Eoi, [0xE1, 1, 0])),
            event(1560, 1, What::Kernel(Point::Entry, [1, 0, 0])),
        ];
        round.trace = of_round(&round, &events, None);
        round
    }

    #[test]
    fn the_median_and_the_worst_are_shown_and_one_is_the_only_one() {
        let rounds = [traced(1700), traced(1600), traced(1900), traced(1650)];
        let all: Vec<&Round> = rounds.iter().collect();
        assert_eq!(choose(&all), [("median", 3), ("worst", 2)]);
        assert_eq!(choose(&all[..1]), [("only", 0)]);
        assert_eq!(choose(&[]), []);
    }

    #[test]
    fn every_stage_is_marked_once_at_its_event() {
        let round = traced(1600);
        let call = call("only", 0, &[&round], KHZ, &|_, _| "msr".to_owned());
        let marked: Vec<(f64, &str, &str)> = call
            .events
            .iter()
            .filter_map(|event| Some((event.at_ns, event.stage.as_deref()?, event.detail.as_str())))
            .collect();
        assert_eq!(
            marked,
            [
                (20.0, "send exit", "exit: msr"),
                (40.0, "IPI accepted", "IPI accepted for vCPU 1, vector 0xe1"),
                (250.0, "entry", "entry"),
                (300.0, "interrupt entry", "interrupt entry"),
                (400.0, "gate", "gate open, worker"),
                (520.0, "worker", "worker ended"),
                (600.0, "done", "everybody is done"),
            ]
        );
        let sum: f64 = call.stages.iter().map(|stage| stage.cost_ns).sum();
        assert!((sum + call.remainder_ns - call.round_trip_ns).abs() < 1e-9);
        let then: Vec<(&str, f64)> =
            call.afterwards.iter().map(|stage| (stage.stage.as_str(), stage.cost_ns)).collect();
        assert_eq!(then, [("EOI", 20.0), ("return", 20.0)]);
    }
}
