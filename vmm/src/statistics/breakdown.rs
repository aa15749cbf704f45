//! Where the time of many calls went: what is kept of each recorded round, and the stages of all.

use crate::events::event::EventKind;
use crate::events::kernel::Point;
use crate::events::recording::Recording;
use crate::events::samples::{Block, Round};
use crate::events::stays::Keep;
use crate::results::source::Source;
use crate::results::stage::{Accelerated, Breakdown, Stage, StageCost};
use crate::statistics::digest::{Digest, Precision};
use crate::statistics::metrics::nanoseconds;
use crate::statistics::stages::{self, Path, STAGES};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

/// The ways through many calls, and what their sends cost in exits.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    precision: Precision,
    calls: u64,
    /// The rounds that these are of.
    rounds: u64,
    round_trips: i128,
    /// What the stages cost in calls that have the same ones.
    costs: BTreeMap<[bool; STAGES], [Cost; STAGES]>,
    sources: BTreeSet<Source>,
    sends: u64,
    sends_without_exit: u64,
    /// KVM's tracepoints have said something, and nothing that they said was lost.
    can_tell: bool,
}

/// What a stage cost many calls, in cycles.
#[derive(Debug, Clone)]
struct Cost {
    sum: i128,
    each: Digest,
}

impl Ways {
    /// Without a call; what stages cost is kept so.
    pub fn new(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }

    /// Adds a block's rounds. `sends` says whether a call of this kind sends an interrupt from the guest.
    pub fn add(&mut self, block: &Block, sends: bool) {
        let mut of_block = Self {
            calls: block.rounds.len() as u64,
            rounds: block.whole_rounds(),
            sources: sources(block.recording),
            can_tell: sends && block.recording.kernel && block.lost == 0,
            ..Self::new(self.precision)
        };
        if of_block.can_tell {
            of_block.can_tell = block.rounds.iter().any(is_seen_by_kvm);
            of_block.sends = block.rounds.len() as u64;
            of_block.sends_without_exit = block.rounds.iter().filter(|round| !exits_to_send(round)).count() as u64;
        }
        of_block.add_costs(&block.rounds);
        self.merge(&of_block);
    }

    fn add_costs(&mut self, rounds: &[Round]) {
        let mut of_calls: BTreeMap<[bool; STAGES], [Vec<i128>; STAGES]> = BTreeMap::new();
        for path in rounds.iter().map(Path::critical) {
            self.round_trips += path.round_trip();
            let stages = path.stages();
            // A call that had all stages that others of its kind have.
            let (of_path, _) = path.costs(stages);
            let costs = of_calls.entry(stages).or_default();
            costs.iter_mut().zip(of_path).for_each(|(costs, cost)| costs.extend(cost));
        }
        for (stages, costs) in of_calls {
            for (all, costs) in self.costs_of(stages).iter_mut().zip(costs) {
                all.sum += costs.iter().sum::<i128>();
                all.each.add(costs.iter().map(|&cost| cost as f64));
            }
        }
    }

    /// Adds other blocks'.
    pub fn merge(&mut self, other: &Self) {
        self.can_tell = if self.calls == 0 { other.can_tell } else { self.can_tell && other.can_tell };
        self.calls += other.calls;
        self.rounds += other.rounds;
        self.round_trips += other.round_trips;
        self.sources.extend(&other.sources);
        self.sends += other.sends;
        self.sends_without_exit += other.sends_without_exit;
        for (&stages, costs) in &other.costs {
            for (all, cost) in self.costs_of(stages).iter_mut().zip(costs) {
                all.sum += cost.sum;
                all.each.merge(&cost.each);
            }
        }
    }

    /// What calls of these stages have cost up to now.
    fn costs_of(&mut self, stages: [bool; STAGES]) -> &mut [Cost; STAGES] {
        let precision = self.precision;
        let new = || std::array::from_fn(|_| Cost { sum: 0, each: Digest::new(precision) });
        self.costs.entry(stages).or_insert_with(new)
    }

    /// The stages of all of them; `None` if there are none.
    pub fn breakdown(&self, khz: NonZeroU64) -> Option<Breakdown> {
        let calls = NonZeroU64::new(self.calls)?;
        let mut offered = [false; STAGES];
        self.costs.keys().for_each(|stages| offered.iter_mut().zip(stages).for_each(|(all, one)| *all |= one));
        let mut costs: [Vec<&Cost>; STAGES] = Default::default();
        for (&stages, of_calls) in &self.costs {
            let is_told = stages::told(stages, offered);
            let told = costs.iter_mut().zip(of_calls).zip(is_told).filter(|(_, is_told)| *is_told);
            told.for_each(|((costs, cost), _)| costs.push(cost));
        }
        let told: i128 = costs.iter().flatten().map(|cost| cost.sum).sum();
        let mean = |sum: i128| nanoseconds(sum as f64, khz) / calls.get() as f64;
        let stages = Stage::OF_ROUND_TRIP.iter().zip(&costs).filter_map(|(stage, costs)| {
            let summary = Digest::sample(costs.iter().map(|cost| (0, &cost.each)))?.summary();
            Some(StageCost {
                stage: *stage,
                n: summary.n as u64,
                mean_ns: mean(costs.iter().map(|cost| cost.sum).sum()),
                min_ns: nanoseconds(summary.min, khz),
                p50_ns: nanoseconds(summary.p50, khz),
                max_ns: nanoseconds(summary.max, khz),
            })
        });
        Some(Breakdown {
            sources: self.sources.iter().copied().collect(),
            rounds: self.rounds,
            stages: stages.collect(),
            remainder_ns: mean(self.round_trips - told),
            round_trip_ns: mean(self.round_trips),
            accelerated: self.can_tell.then_some(Accelerated { sends: self.sends_without_exit, of: self.sends }),
            parts: Vec::new(),
        })
    }
}

