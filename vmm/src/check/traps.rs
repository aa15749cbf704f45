//! Situations that broadcast calls go wrong in, and a soak that mixes them.

use super::contract::first_broken;
use super::{DEADLINE, Detail, Suite, Verdict};
use crate::config::routes::{self, ApicMode, Delivery, LocalApics, Route, SendExit};
use crate::config::{self, CellId, Observe};
use crate::guest::calls::{self, Calls, CallsSpec, Timer};
use crate::guest::session::Error;
use crate::vcpu::interrupt::Injection;
use crate::vcpu::test_hooks::HookCounts;
use crate::vm::{ApicIds, Vm};
use guest_stub::abi::{
    CallStep, Destination, Fault, Set, Tally, TargetState, VECTOR_DEVICE, VECTOR_IPI, VECTOR_MASKER, VECTOR_SENDER,
};
use guest_stub::random::SplitMix64;
use std::time::{Duration, Instant};

/// A situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// Calls without a pause: a target is called again before its EOI.
    BackToBack,
    /// The generation wraps.
    GenerationWrap,
    /// Interrupts on the broadcast vector that nobody sent for a call.
    SpuriousIpis,
    /// A device interrupts every worker: it is served after it, and not lost.
    DeviceInWorker,
    /// The local APIC's timer interrupts busy vCPUs, periodically or by TSC deadline.
    Timer(Timer),
    /// NMIs at any time.
    Nmis,
    /// A handler above IPI_LEVEL sends while the initiator sends.
    SendInHandler,
    /// A handler lowers its TPR below the class of an interrupt that waits, before its own EOI.
    LowersTprBeforeEoi,
    /// Each step of a call is held up for 50 ms.
    StoppedVcpu,
    /// An interrupt is lost: the second send brings it.
    LostIpi,
    /// A target has interrupts off: it is named, and nobody runs.
    SilentTarget,
    /// A target comes after the call was given up: it does nothing.
    Latecomer,
    /// Setup and teardown phases.
    Phases,
    /// Other sets than everybody.
    Called(Set),
    /// Those whose bits lie at the ends of the processor mask's words.
    MaskBoundaries,
    /// APIC ids that are not vCPU indices, as a machine with gaps has.
    SparseIds,
    /// So many vCPUs call these sets at once.
    Initiators(u32, Set),
    /// A machine of so many vCPUs.
    Size(u16),
}

impl Trap {
    /// Every situation.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::BackToBack,
            Self::GenerationWrap,
            Self::SpuriousIpis,
            Self::DeviceInWorker,
            Self::Timer(Timer::Periodic(PERIOD)),
            Self::Timer(Timer::Deadline(PERIOD)),
            Self::Nmis,
            Self::SendInHandler,
            Self::LowersTprBeforeEoi,
            Self::StoppedVcpu,
            Self::LostIpi,
            Self::SilentTarget,
            Self::Latecomer,
            Self::Phases,
            Self::Called(Set::Random),
            Self::Called(Set::Nobody),
            Self::Called(Set::Itself),
            Self::MaskBoundaries,
            Self::SparseIds,
        ];
        for initiators in [2, 4] {
            all.extend(
                [Set::Everybody, Set::Overlapping, Set::Disjoint, Set::Random]
                    .map(|set| Self::Initiators(initiators, set)),
            );
        }
        all.extend([1, 2, 64, 65, 128, 300].map(Self::Size));
        all
    }

    /// The name in output.
    pub fn name(self) -> String {
        match self {
            Self::BackToBack => "back-to-back".to_owned(),
            Self::GenerationWrap => "generation-wrap".to_owned(),
            Self::SpuriousIpis => "spurious-ipis".to_owned(),
            Self::DeviceInWorker => "device-in-worker".to_owned(),
            Self::Timer(Timer::Deadline(_)) => "tsc-deadline-timer".to_owned(),
            Self::Timer(_) => "periodic-timer".to_owned(),
            Self::Nmis => "nmis".to_owned(),
            Self::SendInHandler => "send-in-handler".to_owned(),
            Self::LowersTprBeforeEoi => "tpr-lowered-before-eoi".to_owned(),
            Self::StoppedVcpu => "stopped-50ms-at-each-step".to_owned(),
            Self::LostIpi => "lost-ipi-is-resent".to_owned(),
            Self::SilentTarget => "silent-target-is-named".to_owned(),
            Self::Latecomer => "latecomer-does-nothing".to_owned(),
            Self::Phases => "phases".to_owned(),
            Self::Called(set) => format!("called-{}", set.name()),
            Self::MaskBoundaries => "mask-boundaries".to_owned(),
            Self::SparseIds => "sparse-apic-ids".to_owned(),
            Self::Initiators(count, set) => format!("{count}-initiators-{}", set.name()),
            Self::Size(vcpus) => format!("{vcpus}-vcpus"),
        }
    }

    /// Whether it can happen on a route.
    pub fn is_tried_on(self, route: &routes::Spec) -> bool {
        match self {
            // An NMI is not held back, and knows no vector.
            Self::SilentTarget | Self::SpuriousIpis => route.delivery == Delivery::Fixed,
            // KVM's own local APIC has a capability and a CPUID bit for TSC deadlines, which kipi's guest has no other use for.
            Self::Timer(Timer::Deadline(_)) => route.decides_mode() && route.local_apics == LocalApics::User,
            Self::Timer(Timer::Off | Timer::Periodic(_)) | Self::LowersTprBeforeEoi => route.decides_mode(),
            // The host makes no steps and no mistakes.
            Self::Latecomer | Self::StoppedVcpu => route.sends_from_guest() && route.delivery == Delivery::Fixed,
            Self::LostIpi | Self::Phases | Self::Called(Set::Itself) => route.sends_from_guest(),
            Self::SendInHandler => route.apic_mode == ApicMode::XApic,
            Self::BackToBack
            | Self::GenerationWrap
            | Self::DeviceInWorker
            | Self::Nmis
            | Self::Called(_)
            | Self::MaskBoundaries
            | Self::SparseIds
            | Self::Initiators(..)
            | Self::Size(_) => route.interrupts(),
        }
    }
}

