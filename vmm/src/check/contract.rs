//! The contract's clauses, all checked on the same calls: over every destination and target state of a route.

use super::{Detail, Suite, Verdict};
use crate::config::routes::{self, Route};
use crate::config::{self, CellId};
use crate::guest::calls::{self, Calls, CallsSpec};
use crate::host::starvation::Starvation;
use crate::results::count::count;
use guest_stub::abi::{Destination, Fault, TargetState};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

/// A clause of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clause {
    /// Every call comes back.
    Completes,
    /// Each participant runs the worker once a call.
    RunsOnce,
    /// No worker begins before every participant has arrived.
    StartsTogether,
    /// Workers run at IPI_LEVEL, with interrupts off.
    AtIpiLevel,
    /// The call returns the caller's own worker's value.
    OwnValue,
    /// Every participant's result is what its worker returned.
    AllResults,
    /// When the call returns, every worker has, and nobody else has run it.
    EverybodyDone,
    /// No interrupt had to be sent twice.
    NothingLost,
    /// No interrupt came that no call had asked for.
    NothingTwice,
    /// IRQL, IF and the stack are as they were.
    RestoresCaller,
    /// A caller at IPI_LEVEL or with interrupts off gets an error.
    RefusesWrongCallers,
}

/// An initiator and two targets, so that one can wait for the other.
const VCPUS: usize = 3;
/// Calls of each cell.
const CALLS: u32 = 12;

impl Clause {
    /// Every clause.
    pub const ALL: &[Self] = &[
        Self::Completes,
        Self::RunsOnce,
        Self::StartsTogether,
        Self::AtIpiLevel,
        Self::OwnValue,
        Self::AllResults,
        Self::EverybodyDone,
        Self::NothingLost,
        Self::NothingTwice,
        Self::RestoresCaller,
        Self::RefusesWrongCallers,
    ];

