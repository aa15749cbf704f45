//! The way from samples to the document, on machines that are made up: known stamps have known metrics.

use guest_stub::abi::{Destination, TargetState, Worker};
use kipi::config::routes::Route;
use kipi::config::{self, Call, CellId, Config, HostOffers, MachineSpec, Observe};
use kipi::events::recording::Recording;
use kipi::events::samples::{Block, ExitCount, Participant, Round};
use kipi::events::wakeups::Wakeups;
use kipi::experiment::machine::Machine;
use kipi::experiment::{self, Observer};
use kipi::guest::blocks::BlockSpec;
use kipi::guest::calibration::Calibration;
use kipi::guest::session::{Error, GivenUp};
use kipi::guest::silence::{Diagnosis, Silence};
use kipi::report::csv::CsvWriter;
use kipi::report::json;
use kipi::results::disturbance::{Disturbance, Kind};
use kipi::results::halts::Regime;
use kipi::results::integrity::Integrity;
use kipi::results::measurement::{self, IntervalScope, Measurement};
use kipi::results::metric::{MetricName, Scale};
use kipi::results::quiet::Verdict;
use kipi::results::source::Source;
use kipi::statistics::clock_error::{ClockError, Comparisons};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// One cycle of this clock is one nanosecond.
const KHZ: u64 = 1_000_000;
/// What the made-up clocks are off by, in cycles.
const CLOCK_ERROR: u64 = 35;

/// What the host's is off by in addition.
const HOST_ERROR: u64 = 7;

/// What a made-up machine does in its `n`-th block, counted from 0; block 0 is the first call after the boot.
type Behaviour<'a> = &'a dyn Fn(usize, &BlockSpec) -> Result<Block, Error>;

/// Everything that was asked of the machines, in order.
type Log = RefCell<Vec<(usize, BlockSpec)>>;

struct Invented<'a> {
    vcpus: usize,
    khz: u64,
    blocks: usize,
    log: &'a Log,
    behaviour: Behaviour<'a>,
}

impl Machine for Invented<'_> {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, Error> {
        self.log.borrow_mut().push((self.vcpus, *spec));
        self.blocks += 1;
        (self.behaviour)(self.blocks - 1, spec)
    }

    fn calibrate(&mut self, _: usize) -> Result<Calibration, Error> {
        Ok(Calibration { stamp: vec![5, 6, 7], exit_leg: vec![100], exit_round_trip: vec![200, 300] })
    }

    fn tsc_khz(&self) -> u64 {
        self.khz
    }

    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, Error> {
        let (subtracted, method) = (vec![0; self.vcpus], "made up".to_owned());
        Ok(ClockError { vcpus: Some(CLOCK_ERROR), host: HOST_ERROR, subtracted, comparisons: earlier.clone(), method })
    }

    fn boot_time(&self) -> Duration {
        Duration::from_millis(3)
    }

    fn unknown_disturbances(&self) -> Option<BTreeSet<Kind>> {
        Some([Kind::Steal].into())
    }

    fn warnings(&self) -> Vec<String> {
        vec![format!("{} vCPUs are made up", self.vcpus)]
    }
}

fn config() -> Config {
    Config {
        device: PathBuf::new(),
        guest: None,
        vcpus: vec![2],
        calls: vec![Call::Broadcast],
        routes: vec![Route::X2Apic],
        destinations: vec![Destination::AllButSelf],
        target_states: vec![TargetState::Spin, TargetState::Halt],
        idle_before: vec![None],
        observe: vec![Observe::Guest],
        trace: Vec::new(),
        sweep: false,
        boots: Some(1),
        repetitions: 0,
        references: None,
        rounds: 40,
        warmup: 3,
        worker: Worker::Spin,
        argument: 100,
        pin: vec![0, 1],
        cpus: vec![0, 1],
        deadline: None,
        settle: Duration::ZERO,
        halt_poll_ns: None,
        latency_us: None,
        limit_time: false,
    }
}

/// What a run brought.
struct Outcome {
    document: Measurement,
    error: Option<experiment::Error>,
    log: Vec<(usize, BlockSpec)>,
    progress: Vec<(usize, usize, CellId)>,
    csv: String,
    boots: usize,
}

fn run(config: &Config, behaviour: Behaviour<'_>) -> Outcome {
    let log = Log::default();
    let mut progress = Vec::new();
    let mut report = |done: usize, total: usize, cell: &CellId| progress.push((done, total, *cell));
    let mut csv = CsvWriter::new(Vec::new()).expect("a vector takes everything");
    let started = || Duration::from_millis(8);
    let mut samples = |cell: &CellId, block: &Block, khz: u64| csv.block(cell, block, khz);
    let mut observer = Observer {
        progress: &mut report,
        samples: Some(&mut samples),
        started: Some(&started),
        details: None,
        repeats: None,
    };
    let (cells, refused) = config::plan(config, HostOffers::EVERYTHING);
    let mut boots = 0;
    let boot = |MachineSpec { vcpus, .. }| {
        boots += 1;
        Ok(Invented { vcpus, khz: KHZ, blocks: 0, log: &log, behaviour })
    };
    let (document, error) = experiment::run(config, &cells, &refused, boot, &mut observer);
    let csv = String::from_utf8(csv.finish().expect("a vector takes everything")).expect("text");
    Outcome { document, error, log: log.into_inner(), progress, csv, boots }
}

/// A round of two vCPUs that begins at `t0`: 50 to send, 400 to arrive, starts 30 apart, workers of 100 and of 120,
/// 900 in all; the VMM's stamps are 200 and 260 after the starts.
fn round(generation: u32, t0: u64) -> Round {
    let participant = |vcpu, a, w: u64, length, exit| Participant {
        vcpu,
        a,
        halted: None,
        w: Some(t0 + w),
        x: Some(t0 + w + length),
        vmm: Some(t0 + w + exit),
    };
    let participants = vec![participant(0, None, 500, 100, 200), participant(1, Some(t0 + 400), 530, 120, 260)];
    Round { generation, initiator: Some(0), t0, t1: t0 + 50, t2: t0 + 900, participants, trace: Vec::new() }
}

fn block(rounds: Vec<Round>) -> Block {
    Block { exit_calls: rounds.len() as u64, rounds, ..Block::default() }
}

/// As many rounds as were asked for, all alike.
fn alike(spec: &BlockSpec) -> Block {
    block((0..spec.rounds as u64).zip(1..).map(|(number, generation)| round(4 * generation, 10_000 * number)).collect())
}

