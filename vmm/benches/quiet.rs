//! Whether kipi notices a neighbour, and whether its medians are those of the idle machine all the same: `just bench`, or
//! `cargo bench -p kipi --bench quiet -- [--quick]`.
//!
//! The neighbour is a process that is busy on one CPU for one second in three, CPU 0 and CPU 1 in turn. Each triple of runs has
//! two on the idle machine and one beside the neighbour, one after the other, so that a machine that drifts does it to all. Two
//! runs *agree* on a cell if the 95 % intervals of its median round trip overlap. All of it takes some ten minutes, and needs a
//! machine that is idle otherwise.
//!
//! | what is held | how |
//! | --- | --- |
//! | the neighbour is named | a run beside it names its CPU as one that a vCPU waited for, or that was busy while the vCPU slept |
//! | medians stay the idle machine's | idle runs agree with runs beside the neighbour at most 20 percentage points less often than with each other |
//!
//! The share of blocks that were disturbed on the idle machine is printed: on a machine that really is idle, it is that of false
//! alarms.

mod measured;
mod median;

use anyhow::{Context, bail, ensure};
use kipi::native::pinning::pin_this_thread;
use kipi::results::disturbance::Kind;
use kipi::results::measurement::{Cell, Measurement};
use kipi::results::quiet::{Quiet, Verdict};
use median::Median;
use rustix::thread::sched_getaffinity;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

