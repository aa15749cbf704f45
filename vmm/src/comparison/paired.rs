//! Two settings that were measured in turns, in pairs of runs.

use super::differences::{self, Factor};
use super::kinds::Kind;
use super::rows::Needed;
use super::rules::ERROR_RATE;
use super::{Run, Times, disturbed, each_once, findings, overall, side, values};
use crate::results::comparison::row::{Change, Role, Row};
use crate::results::comparison::{COMPARISON_SCHEMA, Comparison, Difference, Open, OpenReason, Settings, Verdict};
use crate::results::measurement::Cell;
use crate::statistics::holm;
use crate::statistics::order::middle;
use crate::statistics::paired::Paired;
use guest_stub::abi::cell::CellId;

/// Most pairs that are thought of.
const MOST_PAIRS: f64 = 10_000.0;

/// Compares two settings, of which every two runs of the same place were measured one after the other. `setting` is what was set
/// differently; that anything else differs is told, and forbids nothing: it came in turns, too. If it is one of several looks at more
/// and more pairs, `looks`, they are wrong together as rarely as one (Bonferroni's bound).
/// When, where and by which command line they were measured is the caller's to fill in.
///
/// Nothing is divided: a pair's runs have the host's drift in common.
pub fn compare(base: &[Run], new: &[Run], setting: Difference, threshold: f64, looks: usize) -> Comparison {
    let error_rate = ERROR_RATE / looks as f64;
    let mut differences = vec![setting];
    differences.extend(differences::find(base, new, Factor::ALL));
    let findings = findings::find(&[Kind { hosts: None, base: base.into(), new: new.into() }], error_rate);
    let cells = rows(base, new, threshold, error_rate);
    let undecided = cells.iter().filter(|row| row.verdict == Verdict::Undecided).count();
    let is_slower = cells.iter().any(|row| row.verdict == Verdict::Slower);
    let times = Times { are_compared: !cells.is_empty(), is_slower, is_open: undecided > 0 };
    let warnings = cells.is_empty().then(|| "the settings have no cell in common: no time is compared".to_owned());
    Comparison {
        schema: COMPARISON_SCHEMA.to_owned(),
        started: None,
        date: None,
        command: Vec::new(),
        host: None,
        kipi: env!("CARGO_PKG_VERSION").to_owned(),
        base: side(base),
        new: side(new),
        pairs: Some(base.len().min(new.len()) as u64),
        interrupted: false,
        settings: Settings { threshold, error_rate: ERROR_RATE, expected: Vec::new() },
        verdict: overall(&differences, &findings, times),
        undecided: undecided as u64,
        warnings: warnings.into_iter().collect(),
        differences,
        findings,
        cells,
        references: Vec::new(),
        gates: Vec::new(),
    }
}

/// Whether a cell that was asked for was never quiet in most runs of a side.
pub fn is_never_quiet(base: &[Run], new: &[Run]) -> bool {
    [base, new]
        .into_iter()
        .any(|runs| each_once(asked(runs)).into_iter().any(|id| disturbed::in_most_runs(runs, id, None)))
}

/// A cell that was asked for and of which no run of a side has a round that counts: what the side is called, and what its last run has
/// of the cell.
pub fn without_rounds<'r>(base: &'r [Run], new: &'r [Run]) -> Option<(&'r str, &'r Cell)> {
    [base, new].into_iter().find_map(|runs| {
        let last = runs.last()?;
        let has_rounds =
            |id: CellId| runs.iter().any(|run| run.measurement.asked().any(|it| it.id == id && it.rounds > 0));
        let without = last.measurement.asked().find(|cell| !has_rounds(cell.id))?;
        Some((last.file.as_str(), without))
    })
}

fn asked(runs: &[Run]) -> impl Iterator<Item = CellId> {
    runs.iter().flat_map(|run| run.measurement.asked()).map(|cell| cell.id)
}

/// The rows of the cells that were asked for and that some pair has on both sides.
fn rows(base: &[Run], new: &[Run], threshold: f64, error_rate: f64) -> Vec<Row> {
    let compared: Vec<(CellId, Pairs, Paired)> = each_once(asked(base))
        .into_iter()
        .filter_map(|id| {
            let pairs = Pairs::of(base, new, &id);
            let paired = Paired::of(&pairs.differences())?;
            Some((id, pairs, paired))
        })
        .collect();
    let levels = holm::levels(&compared.iter().map(|(.., paired)| paired.p()).collect::<Vec<_>>(), error_rate);
    compared.iter().zip(levels).map(|((id, pairs, paired), miss)| row(*id, pairs, paired, miss, threshold)).collect()
}

