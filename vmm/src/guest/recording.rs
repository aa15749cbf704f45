//! What is recorded of a block besides the guest's own samples.

use super::block_spec::{BlockSpec, Initiator, Part};
use super::session::{Error, Session};
use crate::events::cpu_time::CpuTimes;
use crate::events::event::{Event, EventKind};
use crate::events::exit::ExitKind;
use crate::events::kernel::{Point, Tracer};
use crate::events::recording::Recording;
use crate::events::samples::{Block, CpuTime, ExitCount, Exits};
use crate::events::stays::{Keep, Stay};
use crate::events::timeline::Recorded;
use crate::events::wakeups::Wakeups;
use crate::results::source::Source;
use crate::vm::Vm;
use std::collections::BTreeMap;

/// A recording that is going on.
pub(super) struct BlockRecorder<'t> {
    spec: BlockSpec,
    tracer: Option<&'t Tracer>,
    before: Exits,
    dropped: u64,
}

/// What was recorded of a block outside of the guest.
pub(super) struct BlockRecord<'t> {
    /// What was counted.
    pub(super) exits: Exits,
    /// Each vCPU's stays in the guest.
    pub(super) stays: Vec<Vec<Stay>>,
    /// All events by time, on the common clock.
    pub(super) events: Vec<Event>,
    wakeups: Option<Wakeups>,
    cpu: Option<CpuTime>,
    recording: Recording,
    tracer: Option<&'t Tracer>,
    lost: u64,
    dropped: u64,
}

