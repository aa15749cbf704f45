//! How often `kipi compare` is wrong, and what it finds: `just bench-errors`, or `cargo bench -p kipi --bench error_rates --
//! [--pairs N] [--data DIR]..`.
//!
//! Without `--data`, on runs that are made up, whose truth is known: 10,000 pairs of sets for each kind of host. With it, on runs of one
//! and the same thing that were measured in a row (`kipi measure --json DIR/run-0001.json`, and so on): all windows of 5 and of 10 runs and
//! as many right behind them. Those that slide overlap, and are many but not independent; of the disjoint ones, Clopper and Pearson's
//! interval holds.
//!
//! | number | what it is | goal |
//! | --- | --- | --- |
//! | wrong | comparisons of the same thing in which any cell is called slower or faster, or a finding is worse | at most 1 % |
//! | moved | those in which a reference is called slower or faster | at most 1 % |
//! | same | cells of these that are called the same | |
//! | found | cells called slower where 5 % were added to their time, and not to the reference's | 95 % with 10 a side |
//! | steps | the same for `kipi bisect-step`, which looks at 3, 5, 8, 12 and 20 new runs beside 10 of the base | at most 1 % wrong |
//! | raw | cells of these, as they were, of which the 95 % intervals of two successive runs' medians have nothing in common | |
//!
//! Being off a goal never fails the benchmark, being unable to run does.

use anyhow::{Context, bail};
use guest_stub::abi::cell::CellId;
use guest_stub::random::SplitMix64;
use kipi::comparison::rules::Rules;
use kipi::comparison::{Run, compare, looks};
use kipi::results::comparison::{Comparison, Overall, Severity, Verdict};
use kipi::results::measurement::Measurement;
use kipi::results::metric::MetricName;
use statrs::distribution::{Beta, ContinuousCDF};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Pairs of made-up sets of each kind.
const PAIRS: usize = 10_000;

/// Runs a side.
const SIZES: [usize; 2] = [5, 10];

/// What is added to a cell's time.
const PLANTED: f64 = 0.05;

/// A document of which made-up runs are copies: what they do not change is not compared.
const TEMPLATE: &str = include_str!("error_rates/template.json");

