//! Where a call's time goes: the way from the send, over the target that arrives last, to the last completion, cut into
//! stages.
//!
//! A stage ends at a checkpoint and begins at the one before it. The guest's own stamps are always there; those in between
//! are where some source saw them. The stages and the remainder of a round add up to its round trip, exactly, in cycles:
//! the differences telescope. Nothing is clamped: a stage may be negative, by the clocks' error, or where what it begins with
//! was written down late: KVM says that an interrupt was accepted when a target that polls has left already.

use crate::events::event::{Event, EventKind};
use crate::events::exit::ExitKind;
use crate::events::kernel::Point;
use crate::events::samples::{Participant, Round};
use crate::results::stage::Stage;
use guest_stub::abi::{VECTOR_IPI, VECTOR_PING};

/// Stages of a round trip.
pub const STAGES: usize = Stage::OF_ROUND_TRIP.len();

/// A way through a call: from its send to its end over one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The target; `None`: the call had none.
    pub target: Option<usize>,
    /// The send.
    pub t0: u64,
    /// When each of [`Stage::OF_ROUND_TRIP`] had ended.
    pub ends: [Option<u64>; STAGES],
    /// The target's EOI, which nobody waits for.
    pub eoi: Option<u64>,
    /// The target's return to the guest after it.
    pub back: Option<u64>,
}

impl Path {
    /// The way over the target that arrived last.
    pub fn critical(round: &Round) -> Self {
        let last = round.targets().max_by_key(|(_, a)| *a);
        let last_of = |stamp: fn(&Participant) -> Option<u64>| round.participants.iter().filter_map(stamp).max();
        Self::trace(round, last, last_of(|each| each.w), last_of(|each| each.x))
    }

    /// The way over `target`.
    pub fn over(round: &Round, target: usize) -> Self {
        let participant = round.participants.iter().find(|each| each.vcpu == target);
        let arrival = participant.and_then(|each| Some((target, each.a?)));
        Self::trace(round, arrival, participant.and_then(|each| each.w), participant.and_then(|each| each.x))
    }

    fn trace(round: &Round, arrival: Option<(usize, u64)>, gate: Option<u64>, worker: Option<u64>) -> Self {
        let mut path = Self {
            target: arrival.map(|(vcpu, _)| vcpu),
            t0: round.t0,
            ends: [None, None, None, None, arrival.map(|(_, a)| a), gate, worker, Some(round.t2)],
            eoi: None,
            back: None,
        };
        if let Some((target, a)) = arrival {
            Search { events: &round.trace, initiator: round.initiator, target, t0: round.t0, a }.fill(&mut path);
            let end = round.participants.iter().find(|each| each.vcpu == target).and_then(|each| each.x).unwrap_or(a);
            let after =
                |from: u64| round.trace.iter().filter(move |event| event.vcpu == Some(target) && event.tsc >= from);
            path.eoi = after(end).find(|event| event.kind.is_eoi()).map(|event| event.tsc);
            path.back = path.eoi.and_then(|eoi| after(eoi).find(|event| event.kind.is_entry()).map(|event| event.tsc));
        }
        path
    }

    /// When a stage had ended.
    pub fn end(&self, stage: Stage) -> Option<u64> {
        self.ends[stage as usize]
    }

    /// t2 − t0, in cycles.
    pub fn round_trip(&self) -> i128 {
        i128::from(self.end(Stage::Done).unwrap_or(self.t0)) - i128::from(self.t0)
    }

    /// Which of [`Stage::OF_ROUND_TRIP`] it has.
    pub fn stages(&self) -> [bool; STAGES] {
        self.ends.map(|end| end.is_some())
    }

    /// What each of [`Stage::OF_ROUND_TRIP`] cost, in cycles, where `offered` says which stages these calls have, and what is left.
    /// A stage is `None` where this call lacks it, or its beginning: that time is in the remainder. A call without a kick
    /// did not need one, and its next stage begins where the kick would have.
    pub fn costs(&self, offered: [bool; STAGES]) -> ([Option<i128>; STAGES], i128) {
        let mut costs = [None; STAGES];
        let mut begin = self.t0;
        for (index, is_told) in
            told(self.stages(), offered).into_iter().enumerate().filter(|(index, _)| offered[*index])
        {
            let Some(end) = self.ends[index] else { continue };
            costs[index] = is_told.then(|| i128::from(end) - i128::from(begin));
            begin = end;
        }
        let remainder = self.round_trip() - costs.iter().flatten().sum::<i128>();
        (costs, remainder)
    }
}