/// What a machine does on which nothing goes wrong.
const WELL: Behaviour<'static> = &|_, spec| Ok(alike(spec));

fn assert_valid(document: &Measurement) {
    let mut bytes = Vec::new();
    json::write(document, &mut bytes).expect("every number is finite");
    kipi_tests::document(std::str::from_utf8(&bytes).expect("text"));
}

/// A metric whose values are all `value`.
fn assert_constant(cell: &measurement::Cell, name: MetricName, n: u64, value: f64) {
    let metric = cell.metrics.get(&name).unwrap_or_else(|| panic!("no {name:?}"));
    assert_eq!((metric.unit, metric.n, metric.negative), (name.unit(), n, 0), "{name:?}");
    let all = [metric.min, metric.p50, metric.p90, metric.p99, metric.p999, metric.max];
    assert!(all.iter().all(|it| (it - value).abs() < 1e-9), "{name:?}: {all:?} instead of {value}");
}

#[test]
fn known_stamps_have_known_metrics() {
    let outcome = run(&config(), WELL);
    assert!(outcome.error.is_none());
    assert_valid(&outcome.document);
    assert_eq!(outcome.document.cells.len(), 2);
    for cell in &outcome.document.cells {
        for (name, value) in [
            (MetricName::SendCost, 50.0),
            (MetricName::Delivery, 400.0),
            (MetricName::StartSkew, 30.0),
            (MetricName::RoundTrip, 900.0),
            (MetricName::VmmStartSkew, 90.0),
            (MetricName::SkewGap, 60.0),
        ] {
            assert_constant(cell, name, 40, value);
        }
        // From 530 to 600, of workers of 110 on average.
        assert_constant(cell, MetricName::Overlap, 40, 70.0 / 110.0);
        let exits = &cell.metrics[&MetricName::ObservedExit];
        assert_eq!((exits.n, exits.min, exits.max), (80, 200.0, 260.0));
        for absent in [MetricName::ArrivalSkew, MetricName::SkewSlope] {
            assert!(!cell.metrics.contains_key(&absent), "one target has no {absent:?}");
        }
        assert_eq!((cell.rounds, cell.rounds_asked, cell.not_in_state), (40, 40, 0));
        assert_eq!(cell.integrity, Integrity::default());
        assert_eq!((cell.clock.tsc_khz, cell.clock.error_ns), (KHZ, Some(35.0)));
    }
    let states: Vec<&str> = outcome.document.cells.iter().map(|cell| cell.id.target_state.name()).collect();
    assert_eq!(states, ["spin", "halt"]);
}

#[test]
fn the_clocks_frequency_turns_cycles_into_time() {
    let (config, log) = (config(), Log::default());
    let (cells, refused) = config::plan(&config, HostOffers::EVERYTHING);
    let boot = |MachineSpec { vcpus, .. }| Ok(Invented { vcpus, khz: 4 * KHZ, blocks: 0, log: &log, behaviour: WELL });
    let mut observer =
        Observer { progress: &mut |_, _, _| {}, samples: None, started: None, details: None, repeats: None };
    let (document, _) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    let cell = &document.cells[0];
    assert_constant(cell, MetricName::RoundTrip, 40, 225.0);
    assert_constant(cell, MetricName::Overlap, 40, 70.0 / 110.0);
    assert_eq!(cell.clock.error_ns, Some(8.75));
    assert!((document.instruments[0].stamp_ns.p50 - 1.5).abs() < 1e-9);
    assert_eq!(document.instruments[0].first_broadcast_ns, None);
}

#[test]
fn blocks_of_the_cells_alternate() {
    let config = Config { rounds: 7, ..config() };
    let outcome = run(&config, WELL);
    let first = &outcome.log[0].1;
    assert_eq!((first.rounds, first.warmup), (1, 0), "one call after the boot, which is not measured");
    let states: Vec<TargetState> = outcome.log[1..].iter().map(|(_, spec)| spec.cell.target_state).collect();
    let sizes = config::blocks(config.rounds, config.warmup, 1);
    assert_eq!(states, [TargetState::Spin, TargetState::Halt].repeat(sizes.len()));
    for (number, (vcpus, spec)) in outcome.log[1..].iter().enumerate() {
        assert_eq!((*vcpus, spec.rounds, spec.warmup), (2, sizes[number / 2], 3));
        assert_eq!((spec.worker, spec.argument, spec.cell.observe), (Worker::Spin, 100, Observe::Guest));
    }
    let done: Vec<(usize, usize)> = outcome.progress.iter().map(|&(done, total, _)| (done, total)).collect();
    assert_eq!(done, (0..states.len()).map(|done| (done, states.len())).collect::<Vec<_>>());
    assert_eq!(outcome.progress[1].2.target_state, TargetState::Halt);
}

#[test]
fn blocks_come_from_machines_booted_in_turn() {
    // The stamps of each machine differ from those of the one before.
    let boot = Cell::new(0_u64);
    let drifts = |number, spec: &BlockSpec| {
        boot.set(boot.get() + u64::from(number == 0));
        let mut block = alike(spec);
        block.rounds.iter_mut().for_each(|round| round.t2 += boot.get());
        Ok(block)
    };
    let outcome = run(&Config { boots: Some(4), ..config() }, &drifts);
    assert_eq!((outcome.boots, outcome.document.config.boots), (4, 4));
    let sizes = config::blocks(40, 3, 4);
    assert_eq!(sizes.len(), 5);
    let states: Vec<TargetState> = outcome.log[1..].iter().map(|(_, spec)| spec.cell.target_state).collect();
    assert_eq!(
        states,
        [TargetState::Spin, TargetState::Halt].repeat(sizes.len()),
        "the cells share each boot's machine"
    );
    for cell in &outcome.document.cells {
        let round_trip = &cell.metrics[&MetricName::RoundTrip];
        assert_eq!((round_trip.n, round_trip.min, round_trip.max), (40, 901.0, 904.0), "of all machines");
    }
    assert_valid(&outcome.document);
}

#[test]
fn where_nothing_is_said_machines_that_boot_at_once_are_booted_25_times() {
    let boots = |rounds| {
        let outcome = run(&Config { boots: None, rounds, ..config() }, WELL);
        (outcome.boots as u64, outcome.document.config.boots)
    };
    assert_eq!([500, 20, 3].map(boots), [(25, 25), (5, 5), (3, 3)]);
}

