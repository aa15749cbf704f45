//! What is recorded of a block besides the guest's own samples, and by whom.

use super::session::{BlockSpec, Error, Machine};
use crate::events::counters::StatsFile;
use crate::events::kernel::{Point, Record, Tracer};
use crate::events::recording::Recording;
use crate::events::samples::{Block, ExitCount, ExitSource, Exits};
use crate::events::stays::{Keep, Stay};
use crate::events::timeline::{self, Recorded, What};
use crate::guest::rounds::Initiator;
use crate::vcpu::kick::current_thread_id;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a block has left behind outside of the guest.
pub(super) struct Left {
    pub(super) exits: Exits,
    pub(super) rings: Vec<Vec<Stay>>,
    pub(super) events: Vec<timeline::Event>,
    lost: u64,
    dropped: u64,
}

/// A recording that is going on.
pub(super) struct Running {
    recording: Recording,
    initiator: Initiator,
    before: Exits,
    dropped: u64,
}

impl Machine<'_> {
    /// From now on, blocks may ask for the kernel's events, which `tracer` records.
    pub fn attach(&mut self, tracer: Arc<Tracer>) {
        self.tracer = Some(tracer);
    }

    /// The name of an exit that the kernel's events tell of.
    pub fn exit_name(&self, reason: u64, isa: u64) -> String {
        self.tracer.as_ref().map_or_else(|| format!("exit {reason:#x}"), |tracer| tracer.exit_name(reason, isa))
    }

    /// Begins to record a block, whose guest has not begun.
    pub(super) fn start_recording(&self, spec: &BlockSpec, initiator: Initiator) -> Result<Running, Error> {
        // Events of the kernel in one round: the initiator's, and each vCPU's own; with what is between the rounds.
        const EVENTS: usize = 60;
        let recording = spec.recording;
        let keep = if spec.observe && recording.stays == Keep::Nothing { Keep::Observed } else { recording.stays };
        for vcpu in 0..self.vcpus() {
            self.vm.ring(vcpu).keep(keep);
        }
        self.drain_rings();
        if let Some(tracer) = self.tracer_of(recording) {
            let mut threads: Vec<u32> = self.threads().into_keys().collect();
            if initiator == Initiator::Host {
                threads.push(current_thread_id());
            }
            tracer.start(&threads, (spec.warmup + spec.rounds) * EVENTS * self.vcpus())?;
        }
        Ok(Running { recording, initiator, before: self.counters(recording, initiator), dropped: self.dropped() })
    }

    /// Ends it, when the guest has done the block.
    pub(super) fn stop_recording(&self, running: Running) -> Result<Left, Error> {
        let Running { recording, initiator, before, dropped } = running;
        let record = self.tracer_of(recording).map(Tracer::stop).transpose()?.unwrap_or_default();
        let exits = difference(&before, &self.counters(recording, initiator));
        let rings = self.drain_rings();
        for vcpu in 0..self.vcpus() {
            self.vm.ring(vcpu).keep(Keep::Observed);
        }
        let events = if recording.has_events() { self.merge(&rings, &record) } else { Vec::new() };
        Ok(Left { exits, rings, events, lost: record.lost, dropped: self.dropped() - dropped })
    }

    fn tracer_of(&self, recording: Recording) -> Option<&Tracer> {
        self.tracer.as_deref().filter(|_| recording.kernel)
    }

    fn merge(&self, stays: &[Vec<Stay>], record: &Record) -> Vec<timeline::Event> {
        let offsets: Vec<i64> = self.vm.tsc().offsets.iter().map(|offset| offset.cycles).collect();
        Recorded { stays, kernel: &record.events, threads: &self.threads(), offsets: &offsets }.merge()
    }

    fn threads(&self) -> BTreeMap<u32, usize> {
        (0..self.vcpus()).filter_map(|vcpu| Some((self.vm.thread_id(vcpu)?, vcpu))).collect()
    }

    /// Stays that found no room, since the machine was made.
    fn dropped(&self) -> u64 {
        (0..self.vcpus()).map(|vcpu| self.vm.ring(vcpu).dropped()).sum()
    }

    pub(super) fn drain_rings(&self) -> Vec<Vec<Stay>> {
        (0..self.vcpus()).map(|vcpu| self.vm.ring(vcpu).drain()).collect()
    }

    /// Adds to a block's result what only its recording knows.
    pub(super) fn complete(&self, block: &mut Block, recording: Recording, left: &Left) {
        block.recording = recording;
        (block.lost, block.dropped) = (left.lost, left.dropped);
        if let Some(tracer) = self.tracer_of(recording) {
            block.exits.extend(kernel_exits(block, tracer));
        }
    }

    /// Every exit counter that is recorded, by source and reason, of the initiator, if it is a vCPU, and of all others.
    fn counters(&self, recording: Recording, initiator: Initiator) -> Exits {
        let mut exits = Exits::new();
        for vcpu in 0..self.vcpus() {
            let mut add = |source, reason: &str, count: u64| {
                let is_initiator = initiator == Initiator::Vcpu(vcpu);
                exits.entry((source, reason.to_owned())).or_default().add(is_initiator, count);
            };
            if recording.counts(ExitSource::Vmm) {
                for (kind, count) in self.vm.ring(vcpu).counts() {
                    add(ExitSource::Vmm, kind.name(), count);
                }
            }
            // Counters that cannot be read are left out; `Vm::stats_error` says why.
            if let Some(Ok(counters)) = self.vm.stats(vcpu).filter(|_| recording.stats).map(StatsFile::read) {
                for (name, count) in counters {
                    add(ExitSource::Stats, name, count);
                }
            }
        }
        exits
    }
}

/// Exits within the calls, as the kernel's tracepoints show them; where this KVM shows none, its other tracepoints.
fn kernel_exits(block: &Block, tracer: &Tracer) -> Exits {
    let mut exits = Exits::new();
    for has_exits in [true, false] {
        for round in &block.rounds {
            for event in &round.trace {
                let What::Kernel(point, [reason, isa, _]) = event.what else { continue };
                let name = match point {
                    Point::Exit if has_exits => tracer.exit_name(reason, isa),
                    Point::Exit | Point::Entry | Point::Accept | Point::Waking | Point::Switch | Point::Wakeup => {
                        continue;
                    }
                    _ if has_exits => continue,
                    _ => point.name().to_owned(),
                };
                let is_initiator = event.vcpu.is_some() && event.vcpu == round.initiator;
                exits.entry((ExitSource::Kernel, name)).or_default().add(is_initiator, 1);
            }
        }
        if !exits.is_empty() {
            break;
        }
    }
    exits
}

fn difference(before: &Exits, after: &Exits) -> Exits {
    after
        .iter()
        .map(|(key, count)| {
            let earlier = before.get(key).copied().unwrap_or_default();
            let initiator = count.initiator.saturating_sub(earlier.initiator);
            (key.clone(), ExitCount { initiator, targets: count.targets.saturating_sub(earlier.targets) })
        })
        .collect()
}
