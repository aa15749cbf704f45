//! What a user waits for and pays, measured from outside on the release binary: `just bench`, or
//! `cargo bench -p kipi --bench end_to_end -- [--quick]`.
//!
//! Every number is one of several repetitions; within a repetition the kinds of run alternate, so that a host that
//! drifts does it to all alike. Printed are the median over the repetitions and their range. Goals are judged by the
//! median, and are goals for a machine of its own: being slow never fails the benchmark, being unable to run does.
//!
//! | number | how it is obtained | error |
//! | --- | --- | --- |
//! | exec to first broadcast | `first_broadcast_ns` of the process's own JSON: the CPU time until `main`, plus the time since | waits before `main` (page faults from disk, scheduling) are not in it |
//! | spawn to exit | this process's clock around spawn and wait of that same command: the check from outside | also holds the fork, the calibration of the instruments, 80 rounds, the statistics, the end of the VM |
//! | peak resident set | `ru_maxrss` of `wait4` for exactly that process | the kernel counts pages by CPU, in batches: up to some 100 KiB a CPU. Linux starts the figure at the spawning process's own peak, so one that is not above it is printed as a bound |
//! | round trip | `t2 − t0` of the raw samples (`--csv`): the minimum and the median of one run | two time-stamp reads, printed as "time stamp" |
//! | rounds per second | from the raw samples: generations that passed between the first and the last `t0` of each block, divided by the time between them | starting the VM, the work between blocks and the statistics are left out; the guest's wait for its targets' state and the 20 µs of `--settle` before each call are in it |

use anyhow::{Context, bail};
use kipi::results::measurement::{Host, Measurement};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const GOAL_FIRST_BROADCAST_MS: f64 = 15.0;
const GOAL_PEAK_RSS_MIB: f64 = 8.0;

/// kipi's exit status where the host cannot do it.
const HOST_CANNOT: i32 = 4;

/// How much is run.
struct Plan {
    repetitions: usize,
    /// Process starts in each repetition: cheap, and the noisiest.
    starts: usize,
    round_trip_rounds: u32,
    /// vCPU counts, and rounds of each cell on them. More vCPUs than CPUs cost scheduler slices, so they get fewer.
    rates: [(usize, u32); 3],
}

const FULL: Plan = Plan { repetitions: 3, starts: 5, round_trip_rounds: 1000, rates: [(2, 400), (4, 100), (8, 60)] };
const QUICK: Plan = Plan { repetitions: 1, starts: 3, round_trip_rounds: 100, rates: [(2, 60), (4, 40), (8, 40)] };