    /// Whether the clause applies to a route. The host is no caller with an IRQL and a worker of its own.
    pub fn is_about(self, route: &routes::Spec) -> bool {
        match self {
            Self::OwnValue | Self::RestoresCaller | Self::RefusesWrongCallers => !route.is_host(),
            Self::Completes
            | Self::RunsOnce
            | Self::StartsTogether
            | Self::AtIpiLevel
            | Self::AllResults
            | Self::EverybodyDone
            | Self::NothingLost
            | Self::NothingTwice => true,
        }
    }

    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completes => "completes",
            Self::RunsOnce => "runs-once",
            Self::StartsTogether => "starts-together",
            Self::AtIpiLevel => "at-ipi-level",
            Self::OwnValue => "own-value",
            Self::AllResults => "all-results",
            Self::EverybodyDone => "everybody-done",
            Self::NothingLost => "nothing-lost",
            Self::NothingTwice => "nothing-twice",
            Self::RestoresCaller => "restores-caller",
            Self::RefusesWrongCallers => "refuses-wrong-callers",
        }
    }

    /// Whether calls of somebody who had no CPU break it: they are sent twice, or given up.
    fn depends_on_time(self, calls: &Calls) -> bool {
        match self {
            Self::Completes | Self::NothingLost => true,
            // Of two sends, one is nobody's, or comes late.
            Self::NothingTwice => calls.sum(|tally| tally.resent + tally.aborted) > 0,
            Self::RunsOnce
            | Self::StartsTogether
            | Self::AtIpiLevel
            | Self::OwnValue
            | Self::AllResults
            | Self::EverybodyDone
            | Self::RestoresCaller
            | Self::RefusesWrongCallers => false,
        }
    }

    /// As [`Clause::broken`], as a verdict on calls that have this deadline.
    fn verdict(self, calls: &Calls, wanted: u32, initiators: u32, deadline: Duration) -> Result<(), Verdict> {
        match self.broken(calls, wanted, initiators) {
            None => Ok(()),
            // The second send comes after half of it.
            Some(reason) if self.depends_on_time(calls) => Err(Verdict::overdue(deadline / 2, reason)),
            Some(reason) => Err(Verdict::Failed(reason)),
        }
    }

    /// How `calls` broke the clause, where each of `initiators` was to make `wanted`; `None`: they kept it.
    fn broken(self, calls: &Calls, wanted: u32, initiators: u32) -> Option<String> {
        let some =
            |number: u64, noun: &str, what: &str| (number > 0).then(|| format!("{} {what}", count(number, noun)));
        match self {
            Self::Completes => {
                let completed = calls.sum(|tally| tally.calls);
                let expected = u64::from(wanted) * u64::from(initiators);
                (completed != expected).then(|| format!("{completed} calls of {expected} completed"))
            }
            Self::RunsOnce => calls
                .wrong_count()
                .map(|(vcpu, runs, asked)| {
                    format!("vCPU {vcpu} ran the worker {} in {}", count(runs, "time"), count(asked, "call"))
                })
                .or_else(|| some(calls.sum(|tally| tally.repeated), "worker", "ran again in the same call")),
            Self::StartsTogether => {
                some(calls.sum(|tally| tally.early), "worker", "began before every participant had arrived")
            }
            Self::AtIpiLevel => {
                some(calls.sum(|tally| tally.wrong_level), "worker", "ran below IPI_LEVEL or with interrupts on")
            }
            Self::OwnValue => {
                some(calls.sum(|tally| tally.wrong_own), "call", "returned another value than their own worker's")
            }
            Self::AllResults => some(calls.sum(|tally| tally.wrong_result), "result", "were not their worker's"),
            Self::EverybodyDone => some(
                calls.sum(|tally| tally.wrong_participant),
                "worker",
                "had not run when the call returned, or ran on somebody who was not called",
            ),
            Self::NothingLost => some(calls.sum(|tally| tally.resent), "interrupt", "had to be sent again"),
            Self::NothingTwice => {
                some((calls.duplicate + calls.late).into(), "interrupt", "came that no open call had asked for")
            }
            Self::RestoresCaller => {
                some(calls.sum(|tally| tally.not_restored), "call", "came back with IRQL, IF or the stack changed")
            }
            Self::RefusesWrongCallers if calls.by_host => None,
            Self::RefusesWrongCallers => {
                let refused = calls.sum(|tally| tally.refused);
                let expected = 2 * u64::from(initiators);
                (refused != expected || calls.sum(|tally| tally.not_refused) > 0)
                    .then(|| format!("{refused} of {expected} calls at IPI_LEVEL or with interrupts off were refused"))
            }
        }
    }
}

/// The first clause that `calls` broke, which were made as `spec` says: one that no lack of CPU explains, if there is one.
pub(super) fn first_broken(calls: &Calls, spec: &CallsSpec) -> Result<(), Verdict> {
    let initiators = u32::try_from(spec.initiators.len()).unwrap_or(u32::MAX);
    let (depend, others): (Vec<Clause>, Vec<Clause>) =
        Clause::ALL.iter().partition(|clause| clause.depends_on_time(calls));
    others.into_iter().chain(depend).try_for_each(|clause| {
        let named = |reason| format!("{}: {reason}", clause.name());
        clause.verdict(calls, spec.calls, initiators, spec.deadline).map_err(|verdict| verdict.map_reason(named))
    })
}

/// The calls that have been made over each route.
#[derive(Debug)]
pub struct Cells<'a> {
    starvation: Option<&'a Starvation>,
    made: BTreeMap<Route, Made>,
}

/// The calls of each cell, or why they could not be made.
type Made = Result<Vec<Cell>, String>;

/// The calls of a cell.
#[derive(Debug)]
struct Cell {
    name: String,
    calls: Calls,
    /// For how long a thread had no CPU meanwhile.
    starved: Option<Duration>,
}