#[test]
fn the_document_has_as_many_boots_as_there_were() {
    let more_than_rounds = run(&Config { boots: Some(30), rounds: 20, ..config() }, WELL);
    assert_eq!((more_than_rounds.boots, more_than_rounds.document.config.boots), (20, 20));
    // The first call, and two blocks each of two boots.
    let fails = Cell::new(0);
    let early = run(&Config { boots: Some(5), rounds: 5, ..config() }, &|_, spec| {
        fails.set(fails.get() + 1);
        if fails.get() > 5 { Err(Error::Interrupted) } else { Ok(alike(spec)) }
    });
    assert_eq!((early.boots, early.document.config.boots), (3, 2), "the third has run no block");
}

#[test]
fn where_nothing_is_said_machines_that_boot_slowly_are_booted_less_often() {
    let (config, log) = (Config { boots: None, rounds: 500, ..config() }, Log::default());
    let (cells, refused) = config::plan(&config, HostOffers::EVERYTHING);
    let mut boots = 0;
    let boot = |MachineSpec { vcpus, .. }| {
        boots += 1;
        std::thread::sleep(Duration::from_millis(300));
        Ok(Invented { vcpus, khz: KHZ, blocks: 0, log: &log, behaviour: WELL })
    };
    let mut observer =
        Observer { progress: &mut |_, _, _| {}, samples: None, started: None, details: None, repeats: None };
    let (document, _) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    assert_eq!((boots, document.config.boots), (5, 5), "of 0.3 s, in a second; but as many as an interval needs");
    assert_eq!(document.cells[0].rounds, 500);
    assert!(document.cells[0].metrics[&MetricName::RoundTrip].ci95.p50.is_some());
}