fn main() -> ExitCode {
    let mut plan = &FULL;
    let mut asked = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => asked = true,
            "--quick" => plan = &QUICK,
            other => {
                eprintln!("end_to_end: '{other}' is not known (the only argument is --quick)");
                return ExitCode::from(2);
            }
        }
    }
    if !asked {
        println!("SKIP: `cargo bench` runs this, `cargo test` does not (--bench was not passed)");
        return ExitCode::SUCCESS;
    }
    match run(plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("end_to_end: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> anyhow::Result<()> {
    // Not counted: it finds out whether this host can do it, and brings the binary into the page cache.
    if let Run::HostCannot(reason) = start()? {
        println!("SKIP: {reason}");
        return Ok(());
    }
    let mut results = Results::default();
    for repetition in 1..=plan.repetitions {
        eprintln!("repetition {repetition} of {}", plan.repetitions);
        for _ in 0..plan.starts {
            results.add_start(start()?.expect_done()?);
        }
        results.add_round_trips(&round_trips(plan.round_trip_rounds)?)?;
        for (vcpus, rounds) in plan.rates {
            results.add_rates(vcpus, &rates(vcpus, rounds)?);
        }
    }
    results.print(plan)
}

/// What a finished process left behind.
struct Done<T> {
    output: T,
    wall: Duration,
    peak_rss_kib: i64,
}

/// How a run of kipi ended, other than by failing.
enum Run<T> {
    Done(Done<T>),
    HostCannot(String),
}

impl<T> Run<T> {
    fn expect_done(self) -> anyhow::Result<Done<T>> {
        match self {
            Self::Done(done) => Ok(done),
            Self::HostCannot(reason) => bail!("this host could do it a moment ago, and now cannot: {reason}"),
        }
    }
}

/// Runs kipi; `read` gets its standard output while it runs, so that no pipe fills up.
fn kipi<T>(arguments: &[&str], read: impl FnOnce(ChildStdout) -> anyhow::Result<T>) -> anyhow::Result<Run<T>> {
    let shown = || format!("kipi {}", arguments.join(" "));
    let before = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kipi"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(shown)?;
    let stdout = child.stdout.take().context("standard output is a pipe")?;
    let mut stderr = child.stderr.take().context("standard error is a pipe")?;
    let output = read(stdout);
    // One line, so it cannot have filled the pipe.
    let mut complaint = String::new();
    stderr.read_to_string(&mut complaint).with_context(shown)?;
    let (status, usage) = wait(&child).with_context(shown)?;
    let wall = before.elapsed();
    if status.code() == Some(HOST_CANNOT) {
        return Ok(Run::HostCannot(complaint.trim().to_owned()));
    }
    if !status.success() {
        bail!("{}: {status}: {}", shown(), complaint.trim());
    }
    Ok(Run::Done(Done { output: output.with_context(shown)?, wall, peak_rss_kib: usage.ru_maxrss }))
}

/// Waits for exactly this process, and learns what it used. [`Child::wait`] tells nothing of that, and RUSAGE_CHILDREN
/// is a maximum over all children.
fn wait(child: &Child) -> anyhow::Result<(ExitStatus, libc::rusage)> {
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: all zero is a valid rusage, which has numbers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that outlive the call. Nobody else waits for this child: `child` is not used
    // afterwards, and dropping it does not wait.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited != pid {
        return Err(std::io::Error::last_os_error()).context("wait4");
    }
    Ok((ExitStatus::from_raw(status), usage))
}

const START: &str = "measure --vcpus 2 --route x2apic --target-state halt --observe guest --rounds 20 --json -";

fn start() -> anyhow::Result<Run<Measurement>> {
    let arguments: Vec<&str> = START.split(' ').collect();
    kipi(&arguments, |stdout| Ok(serde_json::from_reader(stdout)?))
}

/// The columns of `--csv` that are needed here.
#[derive(Deserialize)]
struct Row {
    route: String,
    target_state: String,
    block: usize,
    generation: u64,
    role: String,
    t0: Option<u64>,
    t2: Option<u64>,
    tsc_khz: u64,
}

/// Runs kipi with `--csv -` and hands each round's initiator's row to `take`. The rows are not kept: this process must
/// stay smaller than the one whose peak it reads.
fn samples(arguments: &[&str], mut take: impl FnMut(Row, u64, u64)) -> anyhow::Result<()> {
    let arguments = [&["measure", "--observe", "guest", "--csv", "-"], arguments].concat();
    kipi(&arguments, |stdout| {
        for row in csv::Reader::from_reader(stdout).into_deserialize() {
            let row: Row = row?;
            if row.role == "initiator" {
                let (t0, t2) = row.t0.zip(row.t2).context("an initiator's row without t0 and t2")?;
                take(row, t0, t2);
            }
        }
        Ok(())
    })?
    .expect_done()?;
    Ok(())
}

/// Round trips in cycles, and the frequency that turns them into time.
struct RoundTrips {
    cycles: Vec<f64>,
    tsc_khz: u64,
}