/// An initiator and two targets, so that one can wait for the other.
const VCPUS: usize = 3;

/// Puts the broadcast call into the situation.
pub(super) fn check(suite: &Suite<'_>, trap: Trap, route: Route) -> Result<Detail, Verdict> {
    let seed = suite.guest_seed(trap.name().len() as u64);
    let target_state = TargetState::Halt;
    let spec = CallsSpec { route, target_state, seed, deadline: DEADLINE, calls: 20, ..CallsSpec::default() };
    match trap {
        Trap::BackToBack => plain(suite, &CallsSpec { calls: 100, ..spec }),
        Trap::GenerationWrap => plain(suite, &CallsSpec { last_generation: Some(u32::MAX - 39), ..spec }),
        Trap::SpuriousIpis => spurious_ipis(suite, &spec),
        Trap::DeviceInWorker => device_in_worker(suite, &spec),
        Trap::Timer(timer) => timers(suite, timer, &spec),
        Trap::Nmis => nmis(suite, &spec),
        Trap::SendInHandler => send_in_handler(suite, &spec),
        Trap::LowersTprBeforeEoi => lowers_tpr_before_eoi(suite, &spec),
        Trap::StoppedVcpu => stopped_vcpu(suite, &spec),
        Trap::LostIpi => lost_ipi(suite, &spec),
        Trap::SilentTarget => silent_target(suite, &spec),
        Trap::Latecomer => latecomer(suite, &spec),
        Trap::Phases => plain(suite, &CallsSpec { phases: true, initiators: vec![0, 1], calls: 10, ..spec }),
        Trap::Called(set) => plain(suite, &CallsSpec { set, ..spec }),
        Trap::MaskBoundaries => mask_boundaries(suite, &spec),
        Trap::SparseIds => sparse_ids(suite, &spec),
        Trap::Initiators(count, set) => several_initiators(suite, count, set, &spec),
        Trap::Size(vcpus) => size(suite, vcpus.into(), &spec),
    }
}

fn initiators(spec: &CallsSpec) -> u32 {
    u32::try_from(spec.initiators.len()).unwrap_or(u32::MAX)
}

fn counted(calls: &Calls) -> Detail {
    format!("{} calls, {} workers", calls.made, calls.sum(|tally| tally.runs))
}

/// The whole contract, undisturbed.
fn plain(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let calls = suite.calls(VCPUS, spec)?;
    first_broken(&calls, spec.calls, initiators(spec))?;
    let wrong_phase = calls.sum(|tally| tally.wrong_phase);
    if wrong_phase > 0 {
        return Err(Verdict::Failed(format!("{wrong_phase} phases began before everybody had ended the one before")));
    }
    Ok(counted(&calls))
}

