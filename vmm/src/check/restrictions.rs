//! The rules for workers, each broken once: the guest has to stop with the bug check that names it.

use super::{DEADLINE, Detail, Suite, Verdict};
use crate::config::routes::Route;
use crate::guest::calls::CallsSpec;
use crate::guest::session::Error;
use guest_stub::abi::{Rule, Worker};
use std::time::Duration;

/// A rule that is broken, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenRule {
    worker: Worker,
    rule: Rule,
    by_initiator: bool,
    name: &'static str,
}

const fn rule(worker: Worker, rule: Rule, by_initiator: bool, name: &'static str) -> BrokenRule {
    BrokenRule { worker, rule, by_initiator, name }
}

impl BrokenRule {
    /// Each rule, broken by a target and by the initiator.
    pub const ALL: &[Self] = &[
        rule(Worker::Fault, Rule::Exception, false, "faults"),
        rule(Worker::Fault, Rule::Exception, true, "initiator-faults"),
        rule(Worker::TouchPageable, Rule::PageableMemory, false, "touches-pageable-memory"),
        rule(Worker::TouchPageable, Rule::PageableMemory, true, "initiator-touches-pageable-memory"),
        rule(Worker::EnableInterrupts, Rule::InterruptsEnabled, false, "enables-interrupts"),
        rule(Worker::EnableInterrupts, Rule::InterruptsEnabled, true, "initiator-enables-interrupts"),
        rule(Worker::LowerIrql, Rule::IrqlLowered, false, "lowers-irql"),
        rule(Worker::LowerIrql, Rule::IrqlLowered, true, "initiator-lowers-irql"),
        rule(Worker::TakeLock, Rule::LockAboveItsLevel, false, "takes-a-lock"),
        rule(Worker::TakeLock, Rule::LockAboveItsLevel, true, "initiator-takes-a-lock"),
        rule(Worker::CallAgain, Rule::NestedCall, false, "calls-again"),
        rule(Worker::CallAgain, Rule::NestedCall, true, "initiator-calls-again"),
        rule(Worker::Hang, Rule::WorkerOverstayed, false, "overstays"),
        rule(Worker::HangFirst, Rule::WorkerOverstayed, true, "initiator-overstays"),
    ];

    /// The name in output.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

const VCPUS: usize = 3;

/// Breaks the rule, and expects the bug check that names it and the worker.
pub(super) fn check(suite: &Suite<'_>, broken: BrokenRule, route: Route) -> Result<Detail, Verdict> {
    let last = VCPUS - 1;
    let culprit = if broken.worker == Worker::HangFirst { 0 } else { last };
    let hangs = broken.rule == Rule::WorkerOverstayed;
    let deadline = if hangs { suite.short(Duration::from_millis(300)) } else { DEADLINE };
    // For want of a CPU, the call is given up before it comes to the worker, or somebody else overstays.
    let too_late = |reason: String| Verdict::overdue(deadline / 2, reason);
    let spec = CallsSpec {
        route,
        worker: broken.worker,
        initiators: vec![if broken.by_initiator { culprit } else { 0 }],
        deadline,
        ..CallsSpec::default()
    };
    let report = match suite.calls(VCPUS, &spec) {
        Err(Error::BugCheck(report)) => report,
        Err(error) => return Err(Verdict::from(error).within(deadline / 2)),
        Ok(_) => return Err(too_late("nobody noticed".to_owned())),
    };
    let function = broken.worker.name().replace('-', "_");
    let said = report.to_string();
    let expect = |holds: bool, what: &str| {
        if holds {
            return Ok(());
        }
        let reason = format!("the bug check does not name {what}: {said}");
        let by_time = hangs || report.rule == Some(Rule::WorkerOverstayed);
        Err(if by_time { too_late(reason) } else { Verdict::Failed(reason) })
    };
    expect(report.rule == Some(broken.rule), "the rule")?;
    expect(report.vcpu as usize == culprit, "the vCPU")?;
    // A lock and a page fault are the worker's too, one call deeper; the compiler decides whether they stand in it.
    let deeper = matches!(broken.rule, Rule::PageableMemory);
    expect(report.place.contains(&function) || deeper && report.place.contains("pageable"), "the worker's RIP")?;
    expect(report.generation != 0, "the generation")?;
    Ok(said)
}