#[test]
fn references_are_measured_in_every_turn_and_are_no_cells() {
    let memory = CellId::broadcast(Route::Memory, Destination::AllButSelf, TargetState::Spin, 2);
    let silent = CellId::broadcast(Route::XApic, Destination::AllButSelf, TargetState::Spin, 2);
    let config = Config { boots: Some(5), references: Some(vec![silent, memory]), ..config() };
    let behaviour =
        |_, spec: &BlockSpec| if spec.cell.route == Route::XApic { Err(given_up(1)) } else { Ok(alike(spec)) };
    let outcome = run(&config, &behaviour);
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let document = &outcome.document;
    assert_eq!(document.cells.len(), 2);
    let [first, second, exit] = &document.references[..] else { panic!("{:?}", document.references) };
    assert_eq!((first.cell, first.blocks.len()), (Some(silent), 0), "once given up, it is left out");
    assert_eq!(outcome.log.iter().filter(|(_, spec)| spec.cell == silent).count(), 1);
    assert_eq!(second.cell, Some(memory));
    let turns: Vec<(u32, u64, f64)> = second.blocks.iter().map(|block| (block.number, block.n, block.p50_ns)).collect();
    assert_eq!(turns, [0, 1, 2, 3, 4].map(|number| (number, 3, 900.0)));
    assert_eq!(second.blocks.iter().map(|block| block.boot).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!((exit.cell, exit.blocks.len(), exit.blocks[0].n, exit.blocks[0].p50_ns), (None, 5, 2, 200.0));
    assert_eq!(outcome.csv.lines().count(), 1 + 2 * 2 * 40, "they have no samples");
    assert_valid(document);
}

#[test]
fn a_calibrated_run_is_repeated_and_its_intervals_hold_the_drift_between_runs() {
    // Each run of five boots is slower than the one before.
    let boot = Cell::new(0_u64);
    let drifts = |number, spec: &BlockSpec| {
        boot.set(boot.get() + u64::from(number == 0));
        let mut block = alike(spec);
        block.rounds.iter_mut().for_each(|round| round.t2 += 10 * ((boot.get() - 1) / 5));
        Ok(block)
    };
    let config = Config { boots: Some(5), repetitions: 2, ..config() };
    let outcome = run(&config, &drifts);
    assert_eq!((outcome.boots, outcome.document.intervals), (15, IntervalScope::BetweenRuns));
    for cell in &outcome.document.cells {
        let round_trip = &cell.metrics[&MetricName::RoundTrip];
        assert_eq!((cell.rounds, round_trip.min, round_trip.max), (40, 900.0, 900.0), "only of the first run");
        let between = round_trip.between_runs.as_ref().expect("it was measured");
        assert_eq!((between.runs, between.p50, between.scale), (3, between.p99, Scale::Logarithm));
        assert!((between.p50.unwrap() - 9.9).abs() < 0.05, "10, on a logarithmic scale: {between:?}");
        assert_eq!(between.of_runs.iter().map(|run| run.p50).collect::<Vec<_>>(), [900.0, 910.0, 920.0]);
        assert_eq!(between.of_runs[0].ci95.p50, Some([900.0; 2]), "before it was widened");
        let [low, high] = round_trip.ci95.p50.expect("five boots");
        assert!(low < 860.0 && high > 940.0, "900 ± 4.3 × 10, not {low} to {high}");
    }
    assert_eq!(outcome.csv.lines().count(), 1 + 2 * 2 * 40, "samples are those of the first run");
    assert_valid(&outcome.document);
    let once = run(&Config { repetitions: 0, ..config }, &drifts).document;
    assert_eq!(once.intervals, IntervalScope::WithinRun);
    assert!(once.cells[0].metrics.values().all(|metric| metric.between_runs.is_none()));
}

#[test]
fn a_repetition_that_fails_leaves_the_run_as_it_was() {
    let blocks = Cell::new(0);
    let fails = |_, spec: &BlockSpec| {
        blocks.set(blocks.get() + 1);
        if blocks.get() > 15 { Err(Error::Interrupted) } else { Ok(alike(spec)) }
    };
    let outcome = run(&Config { repetitions: 3, ..config() }, &fails);
    assert!(matches!(outcome.error, Some(experiment::Error::Machine(Error::Interrupted))));
    let document = &outcome.document;
    assert_eq!((document.partial, document.intervals), (true, IntervalScope::WithinRun));
    assert_eq!(document.cells.iter().map(|cell| cell.rounds).collect::<Vec<_>>(), [40, 40]);
    assert_valid(document);
}

#[test]
fn each_count_of_vcpus_has_its_machine_and_its_instruments() {
    let both = vec![Observe::Guest, Observe::Exits];
    let config =
        Config { vcpus: vec![4, 2], rounds: 1, observe: both, cpus: vec![0, 1, 2, 3], pin: vec![], ..config() };
    let outcome = run(&config, WELL);
    let measured: Vec<(usize, Observe)> =
        outcome.log[2..].iter().map(|(vcpus, spec)| (*vcpus, spec.cell.observe)).collect();
    let [guest, exits] = [Observe::Guest, Observe::Exits];
    let of = |vcpus| [(vcpus, guest), (vcpus, exits)].repeat(2);
    assert_eq!(measured, [of(4), of(2)].concat());
    let instruments = &outcome.document.instruments;
    assert_eq!(instruments.iter().map(|it| it.vcpus).collect::<Vec<_>>(), [2, 4]);
    for it in instruments {
        assert_eq!((it.stamp_ns.n, it.stamp_ns.min, it.stamp_ns.p50, it.stamp_ns.max), (3, 5.0, 6.0, 7.0));
        assert_eq!((it.exit_leg_ns.n, it.exit_leg_ns.max, it.exit_round_trip_ns.max), (1, 100.0, 300.0));
        assert_eq!(it.clock.method, "made up");
        assert!(it.boot_ns >= 3e6, "the boot and its first call: {}", it.boot_ns);
    }
    // Of the first machine alone: of the second, it would tell about the first as well.
    let first: Vec<Option<f64>> = instruments.iter().map(|it| it.first_broadcast_ns).collect();
    assert_eq!(first, [None, Some(8e6)]);
    let made_up = ["2 vCPUs are made up", "4 vCPUs are made up"];
    assert_eq!(outcome.document.warnings, made_up);
    assert_valid(&outcome.document);
}

#[test]
fn an_error_in_the_middle_leaves_what_was_measured() {
    // The fourth block of the run is the second of the spinning cell.
    let fails = |number, spec: &BlockSpec| {
        if number == 3 { Err(Error::BadReport("made up".to_owned())) } else { Ok(alike(spec)) }
    };
    let outcome = run(&config(), &fails);
    assert!(matches!(outcome.error, Some(experiment::Error::Machine(Error::BadReport(_)))));
    let document = &outcome.document;
    assert!(document.partial && document.error.as_deref().is_some_and(|error| error.contains("made up")));
    let rounds: Vec<(u64, u64)> = document.cells.iter().map(|cell| (cell.rounds, cell.rounds_asked)).collect();
    let block = config::blocks(40, 3, 1)[0];
    assert_eq!(rounds, [(block as u64, 40); 2], "one block each");
    assert_eq!(outcome.csv.lines().count(), 1 + 2 * 2 * block, "two cells, two participants");
    assert_valid(document);
}

#[test]
fn an_error_in_the_first_block_leaves_the_other_cells_out() {
    let fails = |number, spec: &BlockSpec| if number == 2 { Err(Error::Interrupted) } else { Ok(alike(spec)) };
    let outcome = run(&config(), &fails);
    assert!(matches!(outcome.error, Some(experiment::Error::Machine(Error::Interrupted))));
    assert_eq!(outcome.document.cells.len(), 1, "the halted targets have no block");
    assert_eq!((outcome.document.partial, outcome.document.error.as_deref()), (true, Some("interrupted")));
    assert_valid(&outcome.document);
}

#[test]
fn a_machine_that_does_not_come_up_leaves_an_empty_document() {
    let outcome = run(&config(), &|_, _| Err(Error::BadReport("made up".to_owned())));
    assert!(outcome.error.is_some() && outcome.document.partial);
    assert!(outcome.document.cells.is_empty() && outcome.document.instruments.is_empty());
    assert_valid(&outcome.document);
}

#[test]
fn what_went_wrong_is_summed_over_the_blocks() {
    let wrong = |number: usize, spec: &BlockSpec| {
        let mut block = alike(spec);
        // Rounds that do not count are none of the rounds that do.
        block.rounds.pop();
        block.not_in_state = 1;
        block.integrity = Integrity { lost: 1, duplicate: 2, late: 3, timed_out: number as u64 };
        Ok(block)
    };
    let only_spin = vec![TargetState::Spin];
    let outcome = run(&Config { target_states: only_spin, ..config() }, &wrong);
    assert!(outcome.error.is_none(), "what a call did wrong does not end the run");
    let cell = &outcome.document.cells[0];
    // The first call after the boot is number 0, and counts nowhere.
    let n = config::blocks(40, 3, 1).len() as u64;
    let expected = Integrity { lost: n, duplicate: 2 * n, late: 3 * n, timed_out: (1..=n).sum() };
    assert_eq!((cell.integrity, cell.rounds, cell.not_in_state), (expected, 40 - n, n));
    let (warnings, text) = (&outcome.document.warnings, format!("{n} rounds of x2apic all-but-self spin, 2 vCPUs"));
    assert!(warnings.iter().any(|it| it.contains(&text)), "{warnings:?}");
    assert_valid(&outcome.document);
}

/// A block whose call after `rounds` rounds is given up: vCPU 1 is silent.
fn given_up(rounds: u32) -> Error {
    let diagnosis = Diagnosis {
        operation: "broadcasting",
        silence: Silence::NeverArrived { round: rounds, generation: 8 },
        waited: Duration::from_millis(5),
        missing: vec![1],
        places: Vec::new(),
    };
    let rounds = (0..rounds).map(|number| round(4, 10_000 * u64::from(number))).collect();
    let integrity = Integrity { timed_out: 1, ..Integrity::default() };
    Error::GivenUp(Box::new(GivenUp { diagnosis, block: Block { integrity, ..block(rounds) } }))
}

/// The document's cell with targets in this state.
fn cell_of(document: &Measurement, state: TargetState) -> &measurement::Cell {
    document.cells.iter().find(|cell| cell.id.target_state == state).expect("a cell")
}

#[test]
fn a_call_that_is_given_up_is_counted_and_the_next_block_has_a_fresh_machine() {
    let halted = Cell::new(0);
    let fails_once = |_, spec: &BlockSpec| {
        let is_halted = spec.cell.target_state == TargetState::Halt;
        halted.set(halted.get() + usize::from(is_halted));
        if is_halted && halted.get() == 2 { Err(given_up(2)) } else { Ok(alike(spec)) }
    };
    let outcome = run(&config(), &fails_once);
    assert!(outcome.error.is_none() && !outcome.document.partial, "{:?}", outcome.error);
    assert_eq!(outcome.boots, 2);
    let spin = cell_of(&outcome.document, TargetState::Spin);
    assert_eq!((spin.rounds, spin.integrity), (40, Integrity::default()), "bad luck of another cell");
    let halt = cell_of(&outcome.document, TargetState::Halt);
    let cut = 2;
    let left_out = (config::blocks(40, 3, 1)[1] - cut) as u64;
    assert_eq!((halt.rounds, halt.integrity.timed_out), (40 - left_out, 1), "the rounds before it are kept");
    assert_eq!(outcome.csv.lines().count() as u64, 1 + 2 * (40 + 40 - left_out));
    let [first, ..] = &outcome.document.warnings[..] else { panic!("no warning") };
    assert!(
        first.starts_with("x2apic, all-but-self, halt, 2 vCPUs, guest: a call was given up: broadcasting: round 2"),
        "{first}"
    );
    assert!(first.contains("never arrived: vCPU 1"), "{first}");
    assert_valid(&outcome.document);
}

#[test]
fn a_cell_whose_calls_time_out_again_and_again_is_given_up() {
    let fails = |_, spec: &BlockSpec| {
        if spec.cell.target_state == TargetState::Halt { Err(given_up(0)) } else { Ok(alike(spec)) }
    };
    let outcome = run(&config(), &fails);
    assert!(outcome.error.is_none() && !outcome.document.partial, "{:?}", outcome.error);
    let halted = outcome.log.iter().filter(|(_, spec)| spec.cell.target_state == TargetState::Halt).count();
    assert_eq!((halted, outcome.boots), (3, 4), "each on a fresh machine");
    let halt = cell_of(&outcome.document, TargetState::Halt);
    assert_eq!((halt.rounds, halt.integrity.timed_out, halt.metrics.len()), (0, 3, 0));
    assert_eq!(cell_of(&outcome.document, TargetState::Spin).rounds, 40);
    let [first, ..] = &outcome.document.warnings[..] else { panic!("no warning") };
    assert!(first.contains("3 calls were given up, and no more made; the first: broadcasting: round 0"), "{first}");
    let (done, total, _) = outcome.progress.last().expect("blocks were run");
    assert_eq!(done + 1, *total, "the blocks that are left out count as done");
    assert_valid(&outcome.document);
}

#[test]
fn a_first_call_that_is_given_up_leaves_the_machine_to_the_next_cell() {
    let calls = Cell::new(0);
    let fails = |_, spec: &BlockSpec| {
        calls.set(calls.get() + 1);
        if calls.get() == 1 { Err(given_up(0)) } else { Ok(alike(spec)) }
    };
    let outcome = run(&config(), &fails);
    assert!(outcome.error.is_none() && !outcome.document.partial, "{:?}", outcome.error);
    assert_eq!(outcome.boots, 2);
    assert_eq!(outcome.document.instruments.len(), 1);
    let spin = cell_of(&outcome.document, TargetState::Spin);
    assert_eq!((spin.rounds, spin.integrity.timed_out), (40, 1), "what went wrong counts all the same");
    assert_eq!(outcome.log[1].1.cell.target_state, TargetState::Halt, "the next cell's first call");
    let none = run(&config(), &|_, _| Err(given_up(0))).document;
    assert_eq!(none.cells.iter().map(|cell| cell.integrity.timed_out).sum::<u64>(), 6);
    assert!(!none.partial && none.instruments.len() == 1);
    assert_valid(&none);
}

#[test]
fn exits_are_told_by_call_and_target() {
    let exits = |_, spec: &BlockSpec| {
        let mut block = alike(spec);
        let calls = (spec.rounds + spec.warmup) as u64;
        block.exit_calls = calls;
        let count = |initiator, targets| ExitCount { initiator, targets };
        block.exits.insert((Source::Stats, "halt_exits".to_owned()), count(0, calls * 6));
        block.exits.insert((Source::Vmm, "observe".to_owned()), count(calls, calls * 3));
        block.exits.insert((Source::Vmm, "mmio".to_owned()), count(0, 0));
        Ok(block)
    };
    let outcome = run(&Config { vcpus: vec![4], ..config() }, &exits);
    let found: Vec<(&str, &str, f64, f64)> = outcome.document.cells[0]
        .exits
        .iter()
        .map(|it| (it.source.name(), it.reason.as_str(), it.initiator, it.per_target))
        .collect();
    assert_eq!(found, [("stats", "halt_exits", 0.0, 2.0), ("vmm", "observe", 1.0, 1.0)]);
}

#[test]
fn a_call_that_goes_wrong_in_a_repetition_is_known() {
    // The first call and the blocks of the first run come before.
    let blocks = Cell::new(0);
    let config = Config { boots: Some(5), repetitions: 2, ..config() };
    let first = 1 + 2 * config::blocks(config.rounds, config.warmup, 5).len();
    let outcome = run(&config, &|_, spec| {
        blocks.set(blocks.get() + 1);
        let mut block = alike(spec);
        block.integrity.lost = u64::from(blocks.get() == first + 5);
        Ok(block)
    });
    let lost: u64 = outcome.document.cells.iter().map(|cell| cell.integrity.lost).sum();
    assert_eq!((lost, outcome.document.config.repetitions), (1, 2));
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!(quiet.blocks, 3 * (first as u64 - 1), "of all runs");
    assert_valid(&outcome.document);
}

#[test]
fn quiet_blocks_of_few_boots_are_too_few() {
    // Two blocks a boot; those of all boots but the first are disturbed, whenever they are measured.
    let config = Config { target_states: vec![TargetState::Halt], boots: Some(5), rounds: 100, ..config() };
    let boot = Cell::new(0);
    let outcome = run(&config, &|number, spec| {
        boot.set(boot.get() + u32::from(number == 0));
        Ok(if boot.get() > 4 { disturbed(spec) } else { alike(spec) })
    });
    let cell = &outcome.document.cells[0];
    let quiet = cell.blocks.iter().filter(|block| block.disturbances.is_empty()).count();
    assert!(quiet >= 5 && cell.never_quiet, "{quiet} of four boots, and an interval needs five");
    assert!(cell.metrics[&MetricName::RoundTrip].ci95.p50.is_some(), "of all of its blocks");
}

#[test]
fn a_disturbed_reference_is_marked() {
    let memory = CellId::broadcast(Route::Memory, Destination::AllButSelf, TargetState::Spin, 2);
    let config = Config { boots: Some(5), references: Some(vec![memory]), ..config() };
    let outcome = run(&config, &|_, spec| Ok(if spec.cell == memory { disturbed(spec) } else { alike(spec) }));
    let [reference, exits] = &outcome.document.references[..] else { panic!("{:?}", outcome.document.references) };
    assert!(reference.blocks.iter().all(|block| block.disturbances.len() == 1));
    assert!(exits.blocks.iter().all(|block| block.disturbances.is_empty()), "nobody watches them");
    assert_valid(&outcome.document);
}

/// A block whose calls take ten times as long, because vCPU 1 waited.
fn disturbed(spec: &BlockSpec) -> Block {
    let mut block = alike(spec);
    block.rounds.iter_mut().for_each(|round| round.t2 = round.t0 + 9_000);
    let kind = Kind::WaitedForCpu;
    block.disturbances = vec![Disturbance { kind, amount: 5e6, unit: kind.unit(), vcpu: Some(1), cpu: Some(1) }];
    block
}

#[test]
fn disturbed_blocks_are_measured_again_and_left_out() {
    let blocks = Cell::new(0);
    let config = Config { target_states: vec![TargetState::Halt], ..config() };
    // After the first call: the second block, and what is measured in its place.
    let outcome = run(&config, &|_, spec| {
        blocks.set(blocks.get() + 1);
        Ok(if [3, 7].contains(&blocks.get()) { disturbed(spec) } else { alike(spec) })
    });
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let document = &outcome.document;
    assert_valid(document);
    let cell = &document.cells[0];
    assert_constant(cell, MetricName::RoundTrip, 40, 900.0);
    assert_eq!((cell.rounds, cell.blocks.len(), cell.never_quiet), (40, 7, false));
    let is_disturbed: Vec<bool> = cell.blocks.iter().map(|block| !block.disturbances.is_empty()).collect();
    assert_eq!(is_disturbed, [false, true, false, false, false, true, false]);
    let quiet = document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, quiet.blocks, quiet.disturbed), (Verdict::DisturbedBlocksLeftOut, 7, 2));
    assert_eq!((&quiet.unknown, quiet.causes[0].blocks), (&[Kind::Steal].into(), 2));
    assert_eq!(outcome.boots, 3, "each repetition has a fresh machine");
    // Both participants of 8 rounds, in both blocks.
    assert_eq!(outcome.csv.lines().filter(|line| line.ends_with(",true")).count(), 2 * 8 * 2);
    assert_eq!(outcome.csv.lines().filter(|line| line.ends_with(",false")).count(), 2 * 8 * 5);
}

