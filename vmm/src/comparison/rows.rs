//! The rows of a comparison: each cell's change, and the verdict on it.

use super::kinds::Kind;
use super::references::Pairs;
use super::rules::{FEWEST_RUNS, Rules};
use super::values::{self, Observed, RunValue};
use super::{Run, disturbed};
use crate::results::comparison::row::{Change, Role, Row};
use crate::results::comparison::side::Hosts;
use crate::results::comparison::{Open, OpenReason, Verdict};
use crate::statistics::change::{Difference, Set, Variance};
use crate::statistics::drift::Belief;
use crate::statistics::holm;
use crate::statistics::order::middle;
use guest_stub::abi::cell::CellId;

/// The rows of the cells that are judged, and of those that they are divided by, kind by kind.
pub(super) fn all(kinds: &[Kind<'_>], pairs: &Pairs, rules: &Rules) -> (Vec<Row>, Vec<Row>) {
    let compare = |pairs: &[(CellId, Option<CellId>)]| -> Vec<Compared> {
        let of = |kind| pairs.iter().filter_map(move |&(id, reference)| Compared::of(kind, id, reference));
        kinds.iter().flat_map(of).collect()
    };
    let references =
        compare(&pairs.references).into_iter().map(|row| row.judge(Role::Reference, rules.error_rate, rules));
    let references: Vec<Row> = references.collect();
    let judged = compare(&pairs.judged);
    let p: Vec<f64> = judged.iter().map(|row| row.judged().p().unwrap_or(1.0)).collect();
    let levels = holm::levels(&p, rules.error_rate);
    let rows = judged.into_iter().zip(levels).map(|(row, miss)| {
        let mut row = row.judge(Role::Primary, miss, rules);
        doubt(&mut row, &references);
        unless_disturbed(row, kinds)
    });
    let rows: Vec<Row> = rows.collect();
    let references = references.into_iter().map(|row| unless_disturbed(told_from_the_host(row), kinds));
    (rows, references.collect())
}

/// A time is judged unless others used the machine while one side was measured, and not the other.
fn unless_disturbed(row: Row, kinds: &[Kind<'_>]) -> Row {
    let kind = kinds.iter().find(|kind| kind.hosts == row.hosts);
    if kind.is_some_and(|kind| disturbed::on_one_side(kind, row.id, row.reference)) {
        let open = Some(Open { reason: OpenReason::OneSideDisturbed, more_runs: None });
        Row { verdict: Verdict::Undecided, open, ..row }
    } else {
        row
    }
}

/// A reference that is divided by nothing has the host's drift in it: that all calls take longer together tells nothing of the cell.
fn told_from_the_host(row: Row) -> Row {
    let open = match row.verdict {
        Verdict::Slower | Verdict::Faster if row.divided.is_none() => {
            Some(Open { reason: OpenReason::Undivided, more_runs: None })
        }
        Verdict::Slower | Verdict::Faster | Verdict::Same | Verdict::Undecided => return row,
    };
    Row { verdict: Verdict::Undecided, open, ..row }
}

/// A cell, before the level is known at which it is tested.
struct Compared {
    id: CellId,
    hosts: Option<Hosts>,
    reference: Option<CellId>,
    p50_ns: [f64; 2],
    /// The runs of the side that has fewer of them.
    runs: usize,
    /// Whether both sides have enough runs to say how much they differ, or know it from repetitions.
    is_enough: bool,
    raw: Difference,
    divided: Option<Difference>,
}

impl Compared {
    /// `None` if a side has no run with a value.
    fn of(kind: &Kind<'_>, id: CellId, reference: Option<CellId>) -> Option<Self> {
        let sides = [&kind.base, &kind.new].map(|runs| Side::of(runs, &id, reference.as_ref()));
        let [of_base, of_new] = &sides;
        let raw = Difference::between(&of_base.raw(), &of_new.raw())?;
        let by_turns = sides.iter().all(Side::has_turns);
        let is_alike = reference.is_some_and(|it| CellId { route: id.route, ..it } == id);
        let belief = if is_alike { Belief::Quotient } else { Belief::Host };
        let [divided_base, divided_new] = sides.each_ref().map(|side| Set { belief, ..side.divided(by_turns) });
        let divided = reference.and_then(|_| Difference::between(&divided_base, &divided_new));
        let is_enough = |set: &Set| set.values.len() >= FEWEST_RUNS || set.known.is_some();
        let judged = if divided.is_some() { [divided_base, divided_new] } else { [of_base.raw(), of_new.raw()] };
        Some(Self {
            id,
            hosts: kind.hosts.clone(),
            reference: divided.is_some().then_some(reference).flatten(),
            p50_ns: sides.each_ref().map(Side::median),
            runs: sides.iter().map(Side::runs).min().unwrap_or(0),
            is_enough: judged.iter().all(is_enough),
            raw,
            divided,
        })
    }

    fn judged(&self) -> &Difference {
        self.divided.as_ref().unwrap_or(&self.raw)
    }

    fn judge(self, role: Role, miss: f64, rules: &Rules) -> Row {
        let judged = self.judged();
        let change = |difference: &Difference| Change {
            estimate: difference.estimate.exp_m1(),
            interval: difference.interval(miss).map(|ends| ends.map(f64::exp_m1)),
            level: 1.0 - miss,
        };
        let is_protected = role == Role::Primary && self.divided.is_some();
        let (verdict, open) = if self.is_enough {
            verdict(judged, change(judged), is_protected, self.runs, rules.threshold)
        } else {
            let more_runs = FEWEST_RUNS.saturating_sub(self.runs) as u64;
            (Verdict::Undecided, Some(Open { reason: OpenReason::FewRuns, more_runs: Some(more_runs) }))
        };
        Row {
            id: self.id,
            hosts: self.hosts.clone(),
            metric: values::METRIC,
            role,
            reference: self.reference,
            base_ns: self.p50_ns[0],
            new_ns: self.p50_ns[1],
            raw: change(&self.raw),
            divided: self.divided.as_ref().map(change),
            spread: judged.error.as_ref().map(|error| error.spread),
            p: judged.p(),
            verdict,
            open,
        }
    }
}

/// What a change has to be to be called one.
pub(super) struct Needed {
    /// All of its interval lies farther from none than this.
    beyond: f64,
    /// Its estimate does.
    least: f64,
}

impl Needed {
    /// `is_protected`: the host's drift is not in the change. One that it is in has to be beyond doubt.
    pub(super) fn of(is_protected: bool, threshold: f64) -> Self {
        let (beyond, least) = if is_protected { (0.0, threshold / 2.0) } else { (threshold, threshold) };
        Self { beyond, least }
    }

    /// The verdict, if the interval allows for one.
    pub(super) fn decide(&self, estimate: f64, [low, high]: [f64; 2], threshold: f64) -> Option<Verdict> {
        if low > self.beyond && estimate > self.least {
            Some(Verdict::Slower)
        } else if high < -self.beyond && estimate < -self.least {
            Some(Verdict::Faster)
        } else if -threshold < low && high < threshold {
            Some(Verdict::Same)
        } else {
            None
        }
    }
}

fn verdict(
    difference: &Difference,
    change: Change,
    is_protected: bool,
    runs: usize,
    threshold: f64,
) -> (Verdict, Option<Open>) {
    let (Some([low, high]), Some(error)) = (change.interval, &difference.error) else {
        return (Verdict::Undecided, Some(Open { reason: OpenReason::FewRuns, more_runs: None }));
    };
    let needed = Needed::of(is_protected, threshold);
    if let Some(verdict) = needed.decide(change.estimate, [low, high], threshold) {
        return (verdict, None);
    }
    let Needed { beyond, least } = needed;
    // Where a verdict is as near as may be, from the estimate: that it is the same, or that it changed.
    let (size, limit) = (difference.estimate.abs(), threshold.ln_1p());
    let same = limit - size;
    let changed = if change.estimate.abs() > least { size - beyond.ln_1p() } else { 0.0 };
    let room = same.max(changed);
    let needed = (room > 0.0).then(|| error.runs(1.0 - change.level, room, runs + 1)).flatten();
    let more_runs = needed.map(|needed| (needed - runs) as u64);
    (Verdict::Undecided, Some(Open { reason: OpenReason::TooWide, more_runs }))
}

/// What is divided is one number: a cell that seems to have moved may stand still beside a reference that moved the other way. So no cell
/// is faster whose reference may have got slower by as much, by its own interval; otherwise a reference that nobody judges would
/// hide a slowdown. Slower it is unless the reference is known to have got faster: an alarm too many can be looked into.
fn doubt(row: &mut Row, references: &[Row]) {
    let is_its = |reference: &&Row| Some(reference.id) == row.reference && reference.hosts == row.hosts;
    let Some(reference) = references.iter().find(is_its) else { return };
    let may_be_the_references = match row.verdict {
        Verdict::Slower => reference.verdict == Verdict::Faster,
        Verdict::Faster => {
            let explains = (1.0 + row.judged().estimate).recip() - 1.0;
            reference.verdict == Verdict::Slower
                || reference.judged().interval.is_none_or(|[low, high]| low <= explains && explains <= high)
        }
        Verdict::Undecided | Verdict::Same => false,
    };
    if may_be_the_references {
        row.verdict = Verdict::Undecided;
        row.open = Some(Open { reason: OpenReason::ReferenceMoved, more_runs: None });
    }
}

/// A side's runs of a cell, and of its reference.
pub(super) struct Side {
    runs: Vec<(Observed, Option<Observed>)>,
}

impl Side {
    pub(super) fn of(runs: &[Run], id: &CellId, reference: Option<&CellId>) -> Self {
        let of = |run: &Run| Some((values::observe(run, id)?, reference.and_then(|it| values::observe(run, it))));
        Self { runs: runs.iter().filter_map(of).collect() }
    }

    /// How many runs have a value.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    fn with_reference(&self) -> impl Iterator<Item = (&Observed, &Observed)> {
        self.runs.iter().filter_map(|(own, reference)| Some((own, reference.as_ref()?)))
    }

    fn has_turns(&self) -> bool {
        self.with_reference().all(|(own, reference)| own.has_turns(Some(reference)))
    }

    /// The median of the runs' medians, of at least one run, ns.
    pub(super) fn median(&self) -> f64 {
        middle(self.runs.iter().map(|(own, _)| own.p50_ns).collect()).expect("it has a run")
    }

    /// How much a single run's value varies by its own boots; `None`: there are several runs, or too few boots.
    pub(super) fn by_boots(&self) -> Option<Variance> {
        match self.runs.as_slice() {
            [(own, _)] => own.by_boots(),
            _ => None,
        }
    }

    /// The cell's own values.
    pub(super) fn raw(&self) -> Set {
        set(self.runs.iter().map(|(own, _)| (own.value(None, false), own.known(None))))
    }

    /// Those divided by the reference's, of the runs that have it.
    fn divided(&self, by_turns: bool) -> Set {
        set(self.with_reference().map(|(own, other)| (own.value(Some(other), by_turns), own.known(Some(other)))))
    }
}

/// The values of runs, each with how much it is known to differ from run to run: the one that is known best is taken.
fn set(runs: impl Iterator<Item = (RunValue, Option<Variance>)>) -> Set {
    let (values, known): (Vec<RunValue>, Vec<_>) = runs.unzip();
    let n = values.len().max(1) as f64;
    Set {
        is_trimmed: true,
        within: values.iter().map(|value| value.within).sum::<f64>() / n,
        values: values.into_iter().map(|value| value.logarithm).collect(),
        known: known.into_iter().flatten().max_by(|one, other| one.degrees.total_cmp(&other.degrees)),
        belief: Belief::Host,
    }
}
