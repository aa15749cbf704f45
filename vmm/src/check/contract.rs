//! The contract's clauses, all checked on the same calls: over every destination and target state of a route.

use super::{Detail, Suite, Verdict};
use crate::config::routes::{self, Route};
use crate::config::{self, CellId};
use crate::guest::calls::{self, Calls, CallsSpec};
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

/// The first clause that `calls` broke.
pub(super) fn first_broken(calls: &Calls, wanted: u32, initiators: u32) -> Result<(), Verdict> {
    let broken = Clause::ALL
        .iter()
        .find_map(|&clause| Some(format!("{}: {}", clause.name(), clause.broken(calls, wanted, initiators)?)));
    broken.map_or(Ok(()), |reason| Err(Verdict::Failed(reason)))
}

/// The calls that have been made over each route, with the name of their cell; or why they could not be made.
#[derive(Debug, Default)]
pub struct Cells(BTreeMap<Route, Result<Vec<(String, Calls)>, String>>);

impl Cells {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Checks a clause on the calls of every cell of `route`.
pub(super) fn check(suite: &Suite<'_>, clause: Clause, route: Route, cells: &mut Cells) -> Result<Detail, Verdict> {
    let made = match cells.0.entry(route) {
        Entry::Occupied(made) => made.into_mut(),
        Entry::Vacant(place) => place.insert(match make(suite, route) {
            Ok(made) => Ok(made),
            Err(Verdict::Failed(reason)) => Err(reason),
            Err(other) => return Err(other),
        }),
    };
    let made = made.as_ref().map_err(|reason| Verdict::failed(reason.clone()))?;
    for (cell, calls) in made {
        if let Some(broken) = clause.broken(calls, wanted(suite), 1) {
            return Err(Verdict::Failed(format!("{cell}: {broken}")));
        }
    }
    let workers: u64 = made.iter().map(|(_, calls)| calls.sum(|tally| tally.runs)).sum();
    Ok(format!(
        "{}, {}, {}",
        count(made.len(), "cell"),
        count(made.len() as u64 * u64::from(wanted(suite)), "call"),
        count(workers, "worker")
    ))
}

fn wanted(suite: &Suite<'_>) -> u32 {
    if suite.fault == Fault::Nothing { CALLS } else { 3 }
}

fn make(suite: &Suite<'_>, route: Route) -> Result<Vec<(String, Calls)>, Verdict> {
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
                // A fault may cost half of it in every call.
                deadline: if suite.fault == Fault::Nothing { super::DEADLINE } else { Duration::from_millis(600) },
                ..CallsSpec::default()
            };
            let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
            made.push((format!("{}, {}", destination.name(), target_state.name()), calls));
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

    #[test]
    fn a_clean_tally_breaks_no_clause() {
        assert!(first_broken(&calls(|_| ()), 20, 1).is_ok());
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
