//! Machines that are made up, whose stamps are known, and runs on them.

use guest_stub::abi::{TargetState, Worker};
use kipi::config::{self, CellId, Config, HostOffers, MachineSpec};
use kipi::events::samples::{Block, Participant, Round};
use kipi::experiment::machine::{self, Machine};
use kipi::experiment::{self, Observer};
use kipi::guest::blocks::BlockSpec;
use kipi::guest::calibration::Calibration;
use kipi::guest::session::{Error, GivenUp};
use kipi::guest::silence::{Diagnosis, Silence};
use kipi::report::csv::CsvWriter;
use kipi::report::json;
use kipi::results::disturbance::{Disturbance, Kind};
use kipi::results::integrity::Integrity;
use kipi::results::measurement::{self, Measurement};
use kipi::results::metric::MetricName;
use kipi::statistics::clock_error::{ClockError, Comparisons};
use kipi_tests::measurement;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

/// One cycle of this clock is one nanosecond.
pub(crate) const KHZ: u64 = 1_000_000;
/// What the made-up clocks are off by, in cycles.
pub(crate) const CLOCK_ERROR: u64 = 35;

/// What the host's is off by in addition.
pub(crate) const HOST_ERROR: u64 = 7;

/// What a made-up machine does in its `n`-th block, counted from 0; block 0 is the first call after the boot.
pub(crate) type Behaviour<'a> = &'a dyn Fn(usize, &BlockSpec) -> Result<Block, Error>;

/// Everything that was asked of the machines, in order.
pub(crate) type Log = RefCell<Vec<(usize, BlockSpec)>>;

pub(crate) struct Invented<'a> {
    pub vcpus: usize,
    pub khz: u64,
    pub blocks: usize,
    pub log: &'a Log,
    pub behaviour: Behaviour<'a>,
}

impl Machine for Invented<'_> {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, machine::Error> {
        self.log.borrow_mut().push((self.vcpus, *spec));
        self.blocks += 1;
        Ok((self.behaviour)(self.blocks - 1, spec)?)
    }

    fn calibrate(&mut self, _: usize) -> Result<Calibration, machine::Error> {
        let instructions = vec![64, 96];
        Ok(Calibration { stamp: vec![5, 6, 7], exit_leg: vec![100], exit_round_trip: vec![200, 300], instructions })
    }

    fn tsc_khz(&self) -> u64 {
        self.khz
    }

    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, machine::Error> {
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

pub(crate) fn config() -> Config {
    Config {
        target_states: vec![TargetState::Spin, TargetState::Halt],
        rounds: 40,
        warmup: 3,
        worker: Worker::Spin,
        argument: 100,
        pin: vec![0, 1],
        cpus: vec![0, 1],
        ..measurement()
    }
}

/// What a run brought.
pub(crate) struct Outcome {
    pub document: Measurement,
    pub error: Option<experiment::Error>,
    pub log: Vec<(usize, BlockSpec)>,
    pub progress: Vec<(usize, usize, CellId)>,
    pub csv: String,
    pub boots: usize,
}

pub(crate) fn run(config: &Config, behaviour: Behaviour<'_>) -> Outcome {
    run_where_some_fail(config, behaviour, &|_| Ok(()))
}

/// As [`run`], on machines that come up unless `comes_up` says why not.
pub(crate) fn run_where_some_fail(
    config: &Config,
    behaviour: Behaviour<'_>,
    comes_up: &dyn Fn(MachineSpec) -> Result<(), machine::Error>,
) -> Outcome {
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
    let boot = |spec: MachineSpec| {
        comes_up(spec)?;
        boots += 1;
        Ok(Invented { vcpus: spec.vcpus, khz: KHZ, blocks: 0, log: &log, behaviour })
    };
    let (document, error) = experiment::run(config, &cells, &refused, boot, &mut observer);
    let csv = String::from_utf8(csv.finish().expect("a vector takes everything")).expect("text");
    Outcome { document, error, log: log.into_inner(), progress, csv, boots }
}

/// A round of two vCPUs that begins at `t0`: 50 to send, 400 to arrive, starts 30 apart, workers of 100 and of 120,
/// 900 in all; the VMM's stamps are 200 and 260 after the starts.
pub(crate) fn round(generation: u32, t0: u64) -> Round {
    let participant = |vcpu, a, w: u64, length, exit| Participant {
        vcpu,
        a,
        halted: None,
        back: None,
        w: Some(t0 + w),
        x: Some(t0 + w + length),
        vmm: Some(t0 + w + exit),
    };
    let participants = vec![participant(0, None, 500, 100, 200), participant(1, Some(t0 + 400), 530, 120, 260)];
    Round { generation, initiator: Some(0), t0, t1: t0 + 50, t2: t0 + 900, participants, trace: Vec::new() }
}

pub(crate) fn block(rounds: Vec<Round>) -> Block {
    Block { exit_calls: rounds.len() as u64, rounds, ..Block::default() }
}

/// As many rounds as were asked for, all alike.
pub(crate) fn alike(spec: &BlockSpec) -> Block {
    block((0..spec.rounds as u64).zip(1..).map(|(number, generation)| round(4 * generation, 10_000 * number)).collect())
}

/// What a machine does on which nothing goes wrong.
pub(crate) const WELL: Behaviour<'static> = &|_, spec| Ok(alike(spec));

pub(crate) fn assert_valid(document: &Measurement) {
    let mut bytes = Vec::new();
    json::write(document, &mut bytes).expect("every number is finite");
    kipi_tests::document(std::str::from_utf8(&bytes).expect("text"));
}

/// A metric whose values are all `value`.
pub(crate) fn assert_constant(cell: &measurement::Cell, name: MetricName, n: u64, value: f64) {
    let metric = cell.metrics.get(&name).unwrap_or_else(|| panic!("no {name:?}"));
    assert_eq!((metric.unit, metric.n, metric.negative), (name.unit(), n, 0), "{name:?}");
    let all = [metric.min, metric.p50, metric.p90, metric.p99, metric.p999, metric.max];
    assert!(all.iter().all(|it| (it - value).abs() < 1e-9), "{name:?}: {all:?} instead of {value}");
}

/// A block whose call after `rounds` rounds is given up: vCPU 1 is silent.
pub(crate) fn given_up(rounds: u32) -> Error {
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
pub(crate) fn cell_of(document: &Measurement, state: TargetState) -> &measurement::Cell {
    document.cells.iter().find(|cell| cell.id.target_state == state).expect("a cell")
}

/// A block whose calls take ten times as long, because vCPU 1 waited.
pub(crate) fn disturbed(spec: &BlockSpec) -> Block {
    let mut block = alike(spec);
    block.rounds.iter_mut().for_each(|round| round.t2 = round.t0 + 9_000);
    let kind = Kind::WaitedForCpu;
    block.disturbances = vec![Disturbance { kind, amount: 5e6, unit: kind.unit(), vcpu: Some(1), cpu: Some(1) }];
    block
}
