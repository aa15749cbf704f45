//! Interrupts and NMIs that nobody sent for a call, at any time.

use super::{VCPUS, counted, keeps_contract};
use crate::check::{Detail, Suite, Verdict};
use crate::guest::calls::{Calls, CallsSpec};
use crate::results::count::count;
use crate::vcpu::interrupt::Injection;
use crate::vm::Vm;
use guest_stub::abi::{Destination, Tally, VECTOR_IPI, VECTOR_MASKER, VECTOR_SENDER};
use guest_stub::random::SplitMix64;
use std::time::Duration;

/// Whether calls kept the contract but for interrupts that no call asked for, which are injected.
pub(in crate::check) fn but_for_duplicates(calls: &Calls, spec: &CallsSpec) -> Result<(), Verdict> {
    keeps_contract(&Calls { duplicate: 0, late: 0, ..calls.clone() }, spec)
}

/// Raises `injection` on a random vCPU each time it is asked to; counts.
struct Injector {
    random: SplitMix64,
    injection: Injection,
    injected: u64,
    error: Option<String>,
}

impl Injector {
    fn new(suite: &Suite<'_>, injection: Injection) -> Self {
        Self { random: SplitMix64(suite.seed), injection, injected: 0, error: None }
    }

    fn inject(&mut self, vm: &Vm) {
        match vm.inject(self.random.below(vm.vcpus()), self.injection) {
            Ok(()) => self.injected += 1,
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    /// How many; an error if there was none, for then nothing was tested.
    fn count(&self) -> Result<u64, Verdict> {
        match &self.error {
            Some(error) => Err(Verdict::Skipped(error.clone())),
            // The thread that injects had no CPU: that says nothing of the calls.
            None if self.injected == 0 => {
                Err(Verdict::overdue(Duration::ZERO, "the calls were over before anything was injected"))
            }
            None => Ok(self.injected),
        }
    }
}

/// Within which one of many interrupts is served.
const SERVED: Duration = Duration::from_millis(50);

/// Makes the calls last some milliseconds at least, on any host: time for injections.
fn long(suite: &Suite<'_>, spec: CallsSpec) -> CallsSpec {
    CallsSpec { calls: 30 * suite.stretch, work: Duration::from_micros(100), pause: Duration::from_micros(400), ..spec }
}

/// Interrupts on the broadcast vector that no call has asked for.
pub(super) fn spurious_ipis(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let spec = long(suite, spec);
    let mut injector = Injector::new(suite, Injection::Fixed(VECTOR_IPI));
    let calls = suite.disturbed_calls(VCPUS, &spec, &mut |vm| injector.inject(vm))?;
    let injected = injector.count()?;
    but_for_duplicates(&calls, &spec)?;
    // One that meets a real one in the IRR is the same interrupt.
    if u64::from(calls.duplicate) > injected {
        return Err(Verdict::Failed(format!(
            "{} without a call, {injected} injected",
            count(calls.duplicate, "interrupt")
        )));
    }
    Ok(format!("{}, {injected} injected, {} taken alone", counted(&calls), calls.duplicate))
}

/// NMIs that no call has asked for.
pub(super) fn nmis(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let spec = long(suite, spec);
    let mut injector = Injector::new(suite, Injection::Nmi);
    let calls = suite.disturbed_calls(VCPUS, &spec, &mut |vm| injector.inject(vm))?;
    let injected = injector.count()?;
    keeps_contract(&calls, &spec)?;
    let strange = calls.sum(|tally| tally.strange_nmis);
    // Two that meet are one, and so are one of ours and a call's.
    if strange > injected {
        return Err(Verdict::Failed(format!("{} without a call, {injected} injected", count(strange, "NMI"))));
    }
    Ok(format!("{}, {} injected, {strange} taken alone", counted(&calls), count(injected, "NMI")))
}

/// A handler above IPI_LEVEL sends while the initiator sends.
pub(super) fn send_in_handler(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    let spec = CallsSpec { destination: Destination::Unicast, ..long(suite, spec) };
    let (calls, served) = with_handlers(suite, &spec, VECTOR_SENDER, |tally| tally.sender)?;
    Ok(format!("{}, {} sent", counted(&calls), count(served, "handler")))
}

/// A handler lowers its TPR below the class of an interrupt that waits, before its own EOI.
pub(super) fn lowers_tpr_before_eoi(suite: &Suite<'_>, spec: CallsSpec) -> Result<Detail, Verdict> {
    // Linux eb90f3417a0c, 4.11: the TPR threshold of the VMCS stays above the TPR (SDM Vol. 3C 28.2.1.1 and 28.7.7).
    const KNOWN: &str = "known of kvm_intel without APIC virtualisation, Linux 4.11 until \"KVM: VMX: Raise KVM_REQ_EVENT \
                         on TPR below threshold exit\"";
    let (calls, served) = with_handlers(suite, &long(suite, spec), VECTOR_MASKER, |tally| tally.masker)
        .map_err(|verdict| verdict.map_reason(|reason| format!("{reason} ({KNOWN})")))?;
    Ok(format!("{}, {} lowered it", counted(&calls), count(served, "handler")))
}

/// Calls while random vCPUs are interrupted on `vector`, which has a handler of its own; how many it has served, by `tally_of`.
fn with_handlers(
    suite: &Suite<'_>,
    spec: &CallsSpec,
    vector: u8,
    tally_of: impl Fn(&Tally) -> u32,
) -> Result<(Calls, u64), Verdict> {
    let mut injector = Injector::new(suite, Injection::Fixed(vector));
    let calls = suite.disturbed_calls(VCPUS, spec, &mut |vm| injector.inject(vm))?;
    let injected = injector.count()?;
    keeps_contract(&calls, spec)?;
    let served = calls.sum(tally_of);
    if served == 0 {
        return Err(Verdict::overdue(SERVED, format!("none of {} was served", count(injected, "interrupt"))));
    }
    Ok((calls, served))
}
