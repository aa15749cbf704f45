//! Interrupts that have to wait until a worker has ended: a device's, and the local APIC's timer's.

use super::{VCPUS, counted, keeps_contract};
use crate::check::{Detail, Suite, Verdict};
use crate::guest::calls::{self, CallsSpec, Timer};
use crate::vcpu::test_hooks::HookCounts;
use crate::vm::ApicIds;
use guest_stub::abi::{TargetState, VECTOR_DEVICE};
use std::time::Duration;

/// A device interrupts every worker: it is served after the worker, and not lost.
pub(super) fn device_in_worker(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let mut machine = suite.boot(spec.route, VCPUS, ApicIds::Consecutive)?;
    machine.vm().hooks().interrupt_at_observed_exits(VECTOR_DEVICE);
    let spec = CallsSpec { observe: true, work: Duration::from_micros(50), ..spec };
    let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
    let HookCounts { device_interrupts: raised, merged, .. } = machine.vm().hooks().clear();
    keeps_contract(&calls, &spec)?;
    let early = calls.sum(|tally| tally.device_in_worker);
    let served = calls.sum(|tally| tally.device);
    if early > 0 {
        return Err(Verdict::Failed(format!("{early} device interrupts came while a worker ran")));
    }
    // A target that is called again before it has served one has it in the IRR still: the next is the same.
    if served + u64::from(merged) != u64::from(raised) || u64::from(raised) != calls.sum(|tally| tally.runs) {
        // Somebody without a CPU may still have one to serve.
        let too_many = served + u64::from(merged) > u64::from(raised);
        let reason = format!(
            "{served} device interrupts were served of {raised} raised, {merged} of which met one that was pending"
        );
        return Err(if too_many { Verdict::Failed(reason) } else { Verdict::overdue(LAST, reason) });
    }
    Ok(format!("{}, {raised} device interrupts, {merged} merged", counted(&calls)))
}

/// Within which an interrupt that comes after the last worker is served.
const LAST: Duration = Duration::from_millis(50);
/// How often a timer interrupts.
pub(super) const PERIOD: Duration = Duration::from_millis(1);
/// Timer interrupts of each vCPU: a pause of five periods on average precedes each call, and of the hundred, a busy host may
/// merge most.
const FEWEST: u32 = 20;

/// The local APIC's timer interrupts busy vCPUs.
pub(super) fn timer(suite: &Suite<'_>, timer: Timer, spec: CallsSpec) -> Result<Detail, Verdict> {
    if matches!(timer, Timer::Deadline(_)) && matches!(suite.kvm().tsc_deadlines_exit(), Ok(false)) {
        return Err(Verdict::Skipped(
            "this KVM loses what guests write to IA32_TSC_DEADLINE, against its MSR filter (known of kvm_intel: load it with \
             preemption_timer=0)"
                .to_owned(),
        ));
    }
    // Busy targets leave the guest for nothing but the calls.
    let calls = spec.calls * suite.stretch;
    let spec = CallsSpec { timer, target_state: TargetState::Spin, pause: 10 * PERIOD, calls, ..spec };
    let calls = suite.calls(VCPUS, &spec)?;
    keeps_contract(&calls, &spec)?;
    let early = calls.sum(|tally| tally.device_in_worker);
    if early > 0 {
        return Err(Verdict::Failed(format!("{early} timer interrupts came while a worker ran")));
    }
    let few = calls.vcpus.iter().position(|(tally, _)| tally.device < FEWEST);
    if let Some(vcpu) = few {
        let count = calls.vcpus[vcpu].0.device;
        let reason = format!("vCPU {vcpu} has had {count} timer interrupts, not {FEWEST} or more");
        return Err(Verdict::overdue(FEWEST * PERIOD, reason));
    }
    Ok(format!("{}, {} timer interrupts", counted(&calls), calls.sum(|tally| tally.device)))
}
