//! Runs of very many rounds: what they take of memory, and what becomes of their numbers. Machines are made up.

use guest_stub::random::SplitMix64;
use kipi::config::{CellId, Config, HostOffers, MachineSpec};
use kipi::events::recording::Recording;
use kipi::events::samples::{Block, CpuTime, Participant, Round};
use kipi::events::wakeups::Wakeups;
use kipi::experiment::machine::{self, Machine};
use kipi::experiment::{self, Observer};
use kipi::guest::blocks::BlockSpec;
use kipi::guest::calibration::Calibration;
use kipi::report::csv::CsvWriter;
use kipi::results::disturbance::{Disturbance, Kind};
use kipi::results::measurement::Measurement;
use kipi::results::metric::MetricName;
use kipi::results::source::Source;
use kipi::statistics::clock_error::{ClockError, Comparisons};
use kipi::statistics::digest::{ERROR, MOST_EXACT};
use kipi_tests::{measurement, run_tests, test};
use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, io};

fn main() -> std::process::ExitCode {
    run_tests()
}

/// Its calls take some 100 µs, one in a hundred much longer; of its blocks, one in eight is disturbed.
struct Invented {
    random: SplitMix64,
    blocks: usize,
}

impl Invented {
    fn round(&mut self, number: u32) -> Round {
        let t0 = 1_000_000 * u64::from(number);
        let mut some = |most: usize| self.random.below(most) as u64;
        let tail = if some(100) == 0 { some(2_000_000) } else { 0 };
        let a = t0 + 20_000 + some(5_000) + tail;
        let w = a + 3_000 + some(1_000);
        let participant = |vcpu: usize, is_target: bool, w: u64| Participant {
            vcpu,
            a: is_target.then_some(a),
            halted: is_target.then_some(t0 - 5_000),
            back: None,
            w: Some(w),
            x: Some(w + 500),
            vmm: None,
        };
        let participants = vec![participant(0, false, w), participant(1, true, w + some(300))];
        let (t1, t2) = (t0 + 700 + some(200), w + 60_000 + some(30_000));
        Round { generation: 4 * number, initiator: Some(0), t0, t1, t2, participants, trace: Vec::new() }
    }
}

impl Machine for Invented {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, machine::Error> {
        self.blocks += 1;
        let rounds: Vec<Round> =
            (1..=u32::try_from(spec.rounds).unwrap_or(0)).map(|number| self.round(number)).collect();
        let kind = Kind::WaitedForCpu;
        let disturbance = Disturbance { kind, amount: 5e6, unit: kind.unit(), vcpu: Some(1), cpu: Some(1) };
        let calls = rounds.len() as u64;
        Ok(Block {
            exit_calls: calls,
            wakeups: Some(Wakeups { blocked: calls, ..Wakeups::default() }),
            cpu: Some(CpuTime::of_rounds(calls, calls * 100_000)),
            recording: Recording { kernel: false, ..spec.recording },
            disturbances: if self.blocks.is_multiple_of(8) { vec![disturbance] } else { Vec::new() },
            rounds,
            ..Block::default()
        })
    }

    fn calibrate(&mut self, _: usize) -> Result<Calibration, machine::Error> {
        Ok(Calibration { stamp: vec![5], exit_leg: vec![100], exit_round_trip: vec![200], instructions: vec![64] })
    }

    fn tsc_khz(&self) -> u64 {
        1_000_000
    }

    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, machine::Error> {
        let (subtracted, method) = (vec![0; 2], "made up".to_owned());
        Ok(ClockError { vcpus: Some(1), host: 1, subtracted, comparisons: earlier.clone(), method })
    }