fn round_trips(rounds: u32) -> anyhow::Result<RoundTrips> {
    let rounds = rounds.to_string();
    let mut found = RoundTrips { cycles: Vec::new(), tsc_khz: 0 };
    let arguments = ["--vcpus", "2", "--route", "x2apic", "--target-state", "halt", "--rounds", &rounds];
    samples(&arguments, |row, t0, t2| {
        found.tsc_khz = row.tsc_khz;
        found.cycles.push(t2 as f64 - t0 as f64);
    })?;
    Ok(found)
}

/// Route and target state.
type Key = (String, String);

/// The rounds per second of every route and state on `vcpus`, from one process that interleaves them.
fn rates(vcpus: usize, rounds: u32) -> anyhow::Result<BTreeMap<Key, f64>> {
    /// The first and the last round of a block: generation and `t0`.
    struct Ends {
        first: (u64, u64),
        last: (u64, u64),
        tsc_khz: u64,
    }
    let mut blocks: BTreeMap<(Key, usize), Ends> = BTreeMap::new();
    let (vcpus, rounds) = (vcpus.to_string(), rounds.to_string());
    samples(&["--vcpus", &vcpus, "--rounds", &rounds, "--warmup", "1"], |row, t0, _| {
        let end = (row.generation, t0);
        let new = Ends { first: end, last: end, tsc_khz: row.tsc_khz };
        blocks.entry(((row.route, row.target_state), row.block)).or_insert(new).last = end;
    })?;
    let mut sums: BTreeMap<Key, (f64, f64)> = BTreeMap::new();
    for ((key, _), Ends { first, last, tsc_khz }) in blocks {
        let (rounds, seconds) = sums.entry(key).or_default();
        // Rounds that do not count have no row, but were made: generations number them all.
        *rounds += (last.0 - first.0) as f64;
        *seconds += (last.1 as f64 - first.1 as f64) / (tsc_khz as f64 * 1e3);
    }
    // Where no block has two rounds that count, no time between rounds is known, and the cell stays empty.
    let known = sums.into_iter().filter(|(_, (_, seconds))| *seconds > 0.0);
    Ok(known.map(|(key, (rounds, seconds))| (key, rounds / seconds)).collect())
}

/// Everything that was measured, one value a run.
#[derive(Default)]
struct Results {
    host: Option<(Host, u64)>,
    first_broadcast_ms: Vec<f64>,
    wall_ms: Vec<f64>,
    peak_rss_mib: Vec<f64>,
    stamp_cycles: Vec<f64>,
    round_trip_min: Vec<f64>,
    round_trip_p50: Vec<f64>,
    rates: BTreeMap<Key, BTreeMap<usize, Vec<f64>>>,
}

impl Results {
    fn add_start(&mut self, done: Done<Measurement>) {
        let Done { output: measurement, wall, peak_rss_kib } = done;
        for instruments in measurement.instruments {
            let khz = instruments.clock.tsc_khz;
            self.first_broadcast_ms.extend(instruments.first_broadcast_ns.map(|ns| ns / 1e6));
            self.stamp_cycles.push(instruments.stamp_ns.p50 * khz as f64 / 1e6);
            self.host = Some((measurement.host.clone(), khz));
        }
        self.wall_ms.push(wall.as_secs_f64() * 1e3);
        self.peak_rss_mib.push(peak_rss_kib as f64 / 1024.0);
    }

    fn add_round_trips(&mut self, found: &RoundTrips) -> anyhow::Result<()> {
        let Some(spread) = Spread::of(&found.cycles) else { bail!("no round of x2apic halt counted") };
        self.round_trip_min.push(spread.min);
        self.round_trip_p50.push(spread.median);
        Ok(())
    }

    fn add_rates(&mut self, vcpus: usize, found: &BTreeMap<Key, f64>) {
        for (key, &rate) in found {
            self.rates.entry(key.clone()).or_default().entry(vcpus).or_default().push(rate);
        }
    }