fn main() -> ExitCode {
    let (mut pairs, mut directories, mut asked) = (PAIRS, Vec::new(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => asked = true,
            "--pairs" => {
                let count = arguments.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
                let Some(count) = count else {
                    eprintln!("error_rates: --pairs takes a number from 1");
                    return ExitCode::from(2);
                };
                pairs = count;
            }
            "--data" => directories.extend(arguments.next().map(PathBuf::from)),
            other => {
                eprintln!("error_rates: there is no option {other}");
                return ExitCode::from(2);
            }
        }
    }
    if !asked {
        println!("SKIP: `cargo bench` runs this, `cargo test` does not (--bench was not passed)");
        return ExitCode::SUCCESS;
    }
    let done = if directories.is_empty() {
        made_up(pairs).and_then(|()| steps(pairs.div_ceil(5)))
    } else {
        directories.iter().try_for_each(|it| measured(it))
    };
    done.map_or_else(
        |error| {
            eprintln!("error_rates: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// What many comparisons came to.
#[derive(Default)]
struct Count {
    comparisons: u64,
    wrong: u64,
    moved: u64,
    cells: u64,
    same: u64,
    planted: u64,
    found: u64,
}

impl Count {
    /// Two sets of the same thing, and once more with each cell's time planted in turn.
    fn add(&mut self, base: &[Run], new: &[Run]) {
        let rules = Rules::default();
        let comparison = compare(base, new, &rules);
        self.comparisons += 1;
        self.wrong += u64::from(comparison.cells.iter().any(|row| is_changed(row.verdict)) || is_worse(&comparison));
        self.moved += u64::from(comparison.references.iter().any(|row| is_changed(row.verdict)));
        self.cells += comparison.cells.len() as u64;
        self.same += comparison.cells.iter().filter(|row| row.verdict == Verdict::Same).count() as u64;
        for row in &comparison.cells {
            let new: Vec<Run> = new.iter().map(|run| plant(run, &row.id)).collect();
            let planted = compare(base, &new, &rules);
            let is_found = planted.cells.iter().any(|it| it.id == row.id && it.verdict == Verdict::Slower);
            self.planted += 1;
            self.found += u64::from(is_found);
        }
    }

    fn print(&self, name: &str, with_interval: bool) {
        let share = |count: u64, of: u64| {
            let percent = 100.0 * count as f64 / of.max(1) as f64;
            if with_interval {
                let [low, high] = clopper_pearson(count, of).map(|end| 100.0 * end);
                format!("{percent:.2} ({low:.2}–{high:.2}) %")
            } else {
                format!("{percent:.2} %")
            }
        };
        println!(
            "{name:<41}{:>6}  {:>20}  {:>20}  {:>22}  {:>22}",
            self.comparisons,
            share(self.wrong, self.comparisons),
            share(self.moved, self.comparisons),
            share(self.same, self.cells),
            share(self.found, self.planted)
        );
    }
}

fn head() {
    println!("{:<41}{:>6}  {:>20}  {:>20}  {:>22}  {:>22}", "", "pairs", "wrong", "moved", "same", "found");
}

const fn is_changed(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Slower | Verdict::Faster)
}

fn is_worse(comparison: &Comparison) -> bool {
    comparison.findings.iter().any(|finding| finding.severity == Severity::Worse)
}

/// The run, with a cell's time grown.
fn plant(run: &Run, id: &CellId) -> Run {
    let mut run = run.clone();
    for cell in run.measurement.cells.iter_mut().filter(|cell| cell.id == *id) {
        if let Some(metric) = cell.metrics.get_mut(&MetricName::RoundTrip) {
            metric.p50 *= 1.0 + PLANTED;
        }
        for block in &mut cell.blocks {
            if let Some(spread) = block.metrics.get_mut(&MetricName::RoundTrip) {
                spread.p50 *= 1.0 + PLANTED;
            }
        }
    }
    run
}

/// The 95 % interval of a probability, of which so many trials had so many successes.
fn clopper_pearson(successes: u64, trials: u64) -> [f64; 2] {
    let (successes, rest) = (successes as f64, (trials - successes) as f64);
    let quantile = |a: f64, b: f64, at: f64| Beta::new(a, b).map_or(f64::NAN, |beta| beta.inverse_cdf(at));
    let low = if successes > 0.0 { quantile(successes, rest + 1.0, 0.025) } else { 0.0 };
    let high = if rest > 0.0 { quantile(successes + 1.0, rest, 0.975) } else { 1.0 };
    [low, high]
}

/// Runs that were measured in a row.
fn measured(directory: &Path) -> anyhow::Result<()> {
    let runs = read(directory)?;
    println!("{}: {} runs in a row", directory.display(), runs.len());
    if let Some((disjoint, pairs)) = raw(&runs) {
        let share = 100.0 * disjoint as f64 / pairs as f64;
        println!(
            "raw: the 95 % intervals of {disjoint} of {pairs} cells ({share:.0} %) of two successive runs have nothing in common"
        );
    }
    head();
    for size in SIZES {
        for (name, step, with_interval) in [("sliding", 1, false), ("disjoint", 2 * size, true)] {
            let mut count = Count::default();
            for window in runs.windows(2 * size).step_by(step) {
                let (base, new) = window.split_at(size);
                count.add(base, new);
            }
            if count.comparisons > 0 {
                count.print(&format!("{size} a side, {name}"), with_interval);
            }
        }
    }
    Ok(())
}

fn read(directory: &Path) -> anyhow::Result<Vec<Run>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &PathBuf| -> anyhow::Result<Run> {
        let file = path.display().to_string();
        let measurement = serde_json::from_slice(&fs::read(path)?).with_context(|| file.clone())?;
        Ok(Run { file, measurement })
    };
    let mut runs = paths.iter().map(read).collect::<anyhow::Result<Vec<Run>>>()?;
    if runs.len() < 2 * SIZES[0] {
        bail!("{}: {} runs are too few", directory.display(), runs.len());
    }
    if runs.iter().all(|run| run.measurement.started.is_some()) {
        let started = |run: &Run| run.measurement.started.unwrap_or(0.0);
        runs.sort_by(|one, other| started(one).total_cmp(&started(other)));
    }
    Ok(runs)
}

/// How many cells of successive runs have medians whose intervals are disjoint, and of how many.
fn raw(runs: &[Run]) -> Option<(usize, usize)> {
    let interval = |run: &Run, id: &CellId| {
        run.measurement.cells.iter().find(|cell| cell.id == *id)?.metrics.get(&MetricName::RoundTrip)?.ci95.p50
    };
    let pairs = runs.windows(2).flat_map(|pair| {
        let ids = pair[0].measurement.asked().map(|cell| cell.id);
        ids.filter_map(|id| Some((interval(&pair[0], &id)?, interval(&pair[1], &id)?)))
    });
    let pairs: Vec<_> = pairs.collect();
    let disjoint = pairs.iter().filter(|([low, high], [other_low, other_high])| high < other_low || other_high < low);
    (!pairs.is_empty()).then(|| (disjoint.count(), pairs.len()))
}

/// A kind of host: how a cell's time varies from run to run, in standard deviations.
struct Host {
    name: &'static str,
    /// What all cells share, and its long memory H (fractional Gaussian noise).
    shared: f64,
    memory: f64,
    /// What is each cell's own.
    own: f64,
    kind: Kind,
}

/// How the cell's own part is distributed.
#[derive(Clone, Copy)]
enum Kind {
    Normal,
    /// Student's t with 3 degrees of freedom.
    HeavyTails,
    /// One run in twenty takes a fifth longer.
    Outliers,
    /// One of two states in each run, 4 % apart.
    Bimodal,
    /// Long memory of the cell's own.
    Drifting,
}

const HOSTS: [Host; 6] = [
    Host { name: "as measured (own 1.1 %)", shared: 0.05, memory: 0.75, own: 0.011, kind: Kind::Normal },
    Host { name: "noisy cells (own 2.5 %)", shared: 0.05, memory: 0.75, own: 0.025, kind: Kind::Normal },
    Host { name: "heavy tails", shared: 0.05, memory: 0.75, own: 0.011, kind: Kind::HeavyTails },
    Host { name: "outliers", shared: 0.05, memory: 0.75, own: 0.011, kind: Kind::Outliers },
    Host { name: "bimodal", shared: 0.05, memory: 0.75, own: 0.005, kind: Kind::Bimodal },
    Host { name: "the reference drifts otherwise", shared: 0.10, memory: 0.9, own: 0.011, kind: Kind::Drifting },
];

fn made_up(pairs: usize) -> anyhow::Result<()> {
    let template: Measurement = serde_json::from_str(TEMPLATE).context("the template")?;
    println!("made-up runs, {pairs} pairs of each kind");
    head();
    for host in &HOSTS {
        for size in SIZES {
            let mut random = SplitMix64(size as u64);
            let mut count = Count::default();
            for _ in 0..pairs {
                let runs = host.runs(&template, 2 * size, &mut random);
                let (base, new) = runs.split_at(size);
                count.add(base, new);
            }
            count.print(&format!("{}, {size} a side", host.name), false);
        }
    }
    Ok(())
}

/// What many steps of a bisection came to.
#[derive(Default)]
struct Steps {
    /// Of the same thing: worse, the same, and neither; and of runs with a cell that was planted.
    same: [u64; 3],
    planted: [u64; 3],
    runs: u64,
}

impl Steps {
    /// Looks at new runs of the same thing as they come, and at such of which a cell's time was planted.
    fn add(&mut self, base: &[Run], new: &[Run]) {
        let (decided, runs) = step(base, new);
        self.same[decided] += 1;
        self.runs += runs as u64;
        let asked: Vec<CellId> = compare(base, new, &Rules::default()).cells.iter().map(|row| row.id).collect();
        if let Some(id) = asked.first() {
            let new: Vec<Run> = new.iter().map(|run| plant(run, id)).collect();
            self.planted[step(base, &new).0] += 1;
        }
    }

    fn print(&self, name: &str) {
        let all = self.same.iter().sum::<u64>();
        let percent = |count: u64| format!("{:.2} %", 100.0 * count as f64 / all.max(1) as f64);
        let [worse, same, open] = self.same.map(percent);
        let [found, missed, skipped] = self.planted.map(percent);
        let runs = self.runs as f64 / all.max(1) as f64;
        println!(
            "{name:<41}{all:>6}  {worse:>8}  {same:>8}  {open:>8}  {runs:>6.1}  {found:>8}  {missed:>8}  {skipped:>8}"
        );
    }
}

/// What a step comes to (worse, nothing worse, undecided), and after how many runs.
fn step(base: &[Run], new: &[Run]) -> (usize, usize) {
    let rules = looks::rules(PLANTED, &[]);
    for runs in looks::RUNS {
        match compare(base, &new[..runs], &rules).verdict {
            Overall::Worse => return (0, runs),
            Overall::NothingWorse => return (1, runs),
            Overall::Undecided | Overall::NotComparable => {}
        }
    }
    (2, new.len())
}

fn steps(pairs: usize) -> anyhow::Result<()> {
    const BASE: usize = 10;
    let template: Measurement = serde_json::from_str(TEMPLATE).context("the template")?;
    println!("steps of a bisection, {pairs} of each kind; then with 5 % planted");
    println!(
        "{:<41}{:>6}  {:>8}  {:>8}  {:>8}  {:>6}  {:>8}  {:>8}  {:>8}",
        "", "steps", "wrong", "same", "skipped", "runs", "found", "missed", "skipped"
    );
    for host in &HOSTS {
        let mut random = SplitMix64(1);
        let mut count = Steps::default();
        for _ in 0..pairs {
            let most = looks::RUNS.last().copied().unwrap_or_default();
            let runs = host.runs(&template, BASE + most, &mut random);
            let (base, new) = runs.split_at(BASE);
            count.add(base, new);
        }
        count.print(host.name);
    }
    Ok(())
}

impl Host {
    fn runs(&self, template: &Measurement, count: usize, random: &mut SplitMix64) -> Vec<Run> {
        let drift = fractional_noise(self.memory, count, random);
        let cells = template.cells.len();
        let own: Vec<Vec<f64>> = (0..cells).map(|_| self.own(count, random)).collect();
        let run = |number: usize| {
            let mut measurement = template.clone();
            for (cell, own) in measurement.cells.iter_mut().zip(&own) {
                let logarithm = self.shared * drift[number] + own[number];
                if let Some(metric) = cell.metrics.get_mut(&MetricName::RoundTrip) {
                    metric.p50 *= logarithm.exp();
                }
            }
            Run { file: format!("run-{number:02}.json"), measurement }
        };
        (0..count).map(run).collect()
    }

    fn own(&self, count: usize, random: &mut SplitMix64) -> Vec<f64> {
        let mut values: Vec<f64> = match self.kind {
            Kind::Drifting => fractional_noise(0.7, count, random),
            Kind::Normal | Kind::HeavyTails | Kind::Outliers | Kind::Bimodal => {
                (0..count).map(|_| normal(random)).collect()
            }
        };
        for value in &mut values {
            match self.kind {
                Kind::Normal | Kind::Drifting => *value *= self.own,
                Kind::HeavyTails => {
                    let squares: f64 = (0..3).map(|_| normal(random).powi(2)).sum();
                    *value *= self.own / (squares / 3.0).sqrt() / 3.0_f64.sqrt();
                }
                Kind::Outliers => *value = *value * self.own + if random.below(20) == 0 { 0.2 } else { 0.0 },
                Kind::Bimodal => *value = *value * self.own + if random.below(2) == 0 { 0.04 } else { 0.0 },
            }
        }
        values
    }
}

/// Normally distributed, by Box and Muller.
fn normal(random: &mut SplitMix64) -> f64 {
    let mut uniform = || ((random.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

/// Fractional Gaussian noise of variance 1 (Hosking 1984): each value is predicted from those before it.
fn fractional_noise(memory: f64, count: usize, random: &mut SplitMix64) -> Vec<f64> {
    let power = |lag: f64| lag.abs().powf(2.0 * memory);
    let covariance = |lag: usize| {
        let lag = lag as f64;
        0.5 * (power(lag + 1.0) - 2.0 * power(lag) + power(lag - 1.0))
    };
    let (mut values, mut coefficients, mut variance): (Vec<f64>, Vec<f64>, f64) = (Vec::new(), Vec::new(), 1.0);
    for number in 0..count {
        let predicted: f64 = coefficients.iter().zip(values.iter().rev()).map(|(one, other)| one * other).sum();
        values.push(predicted + variance.sqrt() * normal(random));
        let known: f64 = coefficients.iter().enumerate().map(|(lag, one)| one * covariance(number - lag)).sum();
        let partial = (covariance(number + 1) - known) / variance;
        let reversed: Vec<f64> = coefficients.iter().rev().copied().collect();
        coefficients.iter_mut().zip(reversed).for_each(|(own, other)| *own -= partial * other);
        coefficients.push(partial);
        variance *= 1.0 - partial * partial;
    }
    values
}
