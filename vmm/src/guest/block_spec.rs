//! What a block of rounds is of.

use crate::config::routes;
use crate::config::{self, Call, CellId};
use crate::events::recording::Recording;
use guest_stub::abi::{RING_SAMPLES, TargetState, Worker};
use std::time::Duration;

/// One block of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSpec {
    /// What is measured, on a machine of as many vCPUs.
    pub cell: CellId,
    /// Which vCPU calls, where it is not the host.
    pub initiator: usize,
    /// What runs.
    pub worker: Worker,
    /// With which argument.
    pub argument: u64,
    /// What is recorded besides.
    pub recording: Recording,
    /// Rounds to throw away first.
    pub warmup: usize,
    /// Rounds to measure. With `warmup`, at most [`RING_SAMPLES`].
    pub rounds: usize,
}

/// Who makes the calls of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Initiator {
    Vcpu(usize),
    /// None of the vCPUs: all are targets.
    Host,
}

/// What a vCPU does in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It calls, and may be called, too.
    Calls,
    /// It is in its target state, and called.
    IsCalled,
}

impl Initiator {
    /// The vCPU, if it is one.
    pub(super) fn vcpu(self) -> Option<usize> {
        match self {
            Self::Vcpu(vcpu) => Some(vcpu),
            Self::Host => None,
        }
    }
}

impl BlockSpec {
    /// All rounds, those to throw away included, as far as the sample rings have room.
    pub(super) fn all_rounds(&self) -> usize {
        (self.warmup + self.rounds).min(RING_SAMPLES)
    }

    pub(super) fn initiator(&self) -> Initiator {
        if routes::of(self.cell.route).is_host() { Initiator::Host } else { Initiator::Vcpu(self.initiator) }
    }

    /// The part that a vCPU has in each round; `None`: none.
    pub(super) fn part_of(&self, vcpu: usize) -> Option<Part> {
        let CellId { call, destination, vcpus, .. } = self.cell;
        match (call, self.initiator()) {
            (Call::Broadcast, initiator) if initiator == Initiator::Vcpu(vcpu) => Some(Part::Calls),
            (Call::Broadcast, _) => Some(Part::IsCalled),
            (Call::Ping, _) => {
                let mut senders = destination.senders(self.initiator, vcpus);
                if senders.contains(&vcpu) {
                    return Some(Part::Calls);
                }
                let is_pinged = senders.any(|sender| destination.pinged_by(sender, vcpus) == Some(vcpu));
                is_pinged.then_some(Part::IsCalled)
            }
        }
    }

    /// How many vCPUs each send of a whole call interrupts.
    pub(super) fn interrupted(&self) -> usize {
        match self.cell.call {
            Call::Broadcast => self.cell.destination.targets(self.initiator().vcpu(), self.cell.vcpus).count(),
            Call::Ping => 1,
        }
    }

    /// Time between the targets' readiness, or their HLT where they are halted, and the send: `least`, if the cell does not ask for a
    /// time in HLT.
    pub(crate) fn settle(&self, least: Duration) -> Duration {
        self.cell.idle_before_us.map_or(least, |time| Duration::from_micros(time.into()))
    }

    /// Whether it is marked when the rounds that count begin, and when they have ended, to read what the vCPUs' threads had of the
    /// CPUs meanwhile. Not where events are recorded, among which the exits for it would be; nor where several call at once, and
    /// begin and end at different times.
    pub(super) fn is_marked(&self) -> bool {
        !self.recording.has_events() && config::at_once(&self.cell) == 1
    }

    /// Whether KVM's counters of wake-ups are read at the marks, too.
    pub(super) fn counts_wakeups(&self) -> bool {
        self.is_marked() && self.recording.stats && self.cell.target_state == TargetState::Halt
    }

    /// Whether each worker begins with an exit.
    pub(super) fn is_observed(&self) -> bool {
        self.cell.observe == config::Observe::Exits
    }
}