    fn print(&self, plan: &Plan) -> anyhow::Result<()> {
        let (host, khz) = self.host.as_ref().context("no start was measured")?;
        let nested = if host.nested { ", nested" } else { "" };
        println!(
            "kipi {} on Linux {}, {}, {} CPUs, KVM: {}{nested}, TSC {:.3} MHz",
            host.kipi,
            host.kernel,
            host.cpu,
            host.cpus.len(),
            host.kvm.join(" "),
            *khz as f64 / 1e3
        );
        println!("median and range; repetitions, interleaved: {}; starts in each: {}", plan.repetitions, plan.starts);
        println!("\nkipi {START}");
        println!("{:<36}{:>10}  {:<22}goal", "", "median", "range");
        print_line("exec to first broadcast, ms", &self.first_broadcast_ms, Some(GOAL_FIRST_BROADCAST_MS));
        print_line("spawn to exit, ms", &self.wall_ms, None);
        print_line("peak resident set, MiB", &self.peak_rss_mib, Some(GOAL_PEAK_RSS_MIB));
        print_rss_bound(&self.peak_rss_mib)?;

        println!("\nRound trip of x2apic, halt, 1 target, of {} rounds", plan.round_trip_rounds);
        let nanoseconds = |cycles: &[f64]| cycles.iter().map(|cycles| cycles * 1e6 / *khz as f64).collect::<Vec<_>>();
        for (name, cycles) in [("min", &self.round_trip_min), ("p50", &self.round_trip_p50)] {
            print_line(&format!("{name}, TSC cycles"), cycles, None);
            print_line(&format!("{name}, ns"), &nanoseconds(cycles), None);
        }
        print_line("time stamp (p50 of one), TSC cycles", &self.stamp_cycles, None);
        println!("goal: a quarter of what kvm-unit-tests' ipi_halt shows on the same host, which is not run here");

        println!("\nRounds per second, all-but-self, worker stamp");
        print!("{:<8}{:<6}", "route", "state");
        plan.rates.iter().for_each(|(vcpus, rounds)| print!("{:>28}", format!("{vcpus} vCPUs, {rounds} rounds")));
        println!();
        for ((route, state), by_vcpus) in &self.rates {
            print!("{route:<8}{state:<6}");
            for (vcpus, _) in plan.rates {
                let cell = by_vcpus.get(&vcpus).and_then(|rates| Spread::of(rates)).map(|spread| spread.rate());
                print!("{:>28}", cell.as_deref().unwrap_or("–"));
            }
            println!();
        }
        println!("of the guest's clock, first to last t0 of each block: without boot, statistics, time between blocks");
        Ok(())
    }
}

/// The process's peak counts from its parent's: if it is not above that, only a bound is known.
fn print_rss_bound(peaks: &[f64]) -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    let own: f64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM in /proc/self/status")?;
    let own = own / 1024.0;
    if peaks.iter().any(|&peak| peak <= own) {
        println!("  (a bound only: not above the {own:.2} MiB of the benchmark itself, which the kernel starts from)");
    }
    Ok(())
}

fn print_line(name: &str, values: &[f64], goal: Option<f64>) {
    let Some(Spread { min, median, max }) = Spread::of(values) else {
        println!("{name:<36}{:>10}", "–");
        return;
    };
    let digits = if median < 1000.0 { 2 } else { 0 };
    let range = format!("{min:.digits$} – {max:.digits$}");
    let verdict = goal.map(|goal| format!("≤ {goal:.0}: {}", if median <= goal { "met" } else { "NOT met" }));
    let line = format!("{name:<36}{median:>10.digits$}  {range:<22}{}", verdict.unwrap_or_default());
    println!("{}", line.trim_end());
}

/// Median and range.
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    /// `None` of nothing. The median of an even number is the mean of the middle two.
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { min, median: f64::midpoint(low, high), max })
    }

    fn rate(&self) -> String {
        let digits = usize::from(self.median < 1000.0);
        format!("{:.digits$} ({:.digits$} – {:.digits$})", self.median, self.min, self.max)
    }
}
