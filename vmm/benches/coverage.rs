//! Whether the intervals keep their word: `just bench`, or `cargo bench -p kipi --bench coverage -- [--quick | --runs N] [OPTIONS
//! of kipi measure]`. The release binary is run N times in a row, and each run's 95 % interval of the round trip's median is
//! compared with the next run.
//!
//! | number | what it is | if runs were independent, and the interval were right |
//! | --- | --- | --- |
//! | next inside | how often the next run's median lies in a run's interval | 83 %: the next median varies as well |
//! | disjoint | how often the intervals of two successive runs have nothing in common | 0.6 % |
//! | ± | half of the interval's width over the median, on average | |
//! | CV | standard deviation of the runs' medians over their mean | |
//!
//! The share of so few pairs is itself uncertain: of 100 pairs, by 4 % (one standard deviation) for 83 %. Being off a goal never
//! fails the benchmark, being unable to run does.

use anyhow::{Context, bail};
use kipi::results::measurement::Measurement;
use kipi::results::metric::MetricName;
use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// One more than there are pairs of neighbours.
const RUNS: usize = 101;
const QUICK_RUNS: usize = 11;
/// Fewer tell nothing.
const FEWEST_RUNS: usize = 3;

const INSIDE: std::ops::RangeInclusive<f64> = 0.78..=0.90;
const DISJOINT: std::ops::RangeInclusive<f64> = 0.0..=0.02;

/// kipi's exit status where the host cannot do it.
const HOST_CANNOT: i32 = 4;

fn main() -> ExitCode {
    let mut runs = RUNS;
    let mut asked = false;
    let mut options = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => asked = true,
            "--quick" => runs = QUICK_RUNS,
            "--runs" => match arguments.next().and_then(|count| count.parse().ok()) {
                Some(count) if count >= FEWEST_RUNS => runs = count,
                Some(_) | None => {
                    eprintln!("coverage: --runs takes a number from {FEWEST_RUNS}");
                    return ExitCode::from(2);
                }
            },
            _ => options.push(argument),
        }
    }
    if !asked {
        println!("SKIP: `cargo bench` runs this, `cargo test` does not (--bench was not passed)");
        return ExitCode::SUCCESS;
    }
    match run(runs, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coverage: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What one run says of a cell's round trip: its median, and the interval of that.
#[derive(Debug, Clone, Copy)]
struct Said {
    median: f64,
    interval: [f64; 2],
}

fn run(runs: usize, options: &[String]) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut cells: BTreeMap<String, Vec<Said>> = BTreeMap::new();
    let mut order = Vec::new();
    for number in 0..runs {
        let Some(measurement) = measure(options)? else {
            if number > 0 {
                bail!("this host could do it a moment ago, and now cannot");
            }
            println!("SKIP: this host cannot do it (see 'kipi doctor')");
            return Ok(());
        };
        for cell in &measurement.cells {
            let name = cell.id.to_string();
            let said = cell
                .metrics
                .get(&MetricName::RoundTrip)
                .and_then(|metric| Some(Said { median: metric.p50, interval: metric.ci95.p50? }));
            let said = said.with_context(|| format!("{name} has no interval in run {number}"))?;
            if number == 0 {
                order.push(name.clone());
            }
            cells.entry(name).or_default().push(said);
        }
    }
    let each = start.elapsed().as_secs_f64() / runs as f64;
    println!("kipi measure {}: {runs} runs in a row, {each:.1} s each", options.join(" "));
    println!("{:<44}{:>10} {:>6} {:>6} {:>12} {:>9}  goals", "cell", "median", "CV", "±", "next inside", "disjoint");
    for name in order {
        print(&name, &cells[&name]);
    }
    println!(
        "goals: next inside {:.0} to {:.0} %, disjoint at most {:.0} %",
        INSIDE.start() * 100.0,
        INSIDE.end() * 100.0,
        DISJOINT.end() * 100.0
    );
    Ok(())
}

fn print(name: &str, runs: &[Said]) {
    let n = runs.len() as f64;
    let mean = runs.iter().map(|run| run.median).sum::<f64>() / n;
    let deviation = (runs.iter().map(|run| (run.median - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let half = runs.iter().map(|run| (run.interval[1] - run.interval[0]) / 2.0 / run.median).sum::<f64>() / n;
    let share = |holds: fn(Said, Said) -> bool| {
        let held = runs.windows(2).filter(|pair| holds(pair[0], pair[1])).count();
        held as f64 / (n - 1.0)
    };
    let inside = share(|run, next| run.interval[0] <= next.median && next.median <= run.interval[1]);
    let disjoint = share(|run, next| run.interval[1] < next.interval[0] || next.interval[1] < run.interval[0]);
    let goals = if INSIDE.contains(&inside) && DISJOINT.contains(&disjoint) { "met" } else { "NOT met" };
    println!(
        "{name:<44}{:>7.1} µs {:>4.1} % {:>4.1} % {:>10.0} % {:>7.1} %  {goals}",
        mean / 1e3,
        deviation / mean * 100.0,
        half * 100.0,
        inside * 100.0,
        disjoint * 100.0
    );
}

/// Runs kipi once; `None` where the host cannot do it.
fn measure(options: &[String]) -> anyhow::Result<Option<Measurement>> {
    let output = Command::new(env!("CARGO_BIN_EXE_kipi"))
        .arg("measure")
        .args(options)
        .args(["--json", "-"])
        .stdin(Stdio::null())
        .output()
        .context("kipi measure")?;
    if output.status.code() == Some(HOST_CANNOT) {
        return Ok(None);
    }
    if !output.status.success() {
        bail!("kipi measure: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("kipi measure --json -").map(Some)
}