impl<'t> BlockRecorder<'t> {
    /// Begins to record a block, whose guest has not begun.
    pub(super) fn start(session: &Session<'_>, spec: &BlockSpec, tracer: Option<&'t Tracer>) -> Result<Self, Error> {
        // Events of the kernel in one round: the initiator's, and each vCPU's own; with what is between the rounds.
        const EVENTS: usize = 60;
        let vm = session.vm();
        let recording = spec.recording;
        let keep =
            if spec.is_observed() && recording.stays == Keep::Nothing { Keep::Observed } else { recording.stays };
        (0..vm.vcpus()).for_each(|vcpu| vm.ring(vcpu).keep(keep));
        session.take_stays();
        vm.counters().begin(spec.counts_wakeups());
        let tracer = tracer.filter(|_| recording.kernel);
        if let Some(tracer) = tracer {
            let mut recorded: Vec<u32> = threads(vm).into_keys().collect();
            if spec.initiator() == Initiator::Host {
                recorded.push(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
            }
            tracer.start(&recorded, spec.all_rounds() * EVENTS * vm.vcpus())?;
        }
        Ok(Self { spec: *spec, tracer, before: counters(vm, spec), dropped: dropped(vm) })
    }

    /// Ends it, when the guest has done the block.
    pub(super) fn stop(self, session: &Session<'_>) -> Result<BlockRecord<'t>, Error> {
        let Self { spec, tracer, .. } = self;
        let recording = spec.recording;
        let vm = session.vm();
        let kernel = tracer.map(Tracer::stop).transpose()?.unwrap_or_default();
        let exits = difference(&self.before, &counters(vm, &spec));
        let between = vm.counters().take_between_marks();
        let is_called = |vcpu| spec.part_of(vcpu) == Some(Part::IsCalled);
        let wakeups = between.as_ref().and_then(|between| between.wakeups_of(is_called));
        let cpu = between.and_then(|between| cpu_time(&between.cpu, &spec));
        let stays = session.take_stays();
        (0..vm.vcpus()).for_each(|vcpu| vm.ring(vcpu).keep(Keep::Observed));
        let events = if recording.has_events() {
            Recorded { stays: &stays, kernel: &kernel.records, threads: &threads(vm), clock: &vm.tsc().clock }.merge()
        } else {
            Vec::new()
        };
        let dropped = dropped(vm) - self.dropped;
        Ok(BlockRecord { exits, stays, events, wakeups, cpu, recording, tracer, lost: kernel.lost, dropped })
    }
}

impl BlockRecord<'_> {
    /// Adds to a block what only its recording knows.
    pub(super) fn complete(&self, block: &mut Block) {
        block.recording = self.recording;
        block.wakeups = self.wakeups;
        block.cpu = self.cpu;
        (block.lost, block.dropped) = (self.lost, self.dropped);
        if let Some(tracer) = self.tracer {
            block.exits.extend(kernel_exits(block, tracer));
        }
    }
}

/// What the rounds that count had of the CPUs. The clocks were read by the thread that made the calls.
fn cpu_time(times: &CpuTimes, spec: &BlockSpec) -> Option<CpuTime> {
    let rounds = (spec.all_rounds() - spec.warmup) as u64;
    let does = |part| move |vcpu| spec.part_of(vcpu) == Some(part);
    CpuTime::of_threads(rounds, times, does(Part::Calls), does(Part::IsCalled)).filter(|_| rounds > 0)
}

/// When KVM_RUN returned for a vCPU's observed exits, by generation, on the common clock.
pub(super) fn observed_exits(session: &Session<'_>, stays: &[Stay]) -> BTreeMap<u32, u64> {
    let clock = &session.vm().tsc().clock;
    stays
        .iter()
        .filter(|stay| stay.exit.kind == ExitKind::Observe)
        .filter_map(|stay| {
            let generation = u32::try_from(stay.exit.payload).ok()?;
            Some((generation, clock.of_host(stay.returned)))
        })
        .collect()
}

/// The vCPUs' threads.
fn threads(vm: &Vm) -> BTreeMap<u32, usize> {
    (0..vm.vcpus()).filter_map(|vcpu| Some((vm.thread_id(vcpu)?, vcpu))).collect()
}

/// Stays that found no room, since the machine was made.
fn dropped(vm: &Vm) -> u64 {
    (0..vm.vcpus()).map(|vcpu| vm.ring(vcpu).dropped()).sum()
}

/// Every exit counter that is recorded, by source and reason, of the vCPUs that call, and of those that are called.
fn counters(vm: &Vm, spec: &BlockSpec) -> Exits {
    let recording = spec.recording;
    let parts: Vec<(usize, Part)> = (0..vm.vcpus()).filter_map(|vcpu| Some((vcpu, spec.part_of(vcpu)?))).collect();
    let mut exits = Exits::new();
    if recording.counts(Source::Vmm) {
        for &(vcpu, part) in &parts {
            for (kind, count) in vm.ring(vcpu).counts() {
                let reason = (Source::Vmm, kind.name().to_owned());
                exits.entry(reason).or_default().add(part == Part::Calls, count);
            }
        }
    }
    if recording.stats {
        exits
            .extend(of_all(parts.iter().map(|&(vcpu, part)| (part, vm.stats(vcpu).and_then(|file| file.read().ok())))));
    }
    exits
}

/// KVM's counters of all these vCPUs; none if one of them has none that can be read ([`Vm::stats_error`] says why): the sum of the
/// others would look as if that vCPU had not exited.
fn of_all(vcpus: impl Iterator<Item = (Part, Option<BTreeMap<&'static str, u64>>)>) -> Exits {
    let mut exits = Exits::new();
    for (part, counters) in vcpus {
        let Some(counters) = counters else { return Exits::new() };
        for (name, count) in counters {
            exits.entry((Source::Stats, name.to_owned())).or_default().add(part == Part::Calls, count);
        }
    }
    exits
}

/// Exits within the calls, as the kernel's tracepoints show them; where this KVM shows none, its other tracepoints.
fn kernel_exits(block: &Block, tracer: &Tracer) -> Exits {
    let mut exits = Exits::new();
    for has_exits in [true, false] {
        for round in &block.rounds {
            for event in &round.trace {
                let EventKind::Kernel(point, [reason, isa, _]) = event.kind else { continue };
                let name = match point {
                    Point::Exit if has_exits => tracer.exit_name(reason, isa),
                    Point::Exit | Point::Entry | Point::Accept | Point::Waking | Point::Switch | Point::Wakeup => {
                        continue;
                    }
                    Point::Ipi
                    | Point::Inject
                    | Point::Eoi
                    | Point::Apic
                    | Point::Msr
                    | Point::Mmio
                    | Point::Port
                    | Point::UserExit
                    | Point::Hypercall
                    | Point::HypervHypercall
                    | Point::Message => {
                        if has_exits {
                            continue;
                        }
                        point.name().to_owned()
                    }
                };
                let is_initiator = event.vcpu.is_some() && event.vcpu == round.initiator;
                exits.entry((Source::Kernel, name)).or_default().add(is_initiator, 1);
            }
        }
        if !exits.is_empty() {
            break;
        }
    }
    exits
}

/// What both readings have, by what it has risen.
fn difference(before: &Exits, after: &Exits) -> Exits {
    let risen = |(key, count): (&(Source, String), &ExitCount)| {
        let earlier = before.get(key)?;
        let initiator = count.initiator.saturating_sub(earlier.initiator);
        Some((key.clone(), ExitCount { initiator, targets: count.targets.saturating_sub(earlier.targets) }))
    };
    after.iter().filter_map(risen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_some_vcpus_are_none_of_all() {
        let read = |halts| Some(BTreeMap::from([("halt_exits", halts)]));
        let whole = of_all([(Part::Calls, read(1)), (Part::IsCalled, read(3)), (Part::IsCalled, read(4))].into_iter());
        let halts = (Source::Stats, "halt_exits".to_owned());
        assert_eq!(whole, Exits::from([(halts, ExitCount { initiator: 1, targets: 7 })]));
        let partial = [(Part::Calls, read(1)), (Part::IsCalled, read(3)), (Part::IsCalled, None)];
        assert_eq!(of_all(partial.into_iter()), Exits::new());
        assert_eq!(difference(&Exits::new(), &whole), Exits::new(), "nobody knows how far they had risen before");
    }
}
