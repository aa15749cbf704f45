//! The native routes, on threads of the host: what of the contract can be seen there, and that only rounds of which the evidence is
//! whole count.

use super::{DEADLINE, Detail, Suite, Verdict};
use crate::config::routes::{self, Delivery, Route};
use crate::config::{self, Call, CellId};
use crate::events::recording::Recording;
use crate::events::samples::{Block, Round};
use crate::experiment::machine::{self, Machine};
use crate::experiment::native::NativeMachine;
use crate::guest::blocks::BlockSpec;
use crate::guest::session::Limits;
use crate::native;
use crate::results::count::count;
use crate::statistics::clock_error::Comparisons;
use guest_stub::abi::{Destination, Worker};
use std::collections::BTreeSet;
use std::time::Duration;

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clause {
    /// Every call comes back, at its first send, and some of them count.
    Completes,
    /// Every target sleeps before the send.
    AsleepBeforeSend,
    /// No target is interrupted, or woken, before the send.
    InterruptsAfterSend,
    /// Each participant runs the worker.
    EverybodyRuns,
    /// No worker begins before every participant has arrived.
    StartsTogether,
    /// When the call returns, every worker has.
    EverybodyDone,
    /// A round whose target has left its CPU does not count.
    SwitchedDoesNotCount,
}

/// A caller and two targets, where there are as many CPUs.
const THREADS: usize = 3;
const ROUNDS: usize = 100;
/// Rounds that nobody disturbs take less.
const SOME_ROUNDS: Duration = Duration::from_millis(40);

impl Clause {
    /// Every clause.
    pub const ALL: &[Self] = &[
        Self::Completes,
        Self::AsleepBeforeSend,
        Self::InterruptsAfterSend,
        Self::EverybodyRuns,
        Self::StartsTogether,
        Self::EverybodyDone,
        Self::SwitchedDoesNotCount,
    ];

    /// Whether it can be seen on a route. Of an interrupt that only the kernel sees, it is not seen when it comes; and a thread that
    /// sleeps has left its CPU anyway.
    pub fn is_about(self, route: &routes::Spec) -> bool {
        match self {
            Self::Completes => route.is_native(),
            Self::AsleepBeforeSend => route.delivery == Delivery::WakeUp,
            Self::SwitchedDoesNotCount => matches!(route.delivery, Delivery::HostIpi | Delivery::Restart),
            Self::InterruptsAfterSend | Self::EverybodyRuns | Self::StartsTogether | Self::EverybodyDone => {
                matches!(route.delivery, Delivery::Restart | Delivery::WakeUp)
            }
        }
    }

    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completes => "completes",
            Self::AsleepBeforeSend => "asleep-before-send",
            Self::InterruptsAfterSend => "interrupts-after-send",
            Self::EverybodyRuns => "everybody-runs",
            Self::StartsTogether => "starts-together",
            Self::EverybodyDone => "everybody-done",
            Self::SwitchedDoesNotCount => "switched-does-not-count",
        }
    }

    /// Whether threads that have no CPU break it: calls take long, or none of the rounds counts.
    fn depends_on_time(self, block: &Block) -> bool {
        match self {
            Self::Completes => block.integrity.duplicate == 0,
            Self::AsleepBeforeSend
            | Self::InterruptsAfterSend
            | Self::EverybodyRuns
            | Self::StartsTogether
            | Self::EverybodyDone
            | Self::SwitchedDoesNotCount => false,
        }
    }

    /// How a block broke it, whose stamps of two threads may be `error` cycles apart; `None`: it was kept.
    fn broken(self, cell: &CellId, block: &Block, error: u64) -> Option<String> {
        let by_round = |what: &str, is_broken: &dyn Fn(&Round) -> bool| {
            let broken = block.rounds.iter().filter(|round| is_broken(round)).count();
            (broken > 0).then(|| format!("{broken} {what}"))
        };
        let starts = |round: &Round| round.participants.iter().filter_map(|each| each.w).collect::<Vec<_>>();
        match self {
            Self::Completes => {
                let made = block.rounds.len() as u64 + block.not_in_state;
                let faults = block.integrity.faults();
                if !faults.is_empty() {
                    Some(faults.join(", "))
                } else if made != ROUNDS as u64 {
                    Some(format!("{made} calls of {ROUNDS} were completed"))
                } else {
                    block.rounds.is_empty().then(|| "none of its rounds counts".to_owned())
                }
            }
            Self::AsleepBeforeSend => by_round("calls were made before every target slept", &|round| {
                let slept = || round.participants.iter().filter_map(|each| each.halted);
                slept().count() != round.targets().count()
                    || slept().any(|slept| round.t0.saturating_add(error) < slept)
            }),
            Self::InterruptsAfterSend => by_round("targets were interrupted before the send", &|round| {
                round.targets().any(|(_, a)| a.saturating_add(error) < round.t0)
            }),
            Self::EverybodyRuns => {
                let runs = if cell.call == Call::Broadcast { cell.vcpus } else { 0 };
                by_round("calls have other than one worker for each participant", &|round| starts(round).len() != runs)
            }
            Self::StartsTogether => by_round("calls have a worker that began before all had arrived", &|round| {
                let last = round.targets().map(|(_, a)| a).max();
                starts(round)
                    .into_iter()
                    .min()
                    .zip(last)
                    .is_some_and(|(first, last)| first.saturating_add(error) < last)
            }),
            Self::EverybodyDone => by_round("calls returned before a worker", &|round| {
                round.participants.iter().filter_map(|each| each.x).any(|x| round.t2.saturating_add(error) < x)
            }),
            Self::SwitchedDoesNotCount => by_round("rounds count although their threads shared a CPU", &|_| true),
        }
    }
}