#[test]
fn a_cell_that_is_never_quiet_has_all_its_blocks_marked() {
    let config = Config { target_states: vec![TargetState::Halt], ..config() };
    let outcome = run(&config, &|_, spec| Ok(disturbed(spec)));
    let cell = &outcome.document.cells[0];
    assert_constant(cell, MetricName::RoundTrip, 80, 9_000.0);
    assert_eq!((cell.blocks.len(), cell.never_quiet), (10, true), "as many again as there are blocks");
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, &quiet.never_quiet), (Verdict::NeverQuiet, &vec![cell.id]));
}

/// A machine that others use all the time: its blocks take 30 ms, and their rounds are 10 µs apart.
fn busy(spec: &BlockSpec) -> Block {
    std::thread::sleep(Duration::from_millis(30));
    disturbed(spec)
}

#[test]
fn a_run_that_others_disturb_takes_no_longer_than_it_may() {
    let config =
        Config { rounds: 1_000, boots: Some(25), limit_time: true, target_states: vec![TargetState::Halt], ..config() };
    let start = std::time::Instant::now();
    let outcome = run(&config, &|_, spec| Ok(busy(spec)));
    // Of 50 blocks, and as many that are measured again, each for a second at most, and as long as one block takes.
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    let cell = &outcome.document.cells[0];
    let numbers: BTreeSet<u32> = cell.blocks.iter().map(|block| block.number).collect();
    assert!(numbers.len() < 40 && cell.blocks.len() > numbers.len() && cell.never_quiet, "{}", cell.blocks.len());
    assert!(cell.rounds_asked == 1_000 && !outcome.document.partial);
    let warning = format!("{} of 50 blocks of each cell", numbers.len());
    assert!(outcome.document.warnings[0].contains(&warning), "{:?}", outcome.document.warnings);
    assert_valid(&outcome.document);
}

