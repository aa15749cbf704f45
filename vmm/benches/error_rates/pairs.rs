//! Pairs of sets of runs of the same thing: how often the comparison is wrong, and what it finds.

use guest_stub::abi::cell::CellId;
use kipi::comparison::rules::Rules;
use kipi::comparison::{Run, compare};
use kipi::results::comparison::Verdict;
use kipi::results::metric::MetricName;
use statrs::distribution::{Beta, ContinuousCDF};

/// What is added to a cell's time.
pub(super) const PLANTED: f64 = 0.05;

/// What many comparisons came to.
#[derive(Default)]
pub(super) struct Count {
    pub(super) comparisons: u64,
    wrong: u64,
    moved: u64,
    cells: u64,
    same: u64,
    planted: u64,
    found: u64,
}

impl Count {
    /// Two sets of the same thing, and once more with each cell's time planted in turn.
    pub(super) fn add(&mut self, base: &[Run], new: &[Run]) {
        for id in self.add_same(base, new) {
            let new: Vec<Run> = new.iter().map(|run| plant(run, &id)).collect();
            self.add_planted(base, &new, |cell| *cell == id);
        }
    }

    /// Two sets of the same thing; the cells that were judged.
    pub(super) fn add_same(&mut self, base: &[Run], new: &[Run]) -> Vec<CellId> {
        let rules = Rules::default();
        let comparison = compare(base, new, &rules);
        self.comparisons += 1;
        self.wrong += u64::from(
            comparison.cells.iter().any(|row| is_changed(row.verdict)) || comparison.worse_findings().next().is_some(),
        );
        self.moved += u64::from(comparison.references.iter().any(|row| is_changed(row.verdict)));
        self.cells += comparison.cells.len() as u64;
        self.same += comparison.cells.iter().filter(|row| row.verdict == Verdict::Same).count() as u64;
        comparison.cells.iter().map(|row| row.id).collect()
    }

    /// Two sets, of which the new one's cells were lengthened that are said to be.
    pub(super) fn add_planted(&mut self, base: &[Run], new: &[Run], is_planted: impl Fn(&CellId) -> bool) {
        for row in compare(base, new, &Rules::default()).cells.iter().filter(|row| is_planted(&row.id)) {
            self.planted += 1;
            self.found += u64::from(row.verdict == Verdict::Slower);
        }
    }

    pub(super) fn print(&self, name: &str, with_interval: bool) {
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

pub(super) fn print_head() {
    println!("{:<41}{:>6}  {:>20}  {:>20}  {:>22}  {:>22}", "", "pairs", "wrong", "moved", "same", "found");
}

const fn is_changed(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Slower | Verdict::Faster)
}

/// The run, with a cell's time grown.
pub(super) fn plant(run: &Run, id: &CellId) -> Run {
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