/// The contract, but for interrupts that nobody asked for: those are injected.
fn but_for_duplicates(calls: &Calls, spec: &CallsSpec) -> Result<(), Verdict> {
    first_broken(&Calls { duplicate: 0, late: 0, ..calls.clone() }, spec.calls, initiators(spec))
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
            None if self.injected == 0 => Err(Verdict::failed("the calls were over before anything was injected")),
            None => Ok(self.injected),
        }
    }
}

/// Calls that last some milliseconds at least, whatever the host: time for disturbances.
fn long(spec: &CallsSpec) -> CallsSpec {
    CallsSpec { calls: 30, work: Duration::from_micros(100), pause: Duration::from_micros(400), ..spec.clone() }
}

fn spurious_ipis(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let spec = long(spec);
    let mut injector = Injector::new(suite, Injection::Fixed(VECTOR_IPI));
    let calls = suite.disturbed_calls(VCPUS, &spec, &mut |vm| injector.inject(vm))?;
    let injected = injector.count()?;
    but_for_duplicates(&calls, &spec)?;
    // One that meets a real one in the IRR is the same interrupt.
    if u64::from(calls.duplicate) > injected {
        return Err(Verdict::Failed(format!("{} interrupts without a call, {injected} injected", calls.duplicate)));
    }
    Ok(format!("{}, {injected} injected, {} taken alone", counted(&calls), calls.duplicate))
}

fn device_in_worker(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let mut machine = suite.boot(spec.route, VCPUS, ApicIds::Consecutive)?;
    machine.vm().hooks().interrupt_at_observed_exits(VECTOR_DEVICE);
    let spec = CallsSpec { observe: true, work: Duration::from_micros(50), ..spec.clone() };
    let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
    let HookCounts { device_interrupts: raised, merged, .. } = machine.vm().hooks().clear();
    first_broken(&calls, spec.calls, initiators(&spec))?;
    let early = calls.sum(|tally| tally.device_in_worker);
    let served = calls.sum(|tally| tally.device);
    if early > 0 {
        return Err(Verdict::Failed(format!("{early} device interrupts came while a worker ran")));
    }
    // A target that is called again before it has served one has it in the IRR still: the next is the same.
    if served + u64::from(merged) != u64::from(raised) || u64::from(raised) != calls.sum(|tally| tally.runs) {
        return Err(Verdict::Failed(format!(
            "{served} device interrupts were served of {raised} raised, {merged} of which met one that was pending"
        )));
    }
    Ok(format!("{}, {raised} device interrupts, {merged} merged", counted(&calls)))
}

/// Of the timers.
const PERIOD: Duration = Duration::from_millis(1);
/// Timer interrupts of each vCPU: a pause of five periods on average precedes each call, and of the hundred, a busy host may
/// merge most.
const FEWEST: u32 = 20;

fn timers(suite: &Suite<'_>, timer: Timer, spec: &CallsSpec) -> Result<Detail, Verdict> {
    if matches!(timer, Timer::Deadline(_)) && matches!(suite.hypervisor.tsc_deadlines_exit(), Ok(false)) {
        return Err(Verdict::Skipped(
            "this KVM loses what guests write to IA32_TSC_DEADLINE, against its MSR filter (known of kvm_intel: load it with \
             preemption_timer=0)"
                .to_owned(),
        ));
    }
    // Busy targets leave the guest for nothing but the calls.
    let spec = CallsSpec { timer, target_state: TargetState::Spin, pause: 10 * PERIOD, ..spec.clone() };
    let calls = suite.calls(VCPUS, &spec)?;
    first_broken(&calls, spec.calls, initiators(&spec))?;
    let early = calls.sum(|tally| tally.device_in_worker);
    if early > 0 {
        return Err(Verdict::Failed(format!("{early} timer interrupts came while a worker ran")));
    }
    let few = calls.vcpus.iter().position(|(tally, _)| tally.device < FEWEST);
    if let Some(vcpu) = few {
        let count = calls.vcpus[vcpu].0.device;
        return Err(Verdict::Failed(format!("vCPU {vcpu} has had {count} timer interrupts, not {FEWEST} or more")));
    }
    Ok(format!("{}, {} timer interrupts", counted(&calls), calls.sum(|tally| tally.device)))
}