impl From<machine::Error> for Verdict {
    fn from(error: machine::Error) -> Self {
        match error {
            machine::Error::Virtual(error) => error.into(),
            machine::Error::Native(native::Error::Interrupted) => Self::Interrupted,
            machine::Error::GivenUp(_) => Self::overdue(DEADLINE / 2, error.to_string()),
            machine::Error::Native(native::Error::NotStarted { .. }) => Self::HostLimit(Box::new(error)),
            machine::Error::Native(_) | machine::Error::NotRecorded => Self::Failed(error.to_string()),
        }
    }
}

/// Checks a clause on every cell of `route`.
pub(super) fn check(suite: &Suite<'_>, clause: Clause, route: Route) -> Result<Detail, Verdict> {
    let cpus: Vec<usize> = suite.pin.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    if cpus.len() < 2 {
        return Err(Verdict::Skipped("two threads that are to be busy at once need two CPUs".to_owned()));
    }
    // Where threads share a CPU, each waits for the other's time slice.
    let (threads, cpus, rounds) = match clause {
        Clause::SwitchedDoesNotCount => (2, &cpus[..1], 3),
        Clause::Completes
        | Clause::AsleepBeforeSend
        | Clause::InterruptsAfterSend
        | Clause::EverybodyRuns
        | Clause::StartsTogether
        | Clause::EverybodyDone => (THREADS.min(cpus.len()), &cpus[..], ROUNDS),
    };
    let limits = Limits { deadline: DEADLINE, settle: Duration::from_micros(5) };
    let mut machine = NativeMachine::start(threads, cpus, limits, suite.interrupted).map_err(machine::Error::from)?;
    // Unknown, it could be anything, and no order of stamps would tell.
    let error = machine.clock_error(&Comparisons::default())?.vcpus.unwrap_or(u64::MAX);
    let (mut tried, mut counted) = (0, 0);
    for cell in cells(suite, route, threads) {
        let spec = BlockSpec {
            cell,
            initiator: 0,
            worker: Worker::Stamp,
            argument: 0,
            recording: Recording::NOTHING,
            warmup: 0,
            rounds,
        };
        let block = machine.run_block(&spec)?;
        if let Some(broken) = clause.broken(&cell, &block, error) {
            let reason = format!("{cell}: {broken}");
            return Err(if clause.depends_on_time(&block) {
                Verdict::overdue(if block.rounds.is_empty() { SOME_ROUNDS } else { DEADLINE / 2 }, reason)
            } else {
                Verdict::Failed(reason)
            });
        }
        tried += 1;
        counted += block.rounds.len();
    }
    Ok(format!("{}, {} that count", count(tried, "cell"), count(counted, "round")))
}