#[test]
fn blocks_with_events_are_replaced_in_their_pair() {
    let trace = vec![(Source::Vmm, None)];
    let config = Config { target_states: vec![TargetState::Halt], trace, boots: Some(5), ..config() };
    let blocks = Cell::new(0);
    let outcome = run(&config, &|_, spec| {
        blocks.set(blocks.get() + 1);
        let is_disturbed = spec.recording.has_events() && blocks.get() < 6;
        Ok(if is_disturbed { disturbed(spec) } else { alike(spec) })
    });
    let cell = &outcome.document.cells[0];
    let effect = &cell.observer_effect[0];
    assert_eq!((effect.ratio, effect.on_ns), (Some(1.0), Some(900.0)), "{effect:?}");
    assert!(effect.ci95.is_some(), "each block has its pair");
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, effect.never_quiet), (Verdict::DisturbedBlocksLeftOut, false));
    assert!(quiet.disturbed > 0 && effect.disturbances.iter().any(|of_block| !of_block.is_empty()), "{quiet:?}");
}

#[test]
fn disturbed_blocks_with_events_are_known_to_the_verdict() {
    let trace = vec![(Source::Vmm, None)];
    let config = Config { target_states: vec![TargetState::Halt], trace, ..config() };
    let outcome = run(&config, &|_, spec| Ok(if spec.recording.has_events() { disturbed(spec) } else { alike(spec) }));
    assert_valid(&outcome.document);
    let cell = &outcome.document.cells[0];
    assert!(!cell.never_quiet && cell.observer_effect[0].never_quiet && cell.uses_disturbed_blocks());
    assert!(cell.observer_effect[0].disturbances.iter().all(|of_block| !of_block.is_empty()));
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, &quiet.never_quiet), (Verdict::NeverQuiet, &vec![cell.id]));
}