/// Of which stages a call that has `stages` tells what they cost, among calls that have those that are `offered`: those that it has, and
/// the beginning of.
pub fn told(stages: [bool; STAGES], offered: [bool; STAGES]) -> [bool; STAGES] {
    let mut told = [false; STAGES];
    let mut has_begin = true;
    for (index, is_told) in told.iter_mut().enumerate().filter(|(index, _)| offered[*index]) {
        if !stages[index] && index == Stage::Kick as usize {
            continue;
        }
        *is_told = has_begin && stages[index];
        has_begin = stages[index];
    }
    told
}

/// What other sources saw on the way from a send to an arrival.
struct Search<'a> {
    events: &'a [Event],
    initiator: Option<usize>,
    target: usize,
    t0: u64,
    a: u64,
}

impl Search<'_> {
    /// Adds the checkpoints that were seen in their order: one that comes before its predecessor was another's.
    fn fill(&self, path: &mut Path) {
        let accept = self.accept();
        let send_exit = self.send_exit(accept.unwrap_or(self.a));
        let from = accept.or(send_exit).unwrap_or(self.t0);
        // KVM says that it has accepted an interrupt when it has: a target that polls for one may be on its way already.
        let entry = self.entry(send_exit.unwrap_or(self.t0));
        let kick = self.kick(from, entry.unwrap_or(self.a));
        path.ends[Stage::SendExit as usize] = send_exit;
        path.ends[Stage::Accept as usize] = accept;
        path.ends[Stage::Kick as usize] = kick;
        path.ends[Stage::Entry as usize] = entry;
    }

    /// Events of a lane within these times, both included.
    fn within(&self, vcpu: Option<usize>, from: u64, to: u64) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter().filter(move |event| event.vcpu == vcpu && (from..=to).contains(&event.tsc))
    }

    /// The initiator's last exit before the target's interrupt was accepted, whoever saw it first.
    fn send_exit(&self, accept: u64) -> Option<u64> {
        let lane = || self.within(self.initiator, self.t0, accept);
        let exit = lane().rfind(|event| matches!(event.kind, EventKind::Kernel(Point::Exit, _)));
        let vmm = lane().rfind(|event| matches!(event.kind, EventKind::Return(..)) && event.kind.is_send());
        // A KVM without the tracepoint shows at its first emulated access that the guest was left.
        let emulated = |point| {
            matches!(
                point,
                Point::Ipi
                    | Point::Apic
                    | Point::Msr
                    | Point::Mmio
                    | Point::Hypercall
                    | Point::HypervHypercall
                    | Point::Message
            )
        };
        let other = || lane().find(|event| matches!(event.kind, EventKind::Kernel(point, _) if emulated(point)));
        exit.or(vmm).or_else(other).map(|event| event.tsc)
    }

    /// The target's local APIC takes the interrupt: KVM's, or the VMM's.
    fn accept(&self) -> Option<u64> {
        let is_call = |values: [u64; 3]| {
            const NMI: u64 = 4;
            [VECTOR_IPI, VECTOR_PING].map(u64::from).contains(&values[1]) || values[2] >> 8 & 7 == NMI
        };
        let kernel = self.events.iter().find(|event| {
            let accepted = matches!(event.kind, EventKind::Kernel(Point::Accept, values) if is_call(values));
            accepted && event.about == Some(self.target) && (self.t0..=self.a).contains(&event.tsc)
        });
        let served = || {
            self.within(self.initiator, self.t0, self.a)
                .rfind(|event| matches!(event.kind, EventKind::Served(..)) && event.kind.is_send())
        };
        kernel.or_else(served).map(|event| event.tsc)
    }

    fn kick(&self, from: u64, to: u64) -> Option<u64> {
        let woken = self.events.iter().find(|event| {
            let woken = matches!(event.kind, EventKind::Kernel(Point::Waking, _));
            woken && event.about == Some(self.target) && (from..=to).contains(&event.tsc)
        });
        let left = self.within(Some(self.target), from, to).find(|event| match event.kind {
            EventKind::Kernel(Point::Exit, _) => true,
            EventKind::Return(exit) => exit.kind == ExitKind::Interrupted,
            _ => false,
        });
        woken.into_iter().chain(left).map(|event| event.tsc).min()
    }

    fn entry(&self, from: u64) -> Option<u64> {
        let lane = || self.within(Some(self.target), from, self.a);
        let kernel = lane().rfind(|event| matches!(event.kind, EventKind::Kernel(Point::Entry, _)));
        let handed = || lane().rfind(|event| event.kind.is_early_eoi());
        let vmm = || lane().rfind(|event| event.kind == EventKind::Enter);
        kernel.or_else(handed).or_else(vmm).map(|event| event.tsc)
    }
}

#[cfg(test)]
mod tests;
