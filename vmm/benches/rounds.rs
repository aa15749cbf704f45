//! What a round costs: the broadcast call alone, from its send to its last completion, and all of a round, from one send to the
//! next. Both by the guest's stamps, so that neither the machine's boot nor what lies between two blocks is in them.
//!
//! A round lasts longer than its call: the targets return to their state, and [`SETTLE`] passes, before the next send. Its
//! throughput is the rounds per second that count. A round that does not count, as a target was not in its state, adds its time.
//!
//! Before the measurement, each cell's period is held against the host's clock, and the share of a round that its call takes is
//! printed.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::Route;
use kipi::config::{CellId, Interface, LocalApics};
use kipi::events::recording::Recording;
use kipi::events::samples::Round;
use kipi::guest::blocks::{self, BlockSpec};
use kipi::guest::session::{Limits, Session};
use kipi::vm::{ApicIds, Hypervisor, VmConfig, image};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// As `kipi measure` has it by default.
const SETTLE: Duration = Duration::from_micros(10);
const DEADLINE: Duration = Duration::from_secs(10);
const VCPUS: [usize; 3] = [2, 4, 8];
const CELLS: [(Route, TargetState); 7] = [
    (Route::XApic, TargetState::Spin),
    (Route::XApic, TargetState::User),
    (Route::XApic, TargetState::Halt),
    (Route::X2Apic, TargetState::Spin),
    (Route::X2Apic, TargetState::User),
    (Route::X2Apic, TargetState::Halt),
    (Route::Memory, TargetState::Spin),
];
static NEVER: AtomicBool = AtomicBool::new(false);

fn boot(hypervisor: &Hypervisor, vcpus: usize) -> Session<'static> {
    let config = VmConfig {
        vcpus,
        ids: ApicIds::Consecutive,
        local_apics: LocalApics::Kernel,
        interface: Interface::Kvm,
        pin: &[],
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        image: image::EMBEDDED,
        halt_poll_ns: None,
        tsc_shifts: &[],
    };
    Session::boot(hypervisor, &config, Limits { deadline: DEADLINE, settle: SETTLE }, &NEVER).expect("a booted guest")
}

fn block(route: Route, target_state: TargetState, vcpus: usize) -> BlockSpec {
    BlockSpec {
        cell: CellId::broadcast(route, Destination::AllButSelf, target_state, vcpus),
        initiator: 0,
        worker: Worker::Stamp,
        argument: 0,
        recording: Recording::NOTHING,
        warmup: 1,
        rounds: 0,
    }
}

/// Cycles from the first send to the last, and how many rounds that is.
fn between_sends(rounds: &[Round]) -> (u64, usize) {
    let (Some(first), Some(last)) = (rounds.first(), rounds.last()) else { return (0, 0) };
    (last.t0.wrapping_sub(first.t0), rounds.len() - 1)
}

/// Cycles from the sends to the last completions, and how many rounds that is.
fn round_trips(rounds: &[Round]) -> (u64, usize) {
    (rounds.iter().map(|round| round.t2.wrapping_sub(round.t0)).sum(), rounds.len())
}

/// The time of `count` rounds by the measure `of`.
fn time(session: &mut Session<'_>, spec: &BlockSpec, count: u64, of: fn(&[Round]) -> (u64, usize)) -> Duration {
    /// So many that some count, and no more than a guest's ring of samples holds.
    const ROUNDS: std::ops::RangeInclusive<u64> = 16..=512;
    let mut seconds = 0.0;
    let mut left = count;
    while left > 0 {
        let now = left.min(*ROUNDS.end());
        let rounds = usize::try_from((now + 1).max(*ROUNDS.start())).expect("a small number");
        let (cycles, counted) = of(&run(session, &BlockSpec { rounds, ..*spec }));
        seconds += cycles as f64 / (session.tsc_khz() as f64 * 1e3) * (now as f64 / counted as f64);
        left -= now;
    }
    Duration::from_secs_f64(seconds)
}

/// The rounds of a block in which at least two count: a host that is busy elsewhere may keep targets from their HLT, and so all
/// of a block's rounds from counting.
fn run(session: &mut Session<'_>, spec: &BlockSpec) -> Vec<Round> {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        let block = blocks::run(session, spec, None).expect("a block of rounds");
        if block.rounds.len() > 1 {
            return block.rounds;
        }
    }
    panic!("of {TRIES} blocks, no two rounds count");
}

/// Prints the rounds a second of a cell and the share of a round that its call takes. The rate by the guest's stamps has to be that
/// by the host's clock, less what the host needs around a block.
fn print_share(session: &mut Session<'_>, spec: &BlockSpec) {
    /// Of two vCPUs. More of them wait for each other's time slices.
    const ROUNDS: usize = 512;
    /// How long the machine may take to begin and end a block, and the host to read it.
    const AROUND: Duration = Duration::from_millis(100);
    let count = 4 * ROUNDS / spec.cell.vcpus.pow(2);
    let khz = session.tsc_khz() as f64;
    let seconds = |(cycles, count): (u64, usize)| cycles as f64 / (khz * 1e3) / count as f64;
    let start = Instant::now();
    let rounds = run(session, &BlockSpec { rounds: count, ..*spec });
    let wall = start.elapsed().as_secs_f64();
    let (period, call) = (seconds(between_sends(&rounds)), seconds(round_trips(&rounds)));
    if rounds.len() == count {
        let by_stamps = period * (count - 1) as f64;
        let limit = 1.25 * by_stamps + AROUND.as_secs_f64();
        assert!((by_stamps..limit).contains(&wall), "{count} rounds took {wall} s, and {by_stamps} s by their stamps");
    }
    let CellId { route, target_state, vcpus, .. } = spec.cell;
    println!(
        "{:8} {:6} {vcpus} vCPUs: {:6.0} rounds/s, a call takes {:6.1} µs, {:.0} % of its round",
        route.name(),
        target_state.name(),
        1.0 / period,
        call * 1e6,
        100.0 * call / period
    );
}

/// The measure that has a throughput.
const ROUND: &str = "round";

fn bench(criterion: &mut Criterion, hypervisor: &Hypervisor) {
    for vcpus in VCPUS {
        let mut session = boot(hypervisor, vcpus);
        for (route, state) in CELLS {
            print_share(&mut session, &block(route, state, vcpus));
        }
        for (name, of) in [(ROUND, between_sends as fn(&[Round]) -> _), ("round trip", round_trips)] {
            let mut group = criterion.benchmark_group(format!("{name}/{vcpus} vCPUs"));
            // Where vCPUs share CPUs, a round may take as long as their time slices.
            group.sampling_mode(SamplingMode::Flat);
            if name == ROUND {
                group.throughput(Throughput::Elements(1));
            }
            for (route, state) in CELLS {
                let spec = block(route, state, vcpus);
                group.bench_function(BenchmarkId::new(route.name(), state.name()), |bencher| {
                    bencher.iter_custom(|count| time(&mut session, &spec, count, of));
                });
            }
            group.finish();
        }
    }
}

fn main() {
    let hypervisor = match Hypervisor::open(Path::new("/dev/kvm")) {
        Ok(hypervisor) => hypervisor,
        Err(error) => return println!("SKIP: {error}"),
    };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .without_plots()
        .configure_from_args();
    bench(&mut criterion, &hypervisor);
    criterion.final_summary();
}