/// Fifty pairs of runs for each CPU.
const TRIPLES: usize = 100;
const QUICK_TRIPLES: usize = 6;
/// How much less often runs may agree beside the neighbour: two standard errors of the difference of two shares of 50 pairs,
/// where each is about a half.
const MARGIN: f64 = 0.2;
/// The neighbour's CPUs, which are the vCPUs', too.
const CPUS: [usize; 2] = [0, 1];
const BUSY: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(2);
const RUN: &str = "measure --vcpus 2 --pin 0,1 --route x2apic --target-state user,halt --observe guest --native none --rounds 1500 --json -";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["--neighbour", cpu, phase_ms] => be_a_neighbour(cpu, phase_ms),
        options => {
            if let Some(unknown) = options.iter().find(|option| !["--bench", "--quick"].contains(option)) {
                eprintln!("quiet: '{unknown}' is not known (the only argument is --quick)");
                return ExitCode::from(2);
            }
            if !options.contains(&"--bench") {
                println!("SKIP: `cargo bench` runs this, `cargo test` does not (--bench was not passed)");
                return ExitCode::SUCCESS;
            }
            run(if options.contains(&"--quick") { QUICK_TRIPLES } else { TRIPLES })
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quiet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Is busy on a CPU for one second in three, until it is killed.
fn be_a_neighbour(cpu: &str, phase_ms: &str) -> anyhow::Result<()> {
    pin_this_thread(cpu.parse()?)?;
    std::thread::sleep(Duration::from_millis(phase_ms.parse()?));
    loop {
        let start = Instant::now();
        while start.elapsed() < BUSY {
            std::hint::spin_loop();
        }
        std::thread::sleep(IDLE);
    }
}

/// A neighbour that ends with this value.
struct Neighbour(Child);

impl Neighbour {
    fn start(cpu: usize, phase: Duration) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let (cpu, phase) = (cpu.to_string(), phase.as_millis().to_string());
        Ok(Self(Command::new(program).args(["--neighbour", &cpu, &phase]).spawn().context("the neighbour")?))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // It has no other end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(triples: usize) -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None)?;
    if !CPUS.iter().all(|&cpu| allowed.is_set(cpu)) {
        println!("SKIP: this process may not use CPUs 0 and 1");
        return Ok(());
    }
    let start = Instant::now();
    let Some(first) = measure()? else {
        println!("SKIP: kipi cannot measure here");
        return Ok(());
    };
    ensure_idle(&first)?;
    let minutes = start.elapsed().as_secs_f64() * 3.0 * triples as f64 / 60.0;
    println!("kipi {RUN}\n\n{triples} triples of runs, some {:.0} minutes\n", minutes.ceil());
    let mut beside =
        CPUS.map(|cpu| Beside { cpu, runs: 0, named: 0, cells: cells(&first).map(Agreement::of).collect() });
    let (mut blocks, mut disturbed) = (0, 0);
    for triple in 0..triples {
        let beside = &mut beside[triple % CPUS.len()];
        // The busy second begins anywhere in the first second of the run.
        let phase = BUSY * u32::try_from(triple * 7 % 10)? / 10;
        let (one, other) = (expect()?, expect()?);
        let neighbour = Neighbour::start(beside.cpu, phase)?;
        let noisy = expect()?;
        drop(neighbour);
        for idle in [&one, &other] {
            ensure_idle(idle)?;
            let quiet = quiet(idle)?;
            (blocks, disturbed) =
                (blocks + usize::try_from(quiet.blocks)?, disturbed + usize::try_from(quiet.disturbed)?);
        }
        beside.add(&one, &other, &noisy)?;
    }
    println!(
        "{:<20}{:<8}{:>6}  {:<22}{:<22}median of |ratio − 1|",
        "neighbour", "cell", "pairs", "idle agrees with idle", "… with beside it"
    );
    beside.iter().for_each(Beside::print);
    println!("\ndisturbed blocks on the idle machine: {disturbed} of {blocks} ({:.1} %)", percent(disturbed, blocks));
    let failed: Vec<String> = beside.iter().flat_map(Beside::failures).collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// One run; `None`: this host cannot do it.
fn measure() -> anyhow::Result<Option<Measurement>> {
    measured::measure(&RUN.split(' ').collect::<Vec<_>>())
}

fn expect() -> anyhow::Result<Measurement> {
    measure()?.context("this host could do it a moment ago, and now cannot")
}

fn quiet(run: &Measurement) -> anyhow::Result<&Quiet> {
    run.quiet.as_ref().context("nobody looked for disturbances")
}

/// Without it, there is nothing to compare with.
fn ensure_idle(run: &Measurement) -> anyhow::Result<()> {
    let Quiet { verdict, blocks, disturbed, causes, .. } = quiet(run)?;
    match verdict {
        Verdict::Quiet | Verdict::DisturbedBlocksLeftOut => Ok(()),
        Verdict::NotKnown => bail!("this machine does not tell when threads wait for a CPU, which the bench is about"),
        Verdict::NeverQuiet => bail!(
            "this machine is loaded, and the bench needs one that is idle: without its neighbour, {disturbed} of {blocks} blocks \
             of a run were disturbed, most of them by {}",
            causes.first().map_or("nothing that is known", |cause| cause.kind.name())
        ),
    }
}

fn cells(run: &Measurement) -> impl Iterator<Item = &Cell> {
    run.cells.iter()
}

/// What was seen beside a neighbour on one CPU.
struct Beside {
    cpu: usize,
    runs: usize,
    /// Runs that named it.
    named: usize,
    cells: Vec<Agreement>,
}

impl Beside {
    fn add(&mut self, one: &Measurement, other: &Measurement, noisy: &Measurement) -> anyhow::Result<()> {
        let is_it = |kind| matches!(kind, Kind::WaitedForCpu | Kind::CpuBusy);
        let named = quiet(noisy)?.causes.iter().any(|cause| cause.cpu == Some(self.cpu) && is_it(cause.kind));
        self.runs += 1;
        self.named += usize::from(named);
        for (index, agreement) in self.cells.iter_mut().enumerate() {
            let cell = |run: &Measurement| {
                run.cells.get(index).and_then(Median::of).with_context(|| {
                    format!("{} has no interval: fewer than five machines had a quiet block", agreement.name)
                })
            };
            let (one, other, noisy) = (cell(one)?, cell(other)?, cell(noisy)?);
            // Either pair follows one another: a host drifts, and runs that are further apart agree less.
            agreement.idle.add(one, other);
            agreement.noisy.add(other, noisy);
        }
        Ok(())
    }

    fn print(&self) {
        for Agreement { name, idle, noisy } in &self.cells {
            println!(
                "{:<20}{name:<8}{:>6}  {:<22}{:<22}{:.1} %, {:.1} %",
                format!("CPU {}: named {}/{}", self.cpu, self.named, self.runs),
                self.runs,
                format!("{} ({:.0} %)", idle.agree, percent(idle.agree, self.runs)),
                format!("{} ({:.0} %)", noisy.agree, percent(noisy.agree, self.runs)),
                100.0 * idle.typical(),
                100.0 * noisy.typical(),
            );
        }
    }

    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.named < self.runs {
            failures
                .push(format!("the neighbour on CPU {} was named in {} of {} runs", self.cpu, self.named, self.runs));
        }
        for Agreement { name, idle, noisy } in &self.cells {
            if (noisy.agree as f64) < idle.agree as f64 - MARGIN * self.runs as f64 {
                failures.push(format!(
                    "medians of {name} beside a neighbour on CPU {} are not the idle machine's",
                    self.cpu
                ));
            }
        }
        failures
    }
}

/// How often the runs of a cell agree.
struct Agreement {
    name: String,
    idle: Pairs,
    noisy: Pairs,
}

impl Agreement {
    fn of(cell: &Cell) -> Self {
        Self { name: cell.id.target_state.name().to_owned(), idle: Pairs::default(), noisy: Pairs::default() }
    }
}

#[derive(Default)]
struct Pairs {
    agree: usize,
    /// How far the ratio of each pair's medians is from 1.
    off: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, one: Median, other: Median) {
        self.agree += usize::from(one.overlaps(other));
        self.off.push((other.p50 / one.p50 - 1.0).abs());
    }

    fn typical(&self) -> f64 {
        let mut sorted = self.off.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