fn cells(suite: &Suite<'_>, route: Route, threads: usize) -> impl Iterator<Item = CellId> {
    let offers = suite.offers_to(route);
    let of_call = move |&call: &Call| Destination::ALL.iter().map(move |&destination| (call, destination));
    let state = routes::of(route).probe_state;
    let cell = move |(call, destination)| CellId { call, ..CellId::broadcast(route, destination, state, threads) };
    Call::ALL.iter().flat_map(of_call).map(cell).filter(move |cell| config::refuse(cell, offers).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples::Participant;
    use crate::results::integrity::Integrity;
    use guest_stub::abi::TargetState;

    fn round(change: impl Fn(&mut Round)) -> Round {
        let participant = |vcpu, a: Option<u64>| {
            let halted = a.map(|_| 50);
            Participant { vcpu, a, halted, w: Some(150), x: Some(160), vmm: None, back: None }
        };
        let participants = vec![participant(0, None), participant(1, Some(120))];
        let mut round =
            Round { generation: 4, initiator: Some(0), t0: 100, t1: 130, t2: 200, participants, trace: Vec::new() };
        change(&mut round);
        round
    }

    /// The clauses that a block breaks, but for that of threads that share a CPU.
    fn broken(block: &Block) -> Vec<&'static str> {
        let cell = CellId::broadcast(Route::NativeRseq, Destination::AllButSelf, TargetState::User, 2);
        let clauses = Clause::ALL.iter().filter(|&&clause| clause != Clause::SwitchedDoesNotCount);
        clauses.filter(|clause| clause.broken(&cell, block, 5).is_some()).map(|clause| clause.name()).collect()
    }

    #[test]
    fn each_clause_has_its_own_evidence() {
        let of = |change: &dyn Fn(&mut Round)| Block { rounds: vec![round(change); ROUNDS], ..Block::default() };
        assert_eq!(broken(&of(&|_| ())), [""; 0]);
        assert_eq!(broken(&of(&|round| round.t0 = 125)), [""; 0], "within the clocks' error");
        assert_eq!(broken(&of(&|round| round.participants[1].halted = Some(106))), ["asleep-before-send"]);
        assert_eq!(broken(&of(&|round| round.participants[1].halted = None)), ["asleep-before-send"]);
        assert_eq!(broken(&of(&|round| round.t0 = 126)), ["interrupts-after-send"]);
        assert_eq!(broken(&of(&|round| round.participants[0].w = None)), ["everybody-runs"]);
        assert_eq!(broken(&of(&|round| round.participants[1].a = Some(156))), ["starts-together"]);
        assert_eq!(broken(&of(&|round| round.t2 = 154)), ["everybody-done"]);
        let good = of(&|_| ());
        let lost = Integrity { lost: 1, ..Integrity::default() };
        assert_eq!(broken(&Block { integrity: lost, ..good.clone() }), ["completes"]);
        assert_eq!(broken(&Block { not_in_state: 1, ..good.clone() }), ["completes"], "one call too many");
        let none = Block { rounds: Vec::new(), not_in_state: ROUNDS as u64, ..good.clone() };
        assert_eq!(broken(&none), ["completes"]);
        let cell = CellId::broadcast(Route::NativeRseq, Destination::AllButSelf, TargetState::User, 2);
        assert!(Clause::SwitchedDoesNotCount.broken(&cell, &good, 5).is_some());
        assert_eq!(Clause::SwitchedDoesNotCount.broken(&cell, &none, 5), None);
    }
}
