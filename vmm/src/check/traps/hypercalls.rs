//! Hypercalls that reach many, and one that KVM refuses.

use super::{VCPUS, counted, keeps_contract};
use crate::check::{DEADLINE, Detail, Suite, Verdict};
use crate::guest::calls::{self, CallsSpec};
use crate::guest::session::Error;
use crate::vm::ApicIds;
use guest_stub::abi::{Destination, Fault, Rule, Set};
use std::time::Duration;

/// One call takes several hypercalls of KVM's interface, or several banks of Hyper-V's: APIC ids fall, with gaps. So the initiator is the
/// lowest, the highest, or one in the middle of them.
pub(super) fn batches(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    const VCPUS: usize = 140;
    let deadline = DEADLINE + Duration::from_secs(10);
    let spec = CallsSpec { set: Set::Everybody, calls: 1, deadline, ..spec };
    let mut machine = suite.boot_with_deadline(spec.route, VCPUS, ApicIds::Sparse, deadline)?;
    let mut counts = Vec::new();
    for (destination, initiator) in [
        (Destination::AllButSelf, 0),
        (Destination::AllButSelf, 1),
        (Destination::All, 70),
        (Destination::Unicast, 139),
    ] {
        let spec = CallsSpec { destination, initiators: vec![initiator], ..spec.clone() };
        let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
        keeps_contract(&calls, &spec).map_err(|verdict| {
            verdict.map_reason(|reason| format!("{} from vCPU {initiator}: {reason}", destination.name()))
        })?;
        counts.push(format!("{}: {}", destination.name(), counted(&calls)));
    }
    Ok(counts.join("; "))
}

/// KVM refuses a hypercall: the guest stops with a bug check that tells the answer.
pub(super) fn refused(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let spec = CallsSpec { calls: 1, fault: Fault::RefusedHypercall, ..spec };
    let report = match suite.calls(VCPUS, &spec) {
        Err(Error::BugCheck(report)) => report,
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(Verdict::failed("nobody noticed")),
    };
    let said = report.to_string();
    if report.rule != Some(Rule::HypercallRefused) || report.vcpu != 0 || !report.message.contains("answered") {
        return Err(Verdict::Failed(format!("the bug check does not tell of vCPU 0's hypercall: {said}")));
    }
    Ok(said)
}
