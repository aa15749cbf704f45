//! Tails, by counts: how many rounds of the new side lie beyond the base's quantile, grown by what is tolerated.
//!
//! A quantile far out is known badly: one of p99.9 rests on the thousandth of the rounds that lies beyond it, and those come in bursts. The
//! share of rounds beyond a bound is a mean of runs like any other, and bursts show in how it varies from run to run.

use super::kinds::Kind;
use super::rules::FEWEST_RUNS;
use super::{Run, disturbed};
use crate::results::comparison::gate::Gate;
use crate::results::comparison::{Open, OpenReason, Verdict};
use crate::results::histogram::Histogram;
use crate::statistics::change::{Difference, Set};
use guest_stub::abi::cell::CellId;
use std::str::FromStr;

/// What is tolerated of a tail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The quantile: 0.99 is p99.
    pub quantile: f64,
    /// By how much it may grow, a fraction.
    pub margin: f64,
}

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "it is not of the form p99=20%";
        let (quantile, margin) = text.split_once('=').ok_or(FORM)?;
        let percent =
            |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| value / 100.0);
        let quantile = quantile.strip_prefix('p').and_then(percent).ok_or(FORM)?;
        let margin = margin.strip_suffix('%').and_then(percent).ok_or(FORM)?;
        if !(0.5..1.0).contains(&quantile) {
            return Err("a tail's quantile lies between p50 and p100");
        }
        if margin < 0.0 {
            return Err("a tail cannot be tolerated to grow by less than nothing");
        }
        Ok(Self { quantile, margin })
    }
}

/// A gate for each kind of hosts, each cell that both sides have on them, and each limit.
pub(super) fn all(kinds: &[Kind<'_>], cells: &[CellId], limits: &[Limit], error_rate: f64) -> Vec<Gate> {
    let gates = (kinds.len() * cells.len() * limits.len()).max(1);
    // Each end of an interval is a question of its own: whether more lie beyond the bound, and whether no more do.
    let miss = 2.0 * error_rate / gates as f64;
    let of_cell = |kind: &Kind<'_>, id: CellId| {
        let has_it = [&kind.base, &kind.new].iter().all(|runs| runs.iter().any(|run| has(run, id)));
        let [base, new] = [&kind.base, &kind.new].map(|runs| histograms(runs, id));
        let is_open = disturbed::on_one_side(kind, id, None);
        let of = |&limit: &Limit| {
            let found = Gate { hosts: kind.hosts.clone(), ..gate(id, limit, base.as_deref(), new.as_deref(), miss) };
            let open = Some(Open { reason: OpenReason::OneSideDisturbed, more_runs: None });
            if is_open { Gate { verdict: Verdict::Undecided, open, ..found } } else { found }
        };
        if has_it { limits.iter().map(of).collect() } else { Vec::new() }
    };
    kinds.iter().flat_map(|kind| cells.iter().flat_map(move |&id| of_cell(kind, id))).collect()
}

fn has(run: &Run, id: CellId) -> bool {
    run.measurement.cells.iter().any(|cell| cell.id == id)
}

/// The counts of all of a side's runs that have the cell; `None`: one of them has none.
fn histograms(runs: &[Run], id: CellId) -> Option<Vec<&Histogram>> {
    let cells = runs.iter().flat_map(|run| &run.measurement.cells).filter(|cell| cell.id == id);
    cells.map(|cell| cell.round_trips.as_ref().filter(|counts| counts.n() > 0)).collect()
}

fn gate(id: CellId, limit: Limit, base: Option<&[&Histogram]>, new: Option<&[&Histogram]>, miss: f64) -> Gate {
    let Limit { quantile, margin } = limit;
    let allowed = 1.0 - quantile;
    let undecided = |reason| Gate {
        id,
        hosts: None,
        quantile,
        margin,
        bound_ns: None,
        allowed,
        rounds: 0,
        beyond: 0,
        interval: None,
        verdict: Verdict::Undecided,
        open: Some(Open { reason, more_runs: None }),
    };
    let (Some(base), Some(new)) = (base, new) else { return undecided(OpenReason::NoCounts) };
    let mut all = Histogram::default();
    for counts in base {
        all.add(counts);
    }
    let Some(at) = all.quantile(quantile) else { return undecided(OpenReason::NoCounts) };
    let bound = at * (1.0 + margin);
    // How far the base's own share varies is how uncertain its quantile is.
    let [of_base, of_new] = [shares(base, at), shares(new, bound)];
    let share = of_new.values.iter().sum::<f64>() / of_new.values.len().max(1) as f64;
    let Some(difference) = Difference::between(&of_base, &of_new) else { return undecided(OpenReason::NoCounts) };
    let around = |end: f64| (share + end - difference.estimate).clamp(0.0, 1.0);
    let interval = difference.interval(miss).map(|ends| ends.map(around));
    let is_few = base.len().min(new.len()) < FEWEST_RUNS;
    let (verdict, open) = match (interval, &difference.error) {
        _ if is_few => (Verdict::Undecided, Some(Open { reason: OpenReason::FewRuns, more_runs: None })),
        (Some([low, _]), _) if low > allowed => (Verdict::Slower, None),
        (Some([_, high]), _) if high <= allowed => (Verdict::Same, None),
        (Some(_), Some(error)) => {
            let runs = base.len().min(new.len());
            let needed = error.runs(miss, (share - allowed).abs(), runs + 1);
            let more_runs = needed.map(|needed| (needed - runs) as u64);
            (Verdict::Undecided, Some(Open { reason: OpenReason::TooWide, more_runs }))
        }
        (None, _) | (_, None) => (Verdict::Undecided, Some(Open { reason: OpenReason::FewRuns, more_runs: None })),
    };
    let rounds = new.iter().map(|counts| counts.n()).sum();
    let beyond = new.iter().map(|counts| counts.above(bound)).sum();
    Gate { bound_ns: Some(bound), rounds, beyond, interval, verdict, open, ..undecided(OpenReason::NoCounts) }
}

/// Each run's share of rounds beyond a bound, which varies at least as counts of independent rounds do.
fn shares(runs: &[&Histogram], bound: f64) -> Set {
    let share = |counts: &&Histogram| counts.above(bound) as f64 / counts.n() as f64;
    let values: Vec<f64> = runs.iter().map(share).collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let each = runs.iter().map(|counts| mean * (1.0 - mean) / counts.n() as f64).sum::<f64>();
    Set { values, within: each / runs.len().max(1) as f64, ..Set::default() }
}