fn row(id: CellId, pairs: &Pairs, paired: &Paired, miss: f64, threshold: f64) -> Row {
    let change = Change {
        estimate: paired.estimate().exp_m1(),
        interval: paired.interval(miss).map(|ends| ends.map(f64::exp_m1)),
        level: 1.0 - miss,
    };
    let (verdict, open) = judge(change, paired.pairs(), threshold);
    Row {
        id,
        hosts: None,
        metric: values::METRIC,
        role: Role::Primary,
        reference: None,
        base_ns: pairs.median(|pair| pair[0]),
        new_ns: pairs.median(|pair| pair[1]),
        raw: change,
        divided: None,
        spread: None,
        p: Some(paired.p()),
        verdict,
        open,
    }
}

/// The verdict on a change that so many pairs show. They protect it from the host's drift.
pub fn judge(change: Change, pairs: usize, threshold: f64) -> (Verdict, Option<Open>) {
    let Some([low, high]) = change.interval else {
        return (Verdict::Undecided, Some(Open { reason: OpenReason::TooWide, more_runs: None }));
    };
    if let Some(verdict) = Needed::of(true, threshold).decide(change.estimate, [low, high], threshold) {
        return (verdict, None);
    }
    let half = threshold / 2.0;
    // An interval gets narrower by the square root of the pairs. It is to keep clear of none, or of the threshold.
    let size = change.estimate.abs();
    let room = (threshold - size).max(if size > half { size } else { 0.0 });
    let needed = pairs as f64 * ((high - low) / 2.0 / room).powi(2);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and at most MOST_PAIRS")]
    let more =
        (needed.is_finite() && needed < MOST_PAIRS).then(|| (needed.ceil() as u64).saturating_sub(pairs as u64).max(1));
    (Verdict::Undecided, Some(Open { reason: OpenReason::TooWide, more_runs: more }))
}

/// The medians of a cell in each pair, in ns; pairs in which one has none are left out.
struct Pairs(Vec<[f64; 2]>);

impl Pairs {
    fn of(base: &[Run], new: &[Run], id: &CellId) -> Self {
        let pairs = base.iter().zip(new).filter_map(|(base, new)| {
            let [base, new] = [base, new].map(|run| values::observe(run, id).map(|observed| observed.p50_ns));
            Some([base?, new?])
        });
        Self(pairs.collect())
    }

    fn differences(&self) -> Vec<f64> {
        self.0.iter().map(|[base, new]| (new / base).ln()).collect()
    }

    fn median(&self, side: impl Fn(&[f64; 2]) -> f64) -> f64 {
        middle(self.0.iter().map(side).collect()).expect("there is a pair")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_without_a_round_is_told_with_its_cell() {
        use crate::results::fixture;
        let run = |file: &str, rounds| {
            let mut measurement = fixture::measurement();
            measurement.cells = vec![Cell { rounds, ..fixture::cell("halt", 7_000.0) }];
            Run { file: file.to_owned(), measurement }
        };
        let (good, none) = ([run("a", 40), run("a", 0)], [run("b", 0), run("b", 0)]);
        assert!(without_rounds(&good, &good).is_none(), "a run of it has some");
        let (name, cell) = without_rounds(&good, &none).expect("no run of b has any");
        assert_eq!((name, cell.rounds), ("b", 0));
        assert!(without_rounds(&[], &[]).is_none(), "nothing was measured yet");
    }

    fn change(estimate: f64, interval: [f64; 2]) -> Change {
        Change { estimate, interval: Some(interval), level: 0.99 }
    }

    #[test]
    fn a_change_needs_certainty_and_half_of_the_threshold() {
        let verdict = |estimate, interval| judge(change(estimate, interval), 20, 0.02).0;
        assert_eq!(verdict(0.02, [0.005, 0.03]), Verdict::Slower);
        assert_eq!(verdict(-0.02, [-0.03, -0.005]), Verdict::Faster);
        assert_eq!(verdict(0.005, [0.001, 0.009]), Verdict::Same, "certain, and too small to matter");
        assert_eq!(verdict(0.02, [-0.005, 0.045]), Verdict::Undecided);
        assert_eq!(judge(Change { interval: None, ..change(0.5, [0.0; 2]) }, 3, 0.02).0, Verdict::Undecided);
    }

    #[test]
    fn what_would_decide_it_is_said() {
        let more = |estimate, interval| judge(change(estimate, interval), 20, 0.02).1.unwrap().more_runs;
        assert_eq!(more(0.0, [-0.04, 0.04]), Some(60), "four times as many halve the interval");
        assert_eq!(more(0.03, [-0.03, 0.09]), Some(60), "to keep clear of none");
    }
}