fn nmis(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let spec = long(spec);
    let mut injector = Injector::new(suite, Injection::Nmi);
    let calls = suite.disturbed_calls(VCPUS, &spec, &mut |vm| injector.inject(vm))?;
    let injected = injector.count()?;
    first_broken(&calls, spec.calls, initiators(&spec))?;
    let strange = calls.sum(|tally| tally.strange_nmis);
    // Two that meet are one, and so are one of ours and a call's.
    if strange > injected {
        return Err(Verdict::Failed(format!("{strange} NMIs without a call, {injected} injected")));
    }
    Ok(format!("{}, {injected} NMIs injected, {strange} taken alone", counted(&calls)))
}

fn send_in_handler(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let spec = CallsSpec { destination: Destination::Unicast, ..long(spec) };
    let (calls, served) = with_handlers(suite, &spec, VECTOR_SENDER, |tally| tally.sender)?;
    Ok(format!("{}, {served} handlers sent", counted(&calls)))
}

fn lowers_tpr_before_eoi(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    // Linux eb90f3417a0c, 4.11: the TPR threshold of the VMCS stays above the TPR (SDM Vol. 3C 28.2.1.1 and 28.7.7).
    const KNOWN: &str = "known of kvm_intel without APIC virtualisation, Linux 4.11 until \"KVM: VMX: Raise KVM_REQ_EVENT \
                         on TPR below threshold exit\"";
    let (calls, served) = with_handlers(suite, &long(spec), VECTOR_MASKER, |tally| tally.masker)
        .map_err(|verdict| verdict.told(|reason| format!("{reason} ({KNOWN})")))?;
    Ok(format!("{}, {served} handlers lowered it", counted(&calls)))
}

/// Calls while random vCPUs are interrupted on `vector`, which has a handler of its own; how many it has served, by `count`.
fn with_handlers(
    suite: &Suite<'_>,
    spec: &CallsSpec,
    vector: u8,
    count: impl Fn(&Tally) -> u32,
) -> Result<(Calls, u64), Verdict> {
    let mut injector = Injector::new(suite, Injection::Fixed(vector));
    let calls = suite.disturbed_calls(VCPUS, spec, &mut |vm| injector.inject(vm))?;
    let injected = injector.count()?;
    first_broken(&calls, spec.calls, initiators(spec))?;
    let served = calls.sum(count);
    if served == 0 {
        return Err(Verdict::Failed(format!("none of {injected} interrupts was served")));
    }
    Ok((calls, served))
}

fn stopped_vcpu(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    const STOP: Duration = Duration::from_millis(50);
    let spec = CallsSpec { calls: 2, stepped: true, set: Set::Everybody, ..spec.clone() };
    let mut machine = suite.boot(spec.route, VCPUS, ApicIds::Consecutive)?;
    let mut stopped = 0;
    for &step in CallStep::ALL {
        let of_initiator = matches!(step, CallStep::Sending | CallStep::Sent | CallStep::Working | CallStep::Finished);
        machine.vm().hooks().stop_at(u32::from(!of_initiator), step as u32, STOP);
        let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
        let stops = machine.vm().hooks().clear().stops;
        first_broken(&calls, spec.calls, 1)
            .map_err(|verdict| verdict.told(|reason| format!("stopped at '{}': {reason}", step.name())))?;
        if stops != spec.calls {
            return Err(Verdict::Failed(format!(
                "'{}' was reached {stops} times in {} calls",
                step.name(),
                spec.calls
            )));
        }
        stopped += stops;
    }
    Ok(format!("{stopped} stops of 50 ms"))
}

fn lost_ipi(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let deadline = Duration::from_millis(200);
    let spec = CallsSpec { calls: 3, fault: Fault::DropIpi, deadline, ..spec.clone() };
    let calls = suite.calls(VCPUS, &spec)?;
    let resent = calls.sum(|tally| tally.resent);
    if resent != u64::from(spec.calls) {
        return Err(Verdict::Failed(format!("{resent} of {} lost interrupts were sent again", spec.calls)));
    }
    // Who had come after the first send is interrupted for nothing by the second.
    let mut clean = Calls { duplicate: 0, late: 0, ..calls.clone() };
    clean.vcpus.iter_mut().for_each(|(tally, _)| tally.resent = 0);
    first_broken(&clean, spec.calls, 1)?;
    Ok(format!("{}, {resent} sent twice", counted(&calls)))
}