#[test]
fn a_disturbed_initiator_is_known_to_the_verdict() {
    let config = Config { target_states: vec![TargetState::Halt], sweep: true, ..config() };
    let outcome = run(&config, &|_, spec| Ok(if spec.initiator == 1 { disturbed(spec) } else { alike(spec) }));
    assert_valid(&outcome.document);
    let cell = &outcome.document.cells[0];
    let is_disturbed = |initiator| {
        let mut from = cell.by_initiator.iter().filter(|from| from.initiator == initiator);
        from.next().map(|from| !from.disturbances.is_empty())
    };
    assert_eq!((cell.never_quiet, is_disturbed(0), is_disturbed(1)), (false, Some(false), Some(true)));
    let quiet = outcome.document.quiet.as_ref().expect("somebody looked");
    assert_eq!((quiet.verdict, &quiet.never_quiet), (Verdict::NeverQuiet, &vec![cell.id]));
}

#[test]
fn a_source_of_events_gets_blocks_of_its_own_and_a_ratio() {
    // With events, every round trip takes 9 more, and two events are lost in each block.
    let recorded = |_, spec: &BlockSpec| {
        let mut block = alike(spec);
        block.recording = spec.recording;
        if spec.recording.has_events() {
            block.lost = 2;
            block.rounds.iter_mut().for_each(|round| round.t2 += 9);
        }
        if spec.recording.kernel {
            let exits = ExitCount { initiator: spec.rounds as u64, targets: 0 };
            block.exits.insert((Source::Kernel, "msr".to_owned()), exits);
        }
        Ok(block)
    };
    let refused = Some("made up".to_owned());
    let trace = vec![(Source::Kernel, None), (Source::Vmm, refused), (Source::Stats, None)];
    let only_spin = vec![TargetState::Spin];
    let outcome = run(&Config { trace, target_states: only_spin, ..config() }, &recorded);
    let kinds: Vec<Recording> = outcome.log[1..].iter().map(|(_, spec)| spec.recording).collect();
    let [off, kernel, stats] = [Recording::NOTHING, Recording::by(Source::Kernel), Recording::by(Source::Stats)];
    assert_eq!(kinds[..6], [off, kernel, stats, kernel, stats, off], "each comes first in its turn");
    assert_eq!(outcome.progress.last().map(|&(done, total, _)| (done, total)), Some((kinds.len() - 1, kinds.len())));
    let cell = &outcome.document.cells[0];
    assert_constant(cell, MetricName::RoundTrip, 40, 900.0);
    let effects: Vec<(&str, Option<f64>, u64)> =
        cell.observer_effect.iter().map(|it| (it.source.name(), it.ratio, it.lost)).collect();
    let blocks = config::blocks(40, 3, 1).len() as u64;
    assert_eq!(effects, [("kernel", Some(1.01), 2 * blocks), ("vmm", None, 0), ("stats", Some(1.0), 0)]);
    let breakdown = cell.breakdown.as_ref().expect("rounds have one");
    assert_eq!(
        (breakdown.sources.as_slice(), breakdown.round_trip_ns),
        ([Source::Guest, Source::Kernel].as_slice(), 909.0)
    );
    assert_eq!(breakdown.accelerated, None, "events were lost");
    let exits: Vec<(&str, f64)> = cell.exits.iter().map(|it| (it.reason.as_str(), it.initiator)).collect();
    assert_eq!(exits, [("msr", 1.0)], "of the rounds that the kernel has seen");
    let warns = |text: &str| outcome.document.warnings.iter().any(|warning| warning.contains(text));
    assert!(warns("source vmm has recorded nothing: made up") && warns("source kernel has lost"));
    assert_eq!(outcome.csv.lines().count(), 1 + 2 * 40, "the raw samples are those of the metrics");
    assert_valid(&outcome.document);
}

#[test]
fn a_sweep_calls_from_every_vcpu_after_all_else() {
    let called = |_, spec: &BlockSpec| {
        let mut block = alike(spec);
        block.integrity.late = u64::from(spec.initiator == 1);
        for round in &mut block.rounds {
            round.initiator = Some(spec.initiator);
            let t0 = round.t0;
            for each in &mut round.participants {
                each.a = (each.vcpu != spec.initiator).then_some(t0 + 100 * (each.vcpu as u64 + 2));
            }
        }
        Ok(block)
    };
    let outcome = run(&Config { sweep: true, observe: vec![Observe::Guest, Observe::Exits], ..config() }, &called);
    let swept: Vec<(TargetState, usize, usize)> = outcome
        .log
        .iter()
        .rev()
        .take(4)
        .rev()
        .map(|(_, spec)| (spec.cell.target_state, spec.initiator, spec.rounds))
        .collect();
    let [spin, halt] = [TargetState::Spin, TargetState::Halt];
    assert_eq!(swept, [(spin, 0, 20), (halt, 0, 20), (spin, 1, 20), (halt, 1, 20)], "the cells in turn");
    for cell in &outcome.document.cells {
        let rows: Vec<(usize, u64, usize, f64)> = cell
            .by_initiator
            .iter()
            .flat_map(|row| row.targets.iter().map(|target| (row.initiator, row.rounds, target.vcpu, target.p50_ns)))
            .collect();
        let expected: &[_] =
            if cell.id.observe == Observe::Guest { &[(0, 20, 1, 300.0), (1, 20, 0, 200.0)] } else { &[] };
        assert_eq!(rows, expected);
        assert_eq!(cell.rounds, 40, "they are none of the cell's rounds");
        assert_eq!(
            cell.integrity.late,
            u64::from(cell.id.observe == Observe::Guest),
            "what went wrong counts all the same"
        );
    }
    assert_valid(&outcome.document);
}

#[test]
fn more_vcpus_than_cpus_are_warned_of() {
    let warnings = |config: &Config| run(config, WELL).document.warnings;
    let shares = |warnings: &[String], text: &str| warnings.iter().any(|warning| warning.contains(text));
    let enough = warnings(&config());
    assert!(!shares(&enough, "share"), "{enough:?}");
    let pinned = warnings(&Config { pin: vec![1, 1], ..config() });
    assert!(shares(&pinned, "2 vCPUs share 1 CPU:"), "{pinned:?}");
    let free = warnings(&Config { pin: vec![], vcpus: vec![2, 8], ..config() });
    assert!(shares(&free, "8 vCPUs share 2 CPUs"), "{free:?}");
    let by_host = |vcpus| warnings(&Config { routes: vec![Route::Host], vcpus: vec![vcpus], ..config() });
    assert!(shares(&by_host(2), "the host's calls share their CPU"), "{:?}", by_host(2));
    assert!(!shares(&by_host(1), "the host's calls"), "{:?}", by_host(1));
}

