//! Steps of a bisection: how often one is wrong, and after how many runs it is decided.

use crate::hosts::HOSTS;
use crate::pairs::{PLANTED, plant};
use guest_stub::abi::cell::CellId;
use guest_stub::random::SplitMix64;
use kipi::comparison::rules::Rules;
use kipi::comparison::{Run, compare, looks};
use kipi::results::comparison::Overall;

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
        let asked: Vec<CellId> = compare(base, new, &Rules::default()).cells.iter().map(|row| row.id).collect();
        let planted = |id| new.iter().map(|run| plant(run, id)).collect::<Vec<Run>>();
        self.add_both(base, new, &asked.first().map(planted).unwrap_or_default());
    }

    /// Looks at new runs of the same thing, and at those whose calls were lengthened.
    fn add_both(&mut self, base: &[Run], new: &[Run], planted: &[Run]) {
        let (decided, runs) = step(base, new);
        self.same[decided] += 1;
        self.runs += runs as u64;
        if !planted.is_empty() {
            self.planted[step(base, planted).0] += 1;
        }
    }

    fn print(&self, name: &str) {
        let all = self.same.iter().sum::<u64>();
        let shares = |counts: [u64; 3]| {
            let all = counts.iter().sum::<u64>();
            counts.map(|count| format!("{:.2} %", 100.0 * count as f64 / all.max(1) as f64))
        };
        let [worse, same, open] = shares(self.same);
        let [found, missed, skipped] = shares(self.planted);
        let runs = self.runs as f64 / all.max(1) as f64;
        println!(
            "{name:<41}{all:>6}  {worse:>8}  {same:>8}  {open:>8}  {runs:>6.1}  {found:>8}  {missed:>8}  {skipped:>8}"
        );
    }
}

/// What a step comes to (worse, nothing worse, undecided), and after how many runs.
fn step(base: &[Run], new: &[Run]) -> (usize, usize) {
    let rules = looks::rules(PLANTED, &[], true);
    for runs in looks::RUNS {
        match compare(base, &new[..runs], &rules).verdict {
            Overall::Worse => return (0, runs),
            Overall::NothingWorse => return (1, runs),
            Overall::Undecided | Overall::NotComparable => {}
        }
    }
    (2, new.len())
}

/// Runs of the base.
const BASE: usize = 10;

fn print_head(which: &str) {
    println!("steps of a bisection, {which}; then with 5 % planted");
    println!(
        "{:<41}{:>6}  {:>8}  {:>8}  {:>8}  {:>6}  {:>8}  {:>8}  {:>8}",
        "", "steps", "wrong", "same", "skipped", "runs", "found", "missed", "skipped"
    );
}

fn most_runs() -> usize {
    looks::RUNS.last().copied().unwrap_or_default()
}

/// Steps over runs of one thing in a row, each begun a run later than the one before; `planted`: in turns with them.
pub(super) fn in_series(runs: &[Run], planted: Option<&[Run]>) {
    let all = BASE + most_runs();
    print_head("each begun a run later");
    let mut count = Steps::default();
    for (first, window) in runs.windows(all).enumerate() {
        let (base, new) = window.split_at(BASE);
        match planted {
            Some(planted) => count.add_both(base, new, &planted[first + BASE..first + all]),
            None => count.add(base, new),
        }
    }
    count.print("sliding");
}

pub(super) fn made_up(pairs: usize) -> anyhow::Result<()> {
    let template = crate::template()?;
    print_head(&format!("{pairs} of each kind"));
    for host in &HOSTS {
        let mut random = SplitMix64(1);
        let mut count = Steps::default();
        for _ in 0..pairs {
            let most = most_runs();
            let runs = host.runs(&template, BASE + most, &mut random);
            let (base, new) = runs.split_at(BASE);
            count.add(base, new);
        }
        count.print(host.name);
    }
    Ok(())
}
