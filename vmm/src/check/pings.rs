//! Pings: over every destination that pings have, each arrives once, on machines of one to three vCPUs and in every target state.

use super::{Detail, Suite, Verdict};
use crate::config::routes::Route;
use crate::config::{self, Call, CellId, HostOffers};
use crate::events::recording::Recording;
use crate::events::samples::{Block, Round};
use crate::guest::blocks::{self, BlockSpec};
use crate::results::count::count;
use crate::results::integrity::Integrity;
use crate::vm::ApicIds;
use guest_stub::abi::{Destination, TargetState, Worker};
use std::collections::BTreeSet;

/// Alone; a pair; and with one that looks on, or in a mesh that is more than a pair.
const VCPUS: [usize; 3] = [1, 2, 3];
/// Rounds of each cell.
const ROUNDS: usize = 50;

/// The destinations that there are tests of, by route: those that pings have on some machine.
pub(super) fn all() -> Vec<(Destination, Route)> {
    let can_be = |route, destination| {
        VCPUS.iter().any(|&vcpus| cells(route, destination, vcpus, HostOffers::EVERYTHING).next().is_some())
    };
    let of = |&destination: &Destination| super::in_guest().map(move |route| (destination, route));
    Destination::ALL.iter().flat_map(of).filter(|&(destination, route)| can_be(route, destination)).collect()
}

fn cells(route: Route, destination: Destination, vcpus: usize, offers: HostOffers) -> impl Iterator<Item = CellId> {
    let cell =
        move |&state: &TargetState| CellId { call: Call::Ping, ..CellId::broadcast(route, destination, state, vcpus) };
    // With more vCPUs than CPUs, a competitor may be in the sender's way: `states` pings preempted targets.
    let states = TargetState::ALL.iter().filter(|&&state| state != TargetState::Preempted);
    states.map(cell).filter(move |cell| config::refuse(cell, offers).is_none())
}

/// Pings `destination` over `route`.
pub(super) fn check(suite: &Suite<'_>, destination: Destination, route: Route) -> Result<Detail, Verdict> {
    let offers = suite.offers_to(route);
    let (mut tried, mut pings) = (0, 0);
    for vcpus in VCPUS {
        let cells: Vec<CellId> = cells(route, destination, vcpus, offers).collect();
        if cells.is_empty() {
            continue;
        }
        let mut machine = suite.boot(route, vcpus, ApicIds::Consecutive)?;
        for cell in cells {
            // Where everybody sends at once, there is none to choose.
            let initiators = if config::at_once(&cell) == 1 { 0..vcpus } else { 0..1 };
            for initiator in initiators {
                let spec = BlockSpec {
                    cell,
                    initiator,
                    worker: Worker::Stamp,
                    argument: 0,
                    recording: Recording::COUNTS,
                    warmup: 0,
                    rounds: ROUNDS,
                };
                let block = blocks::run(&mut machine, &spec, None)?;
                if let Some(broken) = broken(&block, ROUNDS * config::at_once(&cell)) {
                    let reason = format!("{cell}, from vCPU {initiator}: {broken}");
                    return Err(super::of_integrity(&block.integrity, reason));
                }
                pings += block.rounds.len();
            }
            tried += 1;
        }
    }
    Ok(format!("{}, {}", count(tried, "cell"), count(pings, "ping")))
}

/// What went wrong in a block that was to have so many pings; `None`: nothing.
fn broken(block: &Block, asked: usize) -> Option<String> {
    if block.integrity != Integrity::default() {
        return Some(block.integrity.faults().join(", "));
    }
    let elsewhere = block.not_in_state * block.at_once as u64;
    let made = block.rounds.len() as u64 + elsewhere;
    if made != asked as u64 {
        return Some(format!("{made} of {asked} pings were made"));
    }
    if block.rounds.iter().any(|round| round.targets().count() != 1) {
        return Some("a ping has another number of arrivals than one".to_owned());
    }
    if block.rounds.iter().any(is_stale) {
        return Some("a vCPU's ping of itself has arrived at another time than between its stamps".to_owned());
    }
    let different: BTreeSet<u32> = block.rounds.iter().map(|round| round.generation).collect();
    (different.len() != block.rounds.len()).then(|| "two pings have the same generation".to_owned())
}

/// Whether the sender has an arrival, which is then on its own clock, that is not between its stamps.
fn is_stale(round: &Round) -> bool {
    let own = round.participants.iter().filter(|each| Some(each.vcpu) == round.initiator);
    own.filter_map(|each| each.a).any(|a| !(round.t0..=round.t2).contains(&a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples::Participant;

    fn round(generation: u32, arrivals: usize) -> Round {
        let target = |vcpu| Participant { vcpu, a: Some(2), halted: None, w: None, x: None, vmm: None, back: None };
        let participants = (0..arrivals).map(target).collect();
        Round { generation, initiator: Some(0), t0: 1, t1: 2, t2: 3, participants, trace: Vec::new() }
    }

    #[test]
    fn each_way_to_go_wrong_is_seen() {
        let block = |rounds| Block { rounds, ..Block::default() };
        assert_eq!(broken(&block(vec![round(4, 1), round(8, 1)]), 2), None);
        assert!(broken(&block(vec![round(4, 1)]), 2).is_some_and(|it| it.contains("1 of 2")));
        assert!(broken(&block(vec![round(4, 2)]), 1).is_some_and(|it| it.contains("arrivals")));
        assert!(broken(&block(vec![round(4, 1), round(4, 1)]), 2).is_some_and(|it| it.contains("same generation")));
        let stale = Round { t0: 5, t2: 6, ..round(4, 1) };
        assert!(broken(&block(vec![stale]), 1).is_some_and(|it| it.contains("between its stamps")));
        let lost = Integrity { lost: 1, ..Integrity::default() };
        assert_eq!(broken(&Block { integrity: lost, ..block(vec![round(4, 1)]) }, 1).as_deref(), Some("1 lost"));
        let elsewhere = Block { not_in_state: 1, ..block(vec![round(4, 1)]) };
        assert_eq!(broken(&elsewhere, 2), None, "it has arrived");
    }

    #[test]
    fn every_route_that_sends_a_vector_from_the_guest_is_pinged_over() {
        let routes: BTreeSet<Route> = all().into_iter().map(|(_, route)| route).collect();
        let by_icr = [Route::XApic, Route::X2Apic, Route::VmmXApic, Route::VmmX2Apic];
        let others = [Route::KvmPv, Route::HyperV, Route::Msi];
        assert_eq!(routes, by_icr.into_iter().chain(others).collect());
        assert!(all().contains(&(Destination::Itself, Route::KvmPv)));
        assert!(all().contains(&(Destination::SelfIpi, Route::VmmX2Apic)));
        assert!(!all().contains(&(Destination::SelfIpi, Route::XApic)), "xAPIC mode has no such register");
    }
}
