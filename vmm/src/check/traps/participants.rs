//! Who takes part, who calls, and how they are numbered.

use super::{counted, keeps_contract};
use crate::check::{DEADLINE, Detail, Suite, Verdict};
use crate::config::routes::{self, SendExit};
use crate::config::{self, CellId};
use crate::guest::calls::{self, CallsSpec};
use crate::results::count::count;
use crate::vm::ApicIds;
use guest_stub::abi::{Destination, Set, TargetState};
use std::time::Duration;

/// The participants' bits lie at the ends of the processor mask's words.
pub(super) fn mask_boundaries(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    const VCPUS: usize = 130;
    let members = vec![0, 63, 64, 65, 127, 128, 129];
    let deadline = DEADLINE + Duration::from_secs(10);
    let spec = CallsSpec { calls: 4, set: Set::Mask, members, deadline, ..spec };
    let calls = suite.calls(VCPUS, &spec)?;
    keeps_contract(&calls, &spec)?;
    for (vcpu, (tally, _)) in calls.vcpus.iter().enumerate().take(VCPUS) {
        let wanted = if spec.members.contains(&vcpu) { spec.calls } else { 0 };
        if tally.runs != wanted {
            return Err(Verdict::Failed(format!(
                "vCPU {vcpu} ran the worker {}, not {wanted}",
                count(tally.runs, "time")
            )));
        }
    }
    Ok(format!("{}, {} of {VCPUS} vCPUs called", counted(&calls), spec.members.len()))
}

/// APIC ids are not vCPU indices, as on a machine whose ids have gaps.
pub(super) fn sparse_ids(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let mut machine = suite.boot(spec.route, 5, ApicIds::Sparse)?;
    let unicast = CallsSpec { destination: Destination::Unicast, set: Set::Everybody, calls: 8, ..spec.clone() };
    let random = CallsSpec { destination: Destination::AllButSelf, set: Set::Random, calls: 8, ..spec };
    let mut counts = Vec::new();
    for spec in [unicast, random] {
        let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
        keeps_contract(&calls, &spec)?;
        counts.push(counted(&calls));
    }
    Ok(counts.join("; "))
}

/// Logical ids fill several clusters, in every mode: fifteen of four in xAPIC mode, and those that APIC ids with gaps lie in.
pub(super) fn logical_clusters(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    const VCPUS: usize = 60;
    let deadline = DEADLINE + Duration::from_secs(10);
    let spec = CallsSpec { destination: Destination::Logical, calls: 2, initiators: vec![0, 31, 59], deadline, ..spec };
    let calls = calls::run(&mut suite.boot(spec.route, VCPUS, ApicIds::Sparse)?, &spec, &mut |_| ())?;
    keeps_contract(&calls, &spec)?;
    Ok(counted(&calls))
}

/// So many vCPUs, or threads of the host, make calls at once.
pub(super) fn several_initiators(suite: &Suite<'_>, count: u32, set: Set, spec: CallsSpec) -> Result<Detail, Verdict> {
    let vcpus = if count > 2 { 6 } else { 4 };
    let spec = CallsSpec { initiators: (0..count as usize).collect(), set, calls: 16 / count, ..spec };
    let calls = suite.calls(vcpus, &spec)?;
    keeps_contract(&calls, &spec)?;
    Ok(counted(&calls))
}

/// A machine of so many vCPUs.
pub(super) fn size(suite: &Suite<'_>, vcpus: usize, spec: CallsSpec) -> Result<Detail, Verdict> {
    // One message to the broadcast destination, whose width depends on the ids.
    let is_message = routes::of(spec.route).send.exit == Some(SendExit::Message);
    let destination = if is_message { Destination::All } else { Destination::AllButSelf };
    let (route, target_state) = (spec.route, TargetState::Halt);
    let cell = CellId::broadcast(route, destination, target_state, vcpus);
    if let Some(refusal) = config::refuse(&cell, suite.offers_to(route)) {
        return Err(Verdict::Skipped(refusal.reason().to_owned()));
    }
    let most = suite.kvm().max_vcpus();
    if vcpus > most {
        return Err(Verdict::Skipped(format!("this KVM allows {}", count(most, "vCPU"))));
    }
    // Whoever shares a CPU needs a turn to arrive.
    let deadline = DEADLINE + Duration::from_millis(200) * u32::try_from(vcpus).unwrap_or(u32::MAX);
    let spec = CallsSpec { calls: 2, target_state, destination, deadline, ..spec };
    let calls = suite.calls(vcpus, &spec)?;
    keeps_contract(&calls, &spec)?;
    Ok(counted(&calls))
}