    fn boot_time(&self) -> Duration {
        Duration::ZERO
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A cell of so many rounds, with another recording beside it, raw samples, and what pictures need; and what `take` has of each block.
fn run(rounds: usize, take: &mut dyn FnMut(&Block)) -> Measurement {
    let config = Config { rounds, boots: Some(5), trace: vec![(Source::Vmm, None)], pin: vec![0, 1], ..measurement() };
    let (cells, refused) = kipi::config::plan(&config, HostOffers::EVERYTHING);
    let mut csv = CsvWriter::new(io::sink()).expect("a sink takes everything");
    let mut samples = |cell: &CellId, block: &Block, khz: u64| {
        take(block);
        csv.block(cell, block, khz)
    };
    let mut details = Vec::new();
    let mut observer = Observer {
        progress: &mut |_: usize, _: usize, _: &CellId| {},
        samples: Some(&mut samples),
        started: None,
        details: Some(&mut details),
        repeats: None,
    };
    let mut boots = 0;
    let boot = |_: MachineSpec| {
        boots += 1;
        Ok(Invented { random: SplitMix64(boots), blocks: 0 })
    };
    let (document, error) = experiment::run(&config, &cells, &refused, boot, &mut observer);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((details.len(), details[0].calls.len()), (1, 2), "the median and the worst one");
    document
}

/// The largest resident set of this process since `begin_peak`, in bytes (VmHWM of proc(5)).
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// 5 resets the peak (proc(5)).
fn begin_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("the peak begins anew");
}

#[test]
fn memory_grows_with_blocks_and_not_with_rounds() {
    const FEW: usize = MOST_EXACT + 4_000;
    const FACTOR: usize = 4;
    // Bytes: three and a half, of two recordings, are the document's blocks. All stamps of a round would be 440.
    const A_ROUND: usize = 10;
    let peak_of = |rounds| {
        begin_peak();
        let document = run(rounds, &mut |_| ());
        assert_eq!(document.cells[0].rounds_asked, rounds as u64);
        peak()
    };
    // What the allocator has got once, it need not get again.
    let [few, many] = [FEW, FACTOR * FEW].map(peak_of);
    let more = many.saturating_sub(few);
    assert!(more < A_ROUND * (FACTOR - 1) * FEW, "{more} bytes more for {} rounds more", (FACTOR - 1) * FEW);
}

#[test]
fn quantiles_of_very_many_rounds_are_within_the_stated_error() {
    let mut round_trips: Vec<f64> = Vec::new();
    let mut take = |block: &Block| {
        let is_quiet = block.is_quiet();
        round_trips.extend(block.rounds.iter().filter(|_| is_quiet).map(|round| (round.t2 - round.t0) as f64));
    };
    let document = run(MOST_EXACT + 1, &mut take);
    let [cell] = &document.cells[..] else { panic!("one cell") };
    let metric = &cell.metrics[&MetricName::RoundTrip];
    round_trips.sort_unstable_by(f64::total_cmp);
    let n = round_trips.len();
    assert_eq!((metric.n, cell.rounds), (n as u64, n as u64));
    assert_eq!([metric.min, metric.max].map(f64::to_bits), [round_trips[0], round_trips[n - 1]].map(f64::to_bits));
    let by_quantile = BTreeMap::from([(500, metric.p50), (900, metric.p90), (990, metric.p99), (999, metric.p999)]);
    for (per_mille, found) in by_quantile {
        let exact = round_trips[(n * per_mille).div_ceil(1000) - 1];
        assert!((found - exact).abs() <= ERROR * exact, "{per_mille} ‰: {found} instead of {exact}");
        assert!(round_trips.iter().any(|value| value.total_cmp(&found).is_eq()), "{found} was measured");
    }
    let [low, high] = metric.ci95.p50.expect("five boots");
    assert!(low <= metric.p50 && metric.p50 <= high, "{low} {high}");
    assert!(document.warnings.iter().any(|warning| warning.contains("within 0.2 %")), "{:?}", document.warnings);
    assert_eq!(cell.round_trips.as_ref().map(kipi::results::histogram::Histogram::n), Some(n as u64));
    assert!(cell.blocks.len() > 60 && cell.halt.is_some() && cell.breakdown.is_some() && cell.host_cpu.is_some());
    assert!(run(500, &mut |_| ()).warnings.is_empty(), "few are exact");
}
