//! Targets that the VMM keeps from the guest: calls and pings of targets that are preempted, or out, arrive once, and only after the
//! targets are back.

use super::{Detail, Suite, Verdict};
use crate::config::routes::{self, Route};
use crate::config::{self, Call, CellId, HostOffers};
use crate::events::clock::CommonClock;
use crate::events::recording::Recording;
use crate::events::samples::{Block, Participant};
use crate::guest::blocks::{self, BlockSpec};
use crate::results::count::count;
use crate::results::integrity::Integrity;
use crate::vm::ApicIds;
use guest_stub::abi::{TargetState, Worker};
use std::collections::BTreeSet;
use std::time::Duration;

/// Rounds of each block: a preempted target takes a turn of the scheduler's for each.
const ROUNDS: usize = 12;
/// Blocks of each cell, at most, until a round has found its target in the state.
const TRIES: usize = 5;
/// Rounds of which one has to find its target out.
const SOME_ROUNDS: Duration = Duration::from_millis(100);

/// The states, by route.
pub(super) fn all() -> Vec<(TargetState, Route)> {
    let can_be = |state, route| cells(state, route, HostOffers::EVERYTHING).next().is_some();
    let states = TargetState::ALL.iter().copied().filter(|state| state.is_away());
    let of = |state| super::in_guest().map(move |route| (state, route));
    states.flat_map(of).filter(|&(state, route)| can_be(state, route)).collect()
}

/// One target, which a vCPU calls and pings; or the host calls it.
fn cells(state: TargetState, route: Route, offers: HostOffers) -> impl Iterator<Item = CellId> {
    let vcpus = if routes::of(route).is_host() { 1 } else { 2 };
    let cell = move |&call: &Call| {
        let destination = config::calls::of(call).usual_destination;
        CellId { call, ..CellId::broadcast(route, destination, state, vcpus) }
    };
    Call::ALL.iter().map(cell).filter(move |cell| config::refuse(cell, offers).is_none())
}

/// Calls and pings a target in `state` over `route`.
pub(super) fn check(suite: &Suite<'_>, state: TargetState, route: Route) -> Result<Detail, Verdict> {
    if state == TargetState::Preempted && (distinct(suite.pin) < 2 || suite.cpus < 2) {
        return Err(Verdict::Skipped("a caller and a target that is preempted need a CPU each (--pin)".to_owned()));
    }
    let (mut made, mut counted) = (0, 0);
    for cell in cells(state, route, suite.offers_to(route)) {
        let mut machine = suite.boot(route, cell.vcpus, ApicIds::Consecutive)?;
        let spec = BlockSpec {
            cell,
            initiator: 0,
            worker: Worker::Stamp,
            argument: 0,
            recording: Recording::COUNTS,
            warmup: 0,
            rounds: ROUNDS,
        };
        let mut in_state = 0;
        for _ in 0..TRIES {
            let block = blocks::run(&mut machine, &spec, None)?;
            if let Some(broken) = broken(&block, &machine.vm().tsc().clock) {
                return Err(super::of_integrity(&block.integrity, format!("{cell}: {broken}")));
            }
            made += ROUNDS;
            in_state += block.rounds.len();
            if in_state > 0 {
                break;
            }
        }
        if in_state == 0 {
            let reason = format!("{cell}: in {} rounds, no target was seen to be {}", TRIES * ROUNDS, state.name());
            // Whether the scheduler lets the competitor run when the caller looks is the host's affair.
            let is_the_hosts = state == TargetState::Preempted;
            return Err(if is_the_hosts { Verdict::Skipped(reason) } else { Verdict::overdue(SOME_ROUNDS, reason) });
        }
        counted += in_state;
    }
    Ok(format!("{}, {counted} of them of targets that were {}", count(made, "call"), state.name()))
}

fn distinct(cpus: &[usize]) -> usize {
    cpus.iter().collect::<BTreeSet<_>>().len()
}

/// What went wrong in a block; `None`: nothing.
fn broken(block: &Block, clock: &CommonClock) -> Option<String> {
    if block.integrity != Integrity::default() {
        return Some(block.integrity.faults().join(", "));
    }
    let made = block.rounds.len() as u64 + block.not_in_state;
    if made != ROUNDS as u64 {
        return Some(format!("{made} of {ROUNDS} calls were made"));
    }
    // By more than what the host's stamps may be off from its own.
    let is_early = |it: &Participant| {
        it.back.zip(it.a).is_some_and(|(back, a)| a.saturating_add(clock.host_apart(it.vcpu)) < back)
    };
    let mut participants = block.rounds.iter().flat_map(|round| &round.participants);
    participants.any(is_early).then(|| "a target arrived while its thread was kept from the guest".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::clock::tests::{estimated, exact};
    use crate::events::samples::Round;

    #[test]
    fn both_states_are_tested_over_every_route_that_reaches_them() {
        let routes =
            |state| all().into_iter().filter(|&(of, _)| of == state).map(|(_, route)| route).collect::<Vec<_>>();
        assert_eq!(routes(TargetState::Preempted), super::super::in_guest().collect::<Vec<_>>());
        assert_eq!(routes(TargetState::Out).len(), routes(TargetState::Preempted).len() - 1, "memory's targets poll");
        assert!(routes(TargetState::Halt).is_empty());
    }

    #[test]
    fn each_way_to_go_wrong_is_seen() {
        let target =
            |a, back| Participant { vcpu: 1, a: Some(a), halted: None, back: Some(back), w: None, x: None, vmm: None };
        let round = |a, back| Round {
            generation: 4,
            initiator: Some(0),
            t0: 1,
            t1: 2,
            t2: 9,
            participants: vec![target(a, back)],
            trace: Vec::new(),
        };
        let block = |rounds: Vec<Round>, not_in_state| Block { rounds, not_in_state, ..Block::default() };
        let others = ROUNDS as u64 - 1;
        let exact = exact(&[0, 0]);
        let broken = |block: &Block| broken(block, &exact);
        assert_eq!(broken(&block(vec![round(5, 4)], others)), None);
        let early = block(vec![round(3, 4)], others);
        assert!(broken(&early).is_some_and(|it| it.contains("kept from the guest")));
        assert_eq!(super::broken(&early, &estimated(&[0, 0], 1)), None, "it may have been on time");
        assert!(broken(&block(vec![round(5, 4)], 0)).is_some_and(|it| it.contains("1 of 12")));
        let lost = Integrity { lost: 1, ..Integrity::default() };
        assert_eq!(broken(&Block { integrity: lost, ..block(vec![], others + 1) }).as_deref(), Some("1 lost"));
    }
}