impl<'a> Cells<'a> {
    /// None yet. `starvation` watches the threads while calls are made.
    pub fn new(starvation: Option<&'a Starvation>) -> Self {
        Self { starvation, made: BTreeMap::new() }
    }

    /// The next test of `route` makes its calls again.
    pub fn forget(&mut self, route: Route) {
        self.made.remove(&route);
    }
}

/// Checks a clause on the calls of every cell of `route`.
pub(super) fn check(suite: &Suite<'_>, clause: Clause, route: Route, cells: &mut Cells<'_>) -> Result<Detail, Verdict> {
    let starvation = cells.starvation;
    let made = match cells.made.entry(route) {
        Entry::Occupied(made) => made.into_mut(),
        Entry::Vacant(place) => {
            place.insert(match make(suite, route, starvation).map_err(|verdict| verdict.decided(starvation)) {
                Ok(made) => Ok(made),
                Err(Verdict::Failed(reason)) => Err(reason),
                Err(other) => return Err(other),
            })
        }
    };
    let made = made.as_ref().map_err(|reason| Verdict::failed(reason.clone()))?;
    let broken = made.iter().filter_map(|cell| cell.broken(suite, clause));
    // One that no lack of CPU explains decides, whatever may explain the others.
    let (undecided, failed): (Vec<_>, Vec<_>) = broken.partition(|it| matches!(it, Verdict::Overdue { .. }));
    if let Some(verdict) = failed.into_iter().chain(undecided).next() {
        return Err(verdict);
    }
    let workers: u64 = made.iter().map(|cell| cell.calls.sum(|tally| tally.runs)).sum();
    Ok(format!(
        "{}, {}, {}",
        count(made.len(), "cell"),
        count(made.len() as u64 * u64::from(wanted(suite)), "call"),
        count(workers, "worker")
    ))
}

impl Cell {
    /// What is wrong, if these calls break the clause.
    fn broken(&self, suite: &Suite<'_>, clause: Clause) -> Option<Verdict> {
        let verdict = clause.verdict(&self.calls, wanted(suite), 1, deadline(suite)).err()?;
        let verdict = verdict.map_reason(|reason| format!("{}: {reason}", self.name));
        // The calls may be an earlier test's.
        Some(match verdict {
            Verdict::Overdue { reason, within, .. } => {
                Verdict::Overdue { reason, within, starved: self.starved }.decided(None)
            }
            Verdict::Failed(_) | Verdict::Skipped(_) | Verdict::HostLimit(_) | Verdict::Interrupted => verdict,
        })
    }
}

fn wanted(suite: &Suite<'_>) -> u32 {
    if suite.fault == Fault::Nothing { CALLS } else { 3 }
}

/// A fault may cost half of it in every call: where it is found, or not, in minutes.
fn deadline(suite: &Suite<'_>) -> Duration {
    const LONGEST: Duration = Duration::from_millis(2400);
    if suite.fault == Fault::Nothing { super::DEADLINE } else { suite.short(Duration::from_millis(600)).min(LONGEST) }
}