fn sources(recording: Recording) -> BTreeSet<Source> {
    let vmm = (recording.stays == Keep::Everything).then_some(Source::Vmm);
    let kernel = recording.kernel.then_some(Source::Kernel);
    [Some(Source::Guest), vmm, kernel].into_iter().flatten().collect()
}

fn is_seen_by_kvm(round: &Round) -> bool {
    let scheduler = [Point::Waking, Point::Switch];
    round.trace.iter().any(|event| matches!(event.kind, EventKind::Kernel(point, _) if !scheduler.contains(&point)))
}

/// Whether the initiator left the guest between t0 and t1, for another reason than a host's interrupt.
fn exits_to_send(round: &Round) -> bool {
    round.trace.iter().filter(|event| event.vcpu == round.initiator).any(|event| {
        let is_during = (round.t0..=round.t1).contains(&event.tsc);
        is_during
            && match event.kind {
                EventKind::Kernel(Point::Exit, [reason, isa, _]) => !is_host_interrupt(reason, isa),
                EventKind::Kernel(Point::Entry | Point::Waking | Point::Switch | Point::Wakeup, _) => false,
                EventKind::Kernel(..) | EventKind::Return(..) => true,
                _ => false,
            }
    })
}

/// External interrupts and NMIs (SDM Vol. 3D appendix C; APM Vol. 2 appendix C: VMEXIT_INTR, VMEXIT_NMI). KVM_ISA_VMX is 1.
fn is_host_interrupt(reason: u64, isa: u64) -> bool {
    const VMX: u64 = 1;
    if isa == VMX { reason & 0xFFFF <= 1 } else { matches!(reason, 0x60 | 0x61) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::Event;
    use crate::events::timeline::of_round;

    fn block(events: &[Event]) -> Block {
        let mut round = crate::events::timeline::tests::round();
        round.trace = of_round(&round, events, None);
        Block { rounds: vec![round], recording: Recording::EVERYTHING, ..Block::default() }
    }

    fn exit(tsc: u64, reason: u64) -> Event {
        let kind = EventKind::Kernel(Point::Exit, [reason, 2, 0]);
        Event { tsc, vcpu: Some(0), about: None, kind }
    }

    const KHZ: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();

    fn accelerated(blocks: &[Block]) -> Option<Accelerated> {
        let mut ways = Ways::default();
        for block in blocks {
            ways.add(block, true);
        }
        ways.breakdown(KHZ)?.accelerated
    }

    #[test]
    fn a_send_is_accelerated_if_nothing_left_the_guest_for_it() {
        const MSR: u64 = 0x7C;
        const INTERRUPT: u64 = 0x60;
        let of = |events: &[Event]| accelerated(&[block(events)]).map(|accelerated| accelerated.sends);
        assert_eq!(of(&[exit(1050, MSR)]), Some(0));
        assert_eq!(of(&[exit(1050, INTERRUPT)]), Some(1), "the host's own");
        assert_eq!(of(&[exit(1150, MSR)]), Some(1), "after the send");
        assert_eq!(of(&[]), None, "KVM's tracepoints are silent");
        let lossy = Block { lost: 1, ..block(&[exit(1050, MSR)]) };
        assert_eq!(accelerated(&[block(&[exit(1150, MSR)]), lossy]), None);
    }

    #[test]
    fn means_add_up_to_the_round_trip() {
        let mut ways = Ways::default();
        ways.add(&block(&[exit(1050, 0x7C)]), true);
        ways.add(&block(&[]), true);
        let breakdown = ways.breakdown(KHZ).unwrap();
        let sum: f64 = breakdown.stages.iter().map(|stage| stage.mean_ns).sum();
        assert_eq!(breakdown.rounds, 2);
        assert!((sum + breakdown.remainder_ns - breakdown.round_trip_ns).abs() < 1e-9);
        assert!((breakdown.remainder_ns - 150.0).abs() < 1e-9, "the second lacks the send's exit");
        assert!(Ways::default().breakdown(KHZ).is_none());
    }
}
