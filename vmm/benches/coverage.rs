//! Whether the intervals keep their word: `just bench`, or `cargo bench -p kipi --bench coverage -- [--quick | --runs N] [OPTIONS
//! of kipi measure]`. The release binary is run N times in a row, and each run's 95 % interval of the round trip's median is
//! compared with the next run.
//!
//! | number | what it is | if runs were independent, and the interval were right |
//! | --- | --- | --- |
//! | next inside | how often the next run's median lies in a run's interval | 83 %: the next median varies as well |
//! | below, above | how often it lies on either side | 8 % each |
//! | disjoint | how often the intervals of two successive runs have nothing in common | 0.6 % |
//! | −, + | how far the interval's ends lie from the median, over the median: of the median run | 1.4 CV or more |
//! | CV | standard deviation of the runs' medians over their mean | |
//!
//! The share of so few pairs is itself uncertain: of 100 pairs, by 4 % (one standard deviation) for 83 %. Being off a goal never
//! fails the benchmark, being unable to run does.

mod measured;
mod median;

use anyhow::{Context, bail};
use measured::measure;
use median::Median;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

/// One more than there are pairs of neighbours.
const RUNS: usize = 101;
const QUICK_RUNS: usize = 11;
/// Fewer tell nothing.
const FEWEST_RUNS: usize = 3;

const INSIDE: std::ops::RangeInclusive<f64> = 0.78..=0.90;
const DISJOINT: std::ops::RangeInclusive<f64> = 0.0..=0.02;

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

fn run(runs: usize, options: &[String]) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut cells: BTreeMap<String, Vec<Median>> = BTreeMap::new();
    let mut order = Vec::new();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let arguments = [&["measure"], options.as_slice(), &["--json", "-"]].concat();
    for number in 0..runs {
        let Some(measurement) = measure(&arguments)? else {
            if number > 0 {
                bail!("this host could do it a moment ago, and now cannot");
            }
            println!("SKIP: this host cannot do it (see 'kipi doctor')");
            return Ok(());
        };
        for cell in &measurement.cells {
            let name = cell.id.to_string();
            let said = Median::of(cell).with_context(|| format!("{name} has no interval in run {number}"))?;
            if number == 0 {
                order.push(name.clone());
            }
            cells.entry(name).or_default().push(said);
        }
    }
    let each = start.elapsed().as_secs_f64() / runs as f64;
    println!("kipi measure {}: {runs} runs in a row, {each:.1} s each", options.join(" "));
    println!(
        "{:<44}{:>10} {:>6} {:>6} {:>6} {:>12} {:>6} {:>6} {:>9}  goals",
        "cell", "median", "CV", "−", "+", "next inside", "below", "above", "disjoint"
    );
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

fn print(name: &str, runs: &[Median]) {
    let n = runs.len() as f64;
    let mean = runs.iter().map(|run| run.p50).sum::<f64>() / n;
    let deviation = (runs.iter().map(|run| (run.p50 - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    // Of the median run: a few whose host was slow for a while have intervals that reach far, as they should.
    let end = |distance: fn(&Median) -> f64| {
        let mut distances: Vec<f64> = runs.iter().map(|run| distance(run) / run.p50 * 100.0).collect();
        distances.sort_unstable_by(f64::total_cmp);
        distances[distances.len() / 2]
    };
    let (down, up) = (end(|run| run.p50 - run.interval[0]), end(|run| run.interval[1] - run.p50));
    let share = |holds: fn(Median, Median) -> bool| {
        let held = runs.windows(2).filter(|pair| holds(pair[0], pair[1])).count();
        held as f64 / (n - 1.0)
    };
    let inside = share(|run, next| run.interval[0] <= next.p50 && next.p50 <= run.interval[1]);
    let (below, above) = (share(|run, next| next.p50 < run.interval[0]), share(|run, next| next.p50 > run.interval[1]));
    let disjoint = share(|run, next| !run.overlaps(next));
    let goals = if INSIDE.contains(&inside) && DISJOINT.contains(&disjoint) { "met" } else { "NOT met" };
    println!(
        "{name:<44}{:>7.1} µs {:>4.1} % {down:>4.1} % {up:>4.1} % {:>10.0} % {:>4.0} % {:>4.0} % {:>7.1} %  {goals}",
        mean / 1e3,
        deviation / mean * 100.0,
        inside * 100.0,
        below * 100.0,
        above * 100.0,
        disjoint * 100.0
    );
}
