//! Participants that sleep outside of the guest while they wait for each other.

use super::{VCPUS, counted, keeps_contract, parking};
use crate::check::{Detail, Suite, Verdict};
use crate::config::{self, CellId};
use crate::guest::calls::{self, CallsSpec};
use crate::results::count::count;
use crate::vm::ApicIds;
use guest_stub::abi::{Destination, TargetState, Wait};
use std::time::Duration;

/// Every destination and target state of the route.
pub(super) fn every_cell(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let offers = suite.offers_to(spec.route);
    let mut machine = suite.boot(spec.route, VCPUS, ApicIds::Consecutive)?;
    let (mut cells, mut workers) = (0, 0);
    for &destination in Destination::ALL {
        for &target_state in TargetState::ALL {
            let cell = CellId::broadcast(spec.route, destination, target_state, VCPUS);
            let cell = CellId { wait: Wait::Park, ..cell };
            if config::refuse(&cell, offers).is_some() {
                continue;
            }
            // Time for the targets to be in their state again, or not.
            let pause = Duration::from_micros(200);
            let spec = CallsSpec { destination, target_state, calls: 6, pause, ..parking(spec.clone()) };
            let made = calls::run(&mut machine, &spec, &mut |_| ())?;
            let named = |reason| format!("{}, {}: {reason}", destination.name(), target_state.name());
            keeps_contract(&made, &spec).map_err(|verdict| verdict.map_reason(named))?;
            cells += 1;
            workers += made.sum(|tally| tally.runs);
        }
    }
    Ok(format!("{}, {}", count(cells, "cell"), count(workers, "worker")))
}

/// Wake-ups are lost: who sleeps looks again by itself, so that it costs time, and no call.
pub(super) fn lost_wake_ups(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    const LOST: u32 = 6;
    // A sleep lasts for an eighth of it; half of it would have the call sent twice.
    let deadline = suite.short(Duration::from_secs(2));
    let spec = CallsSpec { calls: 4, deadline, ..parking(spec) };
    let mut machine = suite.boot(spec.route, VCPUS, ApicIds::Consecutive)?;
    machine.vm().hooks().lose_unparks(LOST);
    let calls =
        calls::run(&mut machine, &spec, &mut |_| ()).map_err(|error| Verdict::from(error).within(deadline / 2))?;
    machine.vm().hooks().clear();
    keeps_contract(&calls, &spec)?;
    Ok(format!("{}, {LOST} wake-ups lost", counted(&calls)))
}