#[test]
fn what_cannot_be_measured_is_in_the_document_with_its_reason() {
    let config = Config { routes: vec![Route::X2Apic, Route::Memory], ..config() };
    let document = run(&config, WELL).document;
    assert_eq!(document.cells.len(), 3);
    let [skipped] = &document.skipped[..] else { panic!("{:?}", document.skipped) };
    assert_eq!((skipped.id.route, skipped.id.target_state, skipped.id.vcpus), (Route::Memory, TargetState::Halt, 2));
    assert_eq!(skipped.reason, "a halted processor polls nothing");
    assert_eq!(
        (document.config.routes.as_slice(), document.config.rounds),
        (&["x2apic", "memory"].map(str::to_owned)[..], 40)
    );
    assert_eq!((document.config.worker.as_str(), document.config.argument), ("spin", 100));
    assert_valid(&document);
}

#[test]
fn raw_samples_are_those_of_the_rounds_that_count() {
    let outcome = run(&Config { rounds: 2, ..config() }, WELL);
    let lines: Vec<&str> = outcome.csv.lines().skip(1).collect();
    let expected = |state: &str, block: u32| {
        let cell = format!("broadcast,x2apic,all-but-self,{state},2,guest,,{block},0,0,4");
        [
            format!("{cell},0,initiator,0,50,900,,,500,600,700,1000000,false"),
            format!("{cell},1,target,,,,400,,530,650,790,1000000,false"),
        ]
    };
    let blocks = [("spin", 0), ("halt", 0), ("spin", 1), ("halt", 1)];
    assert_eq!(lines, blocks.map(|(state, block)| expected(state, block)).concat());
}

#[test]
fn raw_samples_and_the_document_name_a_block_alike() {
    let blocks = Cell::new(0);
    let config = Config { boots: Some(2), ..config() };
    // Some of each cell's blocks are disturbed, one of them again; no two have the same round trip.
    let outcome = run(&config, &|_, spec| {
        blocks.set(blocks.get() + 1);
        let mut block = if [4, 7, 12].contains(&blocks.get()) { disturbed(spec) } else { alike(spec) };
        block.rounds.iter_mut().for_each(|round| round.t2 += blocks.get());
        Ok(block)
    });
    let mut of_samples = BTreeMap::new();
    for line in outcome.csv.lines().skip(1).filter(|line| line.contains(",initiator,")) {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name: &str| fields[outcome.csv.split(',').position(|column| column == name).expect(name)];
        let number = |name: &str| field(name).parse::<u32>().expect("a number");
        let name = (field("target_state").to_owned(), number("block"), number("boot"));
        of_samples.insert(name, f64::from(number("t2") - number("t0")));
    }
    let cells = outcome.document.cells.iter();
    let of_document: BTreeMap<_, _> = cells
        .flat_map(|cell| cell.blocks.iter().map(|block| (cell.id.target_state.name().to_owned(), block)))
        .map(|(state, block)| ((state, block.number, block.boot), block.metrics[&MetricName::RoundTrip].p50))
        .collect();
    let measured: usize = outcome.document.cells.iter().map(|cell| cell.blocks.len()).sum();
    assert_eq!((of_document.len(), measured), (13, 13), "a name belongs to one block");
    assert_eq!(of_samples, of_document);
}

/// Takes the header, and then nothing more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > 10_000 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn samples_that_cannot_be_written_end_the_run_with_what_was_measured() {
    let config = Config { rounds: 1000, ..config() };
    let (cells, refused) = config::plan(&config, HostOffers::EVERYTHING);
    let log = Log::default();
    let mut csv = CsvWriter::new(Full(0)).expect("room for the header");
    let mut samples = |cell: &CellId, block: &Block, khz: u64| csv.block(cell, block, khz);
    let mut observer = Observer {
        progress: &mut |_, _, _| {},
        samples: Some(&mut samples),
        started: None,
        details: None,
        repeats: None,
    };
    let boot = |MachineSpec { vcpus, .. }| Ok(Invented { vcpus, khz: KHZ, blocks: 0, log: &log, behaviour: WELL });
    let (document, error) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    let Some(experiment::Error::Samples(error)) = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(document.partial && log.borrow().len() < 41, "it went on without its samples");
    assert!(!document.cells.is_empty(), "what was measured is lost");
    assert_valid(&document);
}

#[test]
fn blocks_are_told_by_how_kvm_woke_their_targets_and_a_cell_has_both_medians() {
    // KVM polls in every other block, and calls take longer where it does not.
    let machine = |number: usize, spec: &BlockSpec| {
        let mut block = alike(spec);
        let (polled, blocked) = if number.is_multiple_of(2) { (10, 0) } else { (0, 10) };
        block.rounds.iter_mut().for_each(|round| round.t2 += 10 * blocked);
        block.wakeups = Some(Wakeups { polled, blocked, attempted: polled, ..Wakeups::default() });
        Ok(block)
    };
    let asked = Config { target_states: vec![TargetState::Halt], idle_before: vec![Some(50)], ..config() };
    let outcome = run(&asked, &machine);
    assert_valid(&outcome.document);
    assert_eq!(outcome.document.config.idle_before_us, [50]);
    let cell = &outcome.document.cells[0];
    assert_eq!(cell.id.idle_before_us, Some(50));
    let told: Vec<(usize, Regime)> =
        cell.blocks.iter().map(|block| block.halt.expect("counters").regime).enumerate().collect();
    assert!(told.iter().all(|&(number, regime)| (regime == Regime::Blocked) == number.is_multiple_of(2)), "{told:?}");
    let halt = cell.halt.as_ref().expect("counters");
    assert_eq!((halt.source, halt.regimes.len()), (Source::Stats, 2));
    let medians: Vec<(Regime, f64)> = halt.regimes.iter().map(|of| (of.regime, of.round_trip_p50_ns)).collect();
    assert_eq!(medians, [(Regime::Polled, 900.0), (Regime::Blocked, 1_000.0)]);
    let nobody = run(&Config { target_states: vec![TargetState::Spin], ..asked }, WELL).document;
    assert!(nobody.warnings.iter().any(|warning| warning.contains("no cell has targets in state halt")));
}
