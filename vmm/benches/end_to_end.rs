//! What a user waits for and pays before the first result, measured from outside on the release binary: `just bench`, or
//! `cargo bench -p kipi --bench end_to_end -- [--quick]`. What rounds cost is `rounds.rs`'s, with criterion, which cannot do this:
//! it measures this process, and neither another's memory nor what that says of itself.
//!
//! Every number is one of several starts of the process. Printed are the median and the range. Goals are judged by the median,
//! and are goals for a machine of its own: being slow never fails the benchmark, being unable to run does.
//!
//! | number | how it is obtained | error |
//! | --- | --- | --- |
//! | exec to first broadcast | `first_broadcast_ns` of the process's own JSON: the CPU time until `main`, plus the time since | waits before `main` (page faults from disk, scheduling) are not in it |
//! | of which the sandbox | `sandbox.took_ns` of that JSON: all that puts it up, its filters' compilation included | each thread's own filter, some 10 µs a vCPU, is not in it |
//! | spawn to exit | this process's clock around spawn and wait of that same command: the check from outside | also holds the fork, the calibration of the instruments, 80 rounds, the statistics, the end of the VM |
//! | peak resident set | `ru_maxrss` of `wait4` for exactly that process | the kernel counts pages by CPU, in batches: up to some 100 KiB a CPU. Linux starts the figure at the spawning process's own peak, so one that is not above it is printed as a bound |

use anyhow::{Context, bail};
use kipi::commands::status::Status;
use kipi::results::measurement::Measurement;
use kipi::results::measurement::host::Host;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const GOAL_FIRST_BROADCAST_MS: f64 = 15.0;
const GOAL_SANDBOX_MS: f64 = 1.0;
const GOAL_PEAK_RSS_MIB: f64 = 8.0;

/// How often the process is started.
const STARTS: usize = 15;
const QUICK_STARTS: usize = 3;

fn main() -> ExitCode {
    let mut starts = STARTS;
    let mut asked = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bench" => asked = true,
            "--quick" => starts = QUICK_STARTS,
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
    match run(starts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("end_to_end: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(starts: usize) -> anyhow::Result<()> {
    // Not counted: it finds out whether this host can do it, and brings the binary into the page cache.
    if let Run::HostCannot(reason) = start()? {
        println!("SKIP: {reason}");
        return Ok(());
    }
    let mut results = Results::default();
    for _ in 0..starts {
        results.add(start()?.expect_done()?);
    }
    results.print(starts)
}

/// What a finished process left behind.
struct Finished {
    measurement: Box<Measurement>,
    wall: Duration,
    peak_rss_kib: i64,
}

/// How a run of kipi ended, other than by failing.
enum Run {
    Done(Finished),
    HostCannot(String),
}

impl Run {
    fn expect_done(self) -> anyhow::Result<Finished> {
        match self {
            Self::Done(finished) => Ok(finished),
            Self::HostCannot(reason) => bail!("this host could do it a moment ago, and now cannot: {reason}"),
        }
    }
}

const START: &str =
    "measure --vcpus 2 --route x2apic --target-state halt --observe guest --native none --rounds 20 --json -";

/// Runs kipi to its end.
fn start() -> anyhow::Result<Run> {
    let before = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kipi"))
        .args(START.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(START)?;
    // Read while it runs, so that the pipe does not fill up.
    let measurement = serde_json::from_reader(child.stdout.take().context("standard output is a pipe")?);
    // One line, so it cannot have filled the pipe.
    let mut complaint = String::new();
    child.stderr.take().context("standard error is a pipe")?.read_to_string(&mut complaint).context(START)?;
    let (status, usage) = wait(&child).context(START)?;
    let wall = before.elapsed();
    if status.code() == Some(Status::HostCannot as i32) {
        return Ok(Run::HostCannot(complaint.trim().to_owned()));
    }
    if !status.success() {
        bail!("kipi {START}: {status}: {}", complaint.trim());
    }
    Ok(Run::Done(Finished { measurement: measurement.context(START)?, wall, peak_rss_kib: usage.ru_maxrss }))
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

/// Everything that was measured, one value a start.
#[derive(Default)]
struct Results {
    host: Option<(Host, u64)>,
    first_broadcast_ms: Vec<f64>,
    wall_ms: Vec<f64>,
    peak_rss_mib: Vec<f64>,
    sandbox_ms: Vec<f64>,
}

impl Results {
    fn add(&mut self, finished: Finished) {
        let Finished { measurement, wall, peak_rss_kib } = finished;
        for instruments in measurement.instruments {
            self.first_broadcast_ms.extend(instruments.first_broadcast_ns.map(|ns| ns / 1e6));
            self.host = Some((measurement.host.clone(), instruments.clock.tsc_khz));
        }
        let took = measurement.sandbox.as_ref().and_then(|sandbox| sandbox.took_ns);
        self.sandbox_ms.extend(took.map(|ns| ns as f64 / 1e6));
        self.wall_ms.push(wall.as_secs_f64() * 1e3);
        self.peak_rss_mib.push(peak_rss_kib as f64 / 1024.0);
    }

    fn print(&self, starts: usize) -> anyhow::Result<()> {
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
        println!("\nkipi {START}");
        println!("{:<36}{:>10}  {:<22}goal", format!("{starts} starts"), "median", "range");
        print_line("exec to first broadcast, ms", &self.first_broadcast_ms, Some(GOAL_FIRST_BROADCAST_MS));
        print_line("of which the sandbox, ms", &self.sandbox_ms, Some(GOAL_SANDBOX_MS));
        print_line("spawn to exit, ms", &self.wall_ms, None);
        print_line("peak resident set, MiB", &self.peak_rss_mib, Some(GOAL_PEAK_RSS_MIB));
        print_rss_bound(&self.peak_rss_mib)
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
}