fn silent_target(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let deadline = Duration::from_millis(100);
    let spec = CallsSpec { calls: 2, target_state: TargetState::Masked, deadline, ..spec.clone() };
    let calls = suite.calls(VCPUS, &spec)?;
    let aborted = calls.sum(|tally| tally.aborted);
    if aborted != u64::from(spec.calls) || calls.sum(|tally| tally.runs) > 0 {
        return Err(Verdict::Failed(format!("{aborted} of {} calls were given up, {}", spec.calls, counted(&calls))));
    }
    // The initiator is vCPU 0, or after all vCPUs, the host.
    let (initiator, silent) = if calls.by_host { (VCPUS, 0b111) } else { (0, 0b110) };
    let named = calls.vcpus[initiator].0.missing[0];
    if named != silent {
        return Err(Verdict::Failed(format!("the mask {silent:#x} is silent, and {named:#x} is named")));
    }
    Ok(format!("{aborted} calls given up, {} vCPUs named", named.count_ones()))
}

fn latecomer(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    const HELD: Duration = Duration::from_millis(400);
    let deadline = Duration::from_millis(100);
    let spec = CallsSpec { calls: 1, stepped: true, deadline, ..spec.clone() };
    let mut machine = suite.boot(spec.route, VCPUS, ApicIds::Consecutive)?;
    machine.vm().hooks().stop_at(2, CallStep::Claimed as u32, HELD);
    let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
    machine.vm().hooks().clear();
    if calls.sum(|tally| tally.aborted) != 1 || calls.sum(|tally| tally.runs) > 0 {
        return Err(Verdict::Failed(format!("the call was not given up for all: {}", counted(&calls))));
    }
    if calls.vcpus[0].0.missing[0] != 0b100 {
        return Err(Verdict::Failed(format!("vCPU 2 is late, the mask {:#x} is named", calls.vcpus[0].0.missing[0])));
    }
    if calls.late < 1 {
        return Err(Verdict::failed("the latecomer did not notice"));
    }
    let after = CallsSpec { calls: 20, stepped: false, deadline: DEADLINE, ..spec };
    let calls = calls::run(&mut machine, &after, &mut |_| ())?;
    first_broken(&calls, after.calls, 1)?;
    Ok(format!("1 call given up, then {}", counted(&calls)))
}

fn mask_boundaries(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    const VCPUS: usize = 130;
    let members = vec![0, 63, 64, 65, 127, 128, 129];
    let deadline = DEADLINE + Duration::from_secs(10);
    let spec = CallsSpec { calls: 4, set: Set::Mask, members, deadline, ..spec.clone() };
    let calls = suite.calls(VCPUS, &spec)?;
    first_broken(&calls, spec.calls, initiators(&spec))?;
    for (vcpu, (tally, _)) in calls.vcpus.iter().enumerate().take(VCPUS) {
        let wanted = if spec.members.contains(&vcpu) { spec.calls } else { 0 };
        if tally.runs != wanted {
            return Err(Verdict::Failed(format!("vCPU {vcpu} ran the worker {} times, not {wanted}", tally.runs)));
        }
    }
    Ok(format!("{}, {} of {VCPUS} vCPUs called", counted(&calls), spec.members.len()))
}

fn sparse_ids(suite: &Suite<'_>, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let mut machine = suite.boot(spec.route, 5, ApicIds::Sparse)?;
    let mut counts = Vec::new();
    for (destination, set) in [(Destination::Unicast, Set::Everybody), (Destination::AllButSelf, Set::Random)] {
        let spec = CallsSpec { destination, set, calls: 8, ..spec.clone() };
        let calls = calls::run(&mut machine, &spec, &mut |_| ())?;
        first_broken(&calls, spec.calls, 1)?;
        counts.push(counted(&calls));
    }
    Ok(counts.join("; "))
}

fn several_initiators(suite: &Suite<'_>, count: u32, set: Set, spec: &CallsSpec) -> Result<Detail, Verdict> {
    let vcpus = if count > 2 { 6 } else { 4 };
    let spec = CallsSpec { initiators: (0..count as usize).collect(), set, calls: 16 / count, ..spec.clone() };
    let calls = suite.calls(vcpus, &spec)?;
    first_broken(&calls, spec.calls, count)?;
    Ok(counted(&calls))
}