fn make(suite: &Suite<'_>, route: Route, starvation: Option<&Starvation>) -> Result<Vec<Cell>, Verdict> {
    let offers = suite.offers_to(route);
    let mut machine = suite.boot(route, VCPUS, crate::vm::ApicIds::Consecutive)?;
    let mut made = Vec::new();
    for &destination in Destination::ALL {
        // Without a competitor, a target is not preempted: `states` has one.
        for &target_state in TargetState::ALL.iter().filter(|&&state| state != TargetState::Preempted) {
            let cell = CellId::broadcast(route, destination, target_state, VCPUS);
            if config::refuse(&cell, offers).is_some() {
                continue;
            }
            let spec = CallsSpec {
                route,
                destination,
                target_state,
                calls: wanted(suite),
                fault: suite.fault,
                seed: suite.guest_seed(made.len() as u64),
                // Time for the targets to be in their state again, or not.
                pause: Duration::from_micros(200),
                work: Duration::from_micros(5),
                deadline: deadline(suite),
                ..CallsSpec::default()
            };
            if let Some(starvation) = starvation {
                starvation.begin();
            }
            let calls = calls::run(&mut machine, &spec, &mut |_| ())
                .map_err(|error| Verdict::from(error).within(spec.deadline / 2))?;
            let name = format!("{}, {}", destination.name(), target_state.name());
            made.push(Cell { name, calls, starved: starvation.map(Starvation::longest) });
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_stub::abi::Tally;

    fn calls(change: impl Fn(&mut Tally)) -> Calls {
        let mut initiator = Tally { runs: 20, calls: 20, refused: 2, ..Tally::default() };
        change(&mut initiator);
        Calls { made: 20, duplicate: 0, late: 0, vcpus: vec![(initiator, 20)], by_host: false }
    }

    fn verdict(calls: &Calls) -> Result<(), Verdict> {
        let spec = CallsSpec { calls: 20, deadline: Duration::from_millis(600), ..CallsSpec::default() };
        first_broken(calls, &spec)
    }

    #[test]
    fn a_clean_tally_breaks_no_clause() {
        assert!(verdict(&calls(|_| ())).is_ok());
    }

    #[test]
    fn only_what_takes_long_can_be_for_want_of_a_cpu() {
        let late = |change: fn(&mut Tally)| match verdict(&calls(change)) {
            Err(Verdict::Overdue { within, .. }) => Some(within),
            _ => None,
        };
        let half = Some(Duration::from_millis(300));
        assert_eq!([late(|tally| tally.resent = 1), late(|tally| tally.calls = 19)], [half, half]);
        assert_eq!(late(|tally| tally.repeated = 1), None, "a worker runs twice for another reason");
        let both = |tally: &mut Tally| (tally.resent, tally.early) = (1, 1);
        assert!(matches!(verdict(&calls(both)), Err(Verdict::Failed(reason)) if reason.starts_with("starts-together")));
        let twice = |resent| verdict(&Calls { duplicate: 1, ..calls(|tally| tally.resent = resent) });
        assert!(matches!(twice(0), Err(Verdict::Failed(_))), "nobody has sent again");
        assert!(matches!(twice(1), Err(Verdict::Overdue { .. })));
    }

    #[test]
    fn each_clause_has_its_own_evidence() {
        let broken_by = |calls: &Calls| {
            Clause::ALL
                .iter()
                .filter(|clause| clause.broken(calls, 20, 1).is_some())
                .map(|it| it.name())
                .collect::<Vec<_>>()
        };
        assert_eq!(broken_by(&calls(|tally| tally.calls = 19)), ["completes"]);
        assert_eq!(broken_by(&calls(|tally| tally.runs = 21)), ["runs-once"]);
        assert_eq!(broken_by(&calls(|tally| tally.repeated = 1)), ["runs-once"]);
        assert_eq!(broken_by(&calls(|tally| tally.early = 1)), ["starts-together"]);
        assert_eq!(broken_by(&calls(|tally| tally.wrong_level = 1)), ["at-ipi-level"]);
        assert_eq!(broken_by(&calls(|tally| tally.wrong_own = 1)), ["own-value"]);
        assert_eq!(broken_by(&calls(|tally| tally.wrong_result = 1)), ["all-results"]);
        assert_eq!(broken_by(&calls(|tally| tally.wrong_participant = 1)), ["everybody-done"]);
        assert_eq!(broken_by(&calls(|tally| tally.resent = 1)), ["nothing-lost"]);
        assert_eq!(broken_by(&calls(|tally| tally.not_restored = 1)), ["restores-caller"]);
        assert_eq!(broken_by(&calls(|tally| tally.refused = 1)), ["refuses-wrong-callers"]);
        assert_eq!(broken_by(&Calls { duplicate: 1, ..calls(|_| ()) }), ["nothing-twice"]);
    }
}
