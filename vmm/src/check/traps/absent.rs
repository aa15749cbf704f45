//! Targets that are late or do not come, and interrupts that are lost.

use super::{VCPUS, counted, keeps_contract};
use crate::check::{DEADLINE, Detail, Suite, Verdict};
use crate::guest::calls::{self, Calls, CallsSpec};
use crate::results::count::count;
use crate::vm::ApicIds;
use guest_stub::abi::{CallStep, Fault, Set, TargetState};
use std::time::Duration;

/// A vCPU is kept out of the guest at each step of a call in turn.
pub(super) fn stopped_at_each_step(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    const STOP: Duration = Duration::from_millis(50);
    let spec = CallsSpec { calls: 2, stepped: true, set: Set::Everybody, ..spec };
    let mut machine = suite.boot(spec.route, VCPUS, ApicIds::Consecutive)?;
    let mut stopped = 0;
    for &step in CallStep::ALL {
        let of_initiator = matches!(step, CallStep::Sending | CallStep::Sent | CallStep::Working | CallStep::Finished);
        machine.vm().hooks().stop_at(u32::from(!of_initiator), step as u32, STOP);
        let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
        let stops = machine.vm().hooks().clear().stops;
        keeps_contract(&calls, &spec)
            .map_err(|verdict| verdict.map_reason(|reason| format!("stopped at '{}': {reason}", step.name())))?;
        if stops != spec.calls {
            return Err(Verdict::Failed(format!(
                "'{}' was reached {} in {}",
                step.name(),
                count(stops, "time"),
                count(spec.calls, "call")
            )));
        }
        stopped += stops;
    }
    Ok(format!("{} of 50 ms", count(stopped, "stop")))
}

/// An interrupt is lost: the second send brings it.
pub(super) fn lost_ipi(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let deadline = suite.short(Duration::from_millis(200));
    let late = |reason: String| Verdict::overdue(deadline / 2, reason);
    let spec = CallsSpec { calls: 3, fault: Fault::DropIpi, deadline, ..spec };
    let calls = suite.calls(VCPUS, &spec).map_err(|error| Verdict::from(error).within(deadline / 2))?;
    let resent = calls.sum(|tally| tally.resent);
    if resent != u64::from(spec.calls) {
        return Err(late(format!("{resent} of {} lost interrupts were sent again", spec.calls)));
    }
    // Who had come after the first send is interrupted for nothing by the second.
    let mut clean = Calls { duplicate: 0, late: 0, ..calls.clone() };
    clean.vcpus.iter_mut().for_each(|(tally, _)| tally.resent = 0);
    keeps_contract(&clean, &spec)?;
    Ok(format!("{}, {resent} sent twice", counted(&calls)))
}

/// Targets have interrupts off: they are named, and nobody runs.
pub(super) fn silent_target(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let deadline = suite.short(Duration::from_millis(100));
    let late = |reason: String| Verdict::overdue(deadline / 2, reason);
    let spec = CallsSpec { calls: 2, target_state: TargetState::Masked, deadline, ..spec };
    let calls = suite.calls(VCPUS, &spec).map_err(|error| Verdict::from(error).within(deadline / 2))?;
    let aborted = calls.sum(|tally| tally.aborted);
    if aborted != u64::from(spec.calls) || calls.sum(|tally| tally.runs) > 0 {
        return Err(late(format!("{aborted} of {} calls were given up, {}", spec.calls, counted(&calls))));
    }
    // The initiator is vCPU 0, or after all vCPUs, the host.
    let (initiator, silent) = if calls.by_host { (VCPUS, 0b111) } else { (0, 0b110) };
    let named = calls.vcpus[initiator].0.missing[0];
    if named != silent {
        return Err(late(format!("the mask {silent:#x} is silent, and {named:#x} is named")));
    }
    Ok(format!("{} given up, {} named", count(aborted, "call"), count(named.count_ones(), "vCPU")))
}

/// A target comes after the call was given up: it does nothing.
pub(super) fn latecomer(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let deadline = suite.short(Duration::from_millis(100));
    let held = deadline * 4;
    let late = |reason: String| Verdict::overdue(deadline / 2, reason);
    let spec = CallsSpec { calls: 1, stepped: true, deadline, ..spec };
    let mut machine = suite.boot(spec.route, VCPUS, ApicIds::Consecutive)?;
    machine.vm().hooks().stop_at(2, CallStep::Claimed as u32, held);
    let calls =
        calls::run(&mut machine, &spec, &mut |_| ()).map_err(|error| Verdict::from(error).within(deadline / 2))?;
    machine.vm().hooks().clear();
    if calls.sum(|tally| tally.aborted) != 1 || calls.sum(|tally| tally.runs) > 0 {
        return Err(late(format!("the call was not given up for all: {}", counted(&calls))));
    }
    if calls.vcpus[0].0.missing[0] != 0b100 {
        return Err(late(format!("vCPU 2 is late, the mask {:#x} is named", calls.vcpus[0].0.missing[0])));
    }
    if calls.late < 1 {
        return Err(late("the latecomer did not notice".to_owned()));
    }
    let after = CallsSpec { calls: 20, stepped: false, deadline: DEADLINE, ..spec };
    let calls = calls::run(&mut machine, &after, &mut |_| ())?;
    keeps_contract(&calls, &after)?;
    Ok(format!("1 call given up, then {}", counted(&calls)))
}