fn size(suite: &Suite<'_>, vcpus: usize, spec: &CallsSpec) -> Result<Detail, Verdict> {
    // One message to the broadcast destination, whose width depends on the ids.
    let is_message = routes::of(spec.route).send.exit == Some(SendExit::Message);
    let destination = if is_message { Destination::All } else { Destination::AllButSelf };
    let (route, target_state) = (spec.route, TargetState::Halt);
    let cell = CellId { route, destination, target_state, vcpus, observe: Observe::Guest };
    if let Some(refusal) = config::refuse(&cell, suite.hypervisor.offers()) {
        return Err(Verdict::Skipped(refusal.reason().to_owned()));
    }
    let most = suite.hypervisor.max_vcpus();
    if vcpus > most {
        return Err(Verdict::Skipped(format!("this KVM allows {most} vCPUs")));
    }
    // Whoever shares a CPU needs a turn to arrive.
    let deadline = DEADLINE + Duration::from_millis(200) * u32::try_from(vcpus).unwrap_or(u32::MAX);
    let spec = CallsSpec { calls: 2, target_state, destination, deadline, ..spec.clone() };
    let calls = suite.calls(vcpus, &spec)?;
    first_broken(&calls, spec.calls, 1)?;
    Ok(counted(&calls))
}

/// A minute of calls by random initiators to random sets over random routes, while vCPUs stall and interrupts that nobody
/// asked for come in.
pub(super) fn soak(suite: &Suite<'_>, minute: u32) -> Result<Detail, Verdict> {
    const MINUTE: Duration = Duration::from_mins(1);
    let start = Instant::now();
    let mut random = SplitMix64(suite.seed.wrapping_add(u64::from(minute).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let (mut made, mut injected, mut machines) = (0_u64, 0_u64, 0_u64);
    while start.elapsed() < MINUTE {
        let vcpus = 2 + random.below(5);
        let spec = random_spec(suite, &mut random, vcpus);
        let mut disturbances = SplitMix64(random.next());
        let mut disturb = |vm: &Vm| {
            let injection = match disturbances.below(6) {
                0 => Injection::Fixed(VECTOR_IPI),
                1 => Injection::Nmi,
                2 => Injection::Fixed(VECTOR_DEVICE),
                3 => {
                    vm.stall(disturbances.below(vcpus), Duration::from_millis(disturbances.below(20) as u64));
                    return;
                }
                _ => return,
            };
            injected += u64::from(vm.inject(disturbances.below(vcpus), injection).is_ok());
        };
        let calls = suite.disturbed_calls(vcpus, &spec, &mut disturb).map_err(|error| match error {
            Error::Interrupted => Verdict::Interrupted,
            error => Verdict::Failed(format!("{spec:?}: {error}")),
        })?;
        but_for_duplicates(&calls, &spec).map_err(|verdict| verdict.told(|reason| format!("{reason}: {spec:?}")))?;
        let early = calls.sum(|tally| tally.device_in_worker);
        if early > 0 {
            return Err(Verdict::Failed(format!("{early} device interrupts came while a worker ran: {spec:?}")));
        }
        made += u64::from(calls.made);
        machines += 1;
    }
    Ok(format!("{made} calls, {machines} machines, {injected} interrupts injected"))
}

fn random_spec(suite: &Suite<'_>, random: &mut SplitMix64, vcpus: usize) -> CallsSpec {
    let offers = suite.hypervisor.offers();
    let routes: Vec<Route> = routes::those(|route| route.interrupts() && route.lacks(offers).is_none()).collect();
    let sets = [Set::Everybody, Set::Random, Set::Disjoint, Set::Overlapping];
    let states = [TargetState::Spin, TargetState::User, TargetState::Halt];
    let initiators = 1 + random.below(vcpus.min(4));
    CallsSpec {
        route: routes[random.below(routes.len())],
        set: sets[random.below(sets.len())],
        target_state: states[random.below(states.len())],
        initiators: (0..initiators).collect(),
        phases: random.below(4) == 0,
        calls: 50,
        pause: Duration::from_micros(random.below(500) as u64),
        work: Duration::from_micros(random.below(50) as u64),
        seed: u32::try_from(random.next() >> 32).unwrap_or(1),
        deadline: DEADLINE,
        ..CallsSpec::default()
    }
}
