//! Where a call's time goes: the way from the send, over the target that arrives last, to the last completion, cut into
//! stages.
//!
//! A stage ends at a checkpoint and begins at the one before it. The guest's own stamps are always there; those in between
//! are where some source saw them. The stages and the remainder of a round add up to its round trip, exactly, in cycles:
//! the differences telescope. Nothing is clamped: a stage may be negative, by the clocks' error, or where what it begins with
//! was written down late: KVM says that an interrupt was accepted when a target that polls has left already.

use crate::events::exit::ExitKind;
use crate::events::kernel::Point;
use crate::events::samples::Round;
use crate::events::timeline::{Event, What};
use guest_stub::abi::VECTOR_IPI;

/// A stage, named by the checkpoint that it ends at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The initiator's send has left the guest.
    SendExit,
    /// The last target's local APIC has accepted the interrupt.
    Accept,
    /// The last target's thread was woken, or taken out of the guest. A target that polls for interrupts needs none.
    Kick,
    /// The last target is entered, or handed the interrupt, for the last time before it takes it.
    Entry,
    /// The last target's interrupt entry has begun: max a.
    Arrival,
    /// The last worker begins: max w.
    Gate,
    /// The last worker has ended: max x.
    Worker,
    /// The initiator has seen every completion: t2.
    Done,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 8] =
        [Self::SendExit, Self::Accept, Self::Kick, Self::Entry, Self::Arrival, Self::Gate, Self::Worker, Self::Done];

    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendExit => "send exit",
            Self::Accept => "IPI accepted",
            Self::Kick => "kick",
            Self::Entry => "entry",
            Self::Arrival => "interrupt entry",
            Self::Gate => "gate",
            Self::Worker => "worker",
            Self::Done => "done",
        }
    }
}

/// A way through a call: from its send to its end over one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The target; `None`: the call had none.
    pub target: Option<usize>,
    /// The send.
    pub t0: u64,
    /// When each of [`Stage::ALL`] had ended.
    pub ends: [Option<u64>; Stage::ALL.len()],
    /// The target's EOI, which nobody waits for.
    pub eoi: Option<u64>,
    /// The target's return to the guest after it.
    pub back: Option<u64>,
}

impl Path {
    /// The way over the target that arrived last.
    pub fn critical(round: &Round) -> Self {
        let last = round.targets().max_by_key(|(_, a)| *a);
        let (w, x) = (round.participants.iter().map(|each| each.w), round.participants.iter().map(|each| each.x));
        Self::trace(round, last, w.max(), x.max())
    }

    /// The way over `target`.
    pub fn over(round: &Round, target: usize) -> Self {
        let participant = round.participants.iter().find(|each| each.vcpu == target);
        let arrival = participant.and_then(|each| Some((target, each.a?)));
        Self::trace(round, arrival, participant.map(|each| each.w), participant.map(|each| each.x))
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
            let end = round.participants.iter().find(|each| each.vcpu == target).map_or(round.t2, |each| each.x);
            let after =
                |from: u64| round.trace.iter().filter(move |event| event.vcpu == Some(target) && event.tsc >= from);
            path.eoi = after(end).find(|event| event.what.is_eoi()).map(|event| event.tsc);
            path.back = path.eoi.and_then(|eoi| after(eoi).find(|event| event.what.is_entry()).map(|event| event.tsc));
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

    /// What each of [`Stage::ALL`] cost, in cycles, where `offered` says which stages these calls have, and what is left.
    /// A stage is `None` where this call lacks it, or its beginning: that time is in the remainder. A call without a kick
    /// did not need one, and its next stage begins where the kick would have.
    pub fn costs(&self, offered: [bool; Stage::ALL.len()]) -> ([Option<i128>; Stage::ALL.len()], i128) {
        let mut costs = [None; Stage::ALL.len()];
        let mut begin = Some(self.t0);
        for (index, cost) in costs.iter_mut().enumerate().filter(|(index, _)| offered[*index]) {
            let end = self.ends[index];
            if end.is_none() && index == Stage::Kick as usize {
                continue;
            }
            *cost = begin.zip(end).map(|(begin, end)| i128::from(end) - i128::from(begin));
            begin = end;
        }
        let remainder = self.round_trip() - costs.iter().flatten().sum::<i128>();
        (costs, remainder)
    }
}

/// Which stages some of these calls have.
pub fn offered<'a>(paths: impl Iterator<Item = &'a Path>) -> [bool; Stage::ALL.len()] {
    paths.fold([false; Stage::ALL.len()], |offered, path| {
        std::array::from_fn(|index| offered[index] || path.ends[index].is_some())
    })
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
        let exit = lane().rfind(|event| matches!(event.what, What::Kernel(Point::Exit, _)));
        let vmm = lane().rfind(|event| matches!(event.what, What::Return(..)) && event.what.is_send());
        // A KVM without the tracepoint shows at its first emulated access that the guest was left.
        let emulated = |point| {
            matches!(point, Point::Ipi | Point::Apic | Point::Msr | Point::Mmio | Point::Hypercall | Point::Message)
        };
        let other = || lane().find(|event| matches!(event.what, What::Kernel(point, _) if emulated(point)));
        exit.or(vmm).or_else(other).map(|event| event.tsc)
    }

    /// The target's local APIC takes the interrupt: KVM's, or the VMM's.
    fn accept(&self) -> Option<u64> {
        let is_call = |values: [u64; 3]| {
            const NMI: u64 = 4;
            values[1] == u64::from(VECTOR_IPI) || values[2] >> 8 & 7 == NMI
        };
        let kernel = self.events.iter().find(|event| {
            let accepted = matches!(event.what, What::Kernel(Point::Accept, values) if is_call(values));
            accepted && event.about == Some(self.target) && (self.t0..=self.a).contains(&event.tsc)
        });
        let served = || {
            self.within(self.initiator, self.t0, self.a)
                .rfind(|event| matches!(event.what, What::Served(..)) && event.what.is_send())
        };
        kernel.or_else(served).map(|event| event.tsc)
    }

    fn kick(&self, from: u64, to: u64) -> Option<u64> {
        let woken = self.events.iter().find(|event| {
            let woken = matches!(event.what, What::Kernel(Point::Waking, _));
            woken && event.about == Some(self.target) && (from..=to).contains(&event.tsc)
        });
        let left = self.within(Some(self.target), from, to).find(|event| match event.what {
            What::Kernel(Point::Exit, _) => true,
            What::Return(exit) => exit.kind == ExitKind::Interrupted,
            _ => false,
        });
        woken.into_iter().chain(left).map(|event| event.tsc).min()
    }

    fn entry(&self, from: u64) -> Option<u64> {
        let lane = || self.within(Some(self.target), from, self.a);
        let kernel = lane().rfind(|event| matches!(event.what, What::Kernel(Point::Entry, _)));
        let handed = || lane().rfind(|event| event.what.is_early_eoi());
        let vmm = || lane().rfind(|event| event.what == What::Enter);
        kernel.or_else(handed).or_else(vmm).map(|event| event.tsc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::exit::Exit;
    use crate::events::timeline::of_round;
    use crate::events::timeline::tests::{event, participant, round};
    use proptest::prelude::*;

    fn kernel(point: Point, values: [u64; 3]) -> What {
        What::Kernel(point, values)
    }

    fn about(event: Event, vcpu: usize) -> Event {
        Event { about: Some(vcpu), ..event }
    }

    /// What a stock kernel shows of a call to a halted target.
    fn stock() -> Vec<Event> {
        vec![
            event(1020, 0, kernel(Point::Exit, [0x7C, 2, 0])),
            event(1030, 0, kernel(Point::Ipi, [0xC_40E1, 0, 0])),
            about(event(1040, 0, kernel(Point::Accept, [1, 0xE1, 0])), 1),
            about(event(1050, 0, kernel(Point::Waking, [71, 0, 0])), 1),
            event(1090, 0, kernel(Point::Entry, [0; 3])),
            event(1250, 1, kernel(Point::Entry, [1, 0, 0])),
            event(1540, 1, kernel(Point::Exit, [0x7C, 2, 0])),
            event(1550, 1, kernel(Point::Eoi, [0xE1, 1, 0])),
            event(1570, 1, kernel(Point::Entry, [1, 0, 0])),
        ]
    }

    fn traced(events: &[Event]) -> Round {
        let mut round = round();
        round.trace = of_round(&round, events, None);
        round
    }

    fn costs(path: &Path) -> (Vec<(&'static str, i128)>, i128) {
        let (costs, remainder) = path.costs(offered(std::iter::once(path)));
        let named = Stage::ALL.iter().zip(costs).filter_map(|(stage, cost)| Some((stage.name(), cost?)));
        (named.collect(), remainder)
    }

    #[test]
    fn a_stock_kernels_events_name_every_stage() {
        let path = Path::critical(&traced(&stock()));
        let (stages, remainder) = costs(&path);
        assert_eq!(
            stages,
            [
                ("send exit", 20),
                ("IPI accepted", 20),
                ("kick", 10),
                ("entry", 200),
                ("interrupt entry", 50),
                ("gate", 100),
                ("worker", 120),
                ("done", 80)
            ]
        );
        assert_eq!((remainder, path.round_trip(), path.target), (0, 600, Some(1)));
        assert_eq!((path.eoi, path.back), (Some(1550), Some(1570)));
    }

    #[test]
    fn the_guests_stamps_alone_add_up_too() {
        let (stages, remainder) = costs(&Path::critical(&traced(&[])));
        assert_eq!(stages, [("interrupt entry", 300), ("gate", 100), ("worker", 120), ("done", 80)]);
        assert_eq!(remainder, 0);
    }

    #[test]
    fn a_kvm_that_hands_over_without_an_entry_has_the_stage_all_the_same() {
        let events = [
            event(1030, 0, kernel(Point::Ipi, [0xC_40E1, 0, 0])),
            about(event(1040, 0, kernel(Point::Accept, [1, 0xE1, 0])), 1),
            event(1200, 1, kernel(Point::Eoi, [0xE1, 1, 0])),
        ];
        let path = Path::critical(&traced(&events));
        assert_eq!((path.end(Stage::SendExit), path.end(Stage::Entry)), (Some(1030), Some(1200)));
    }

    #[test]
    fn the_user_space_apic_is_seen_from_the_vmm() {
        let write = |register| Exit::with(ExitKind::ApicWrite, register);
        let events = [
            event(1020, 0, What::Return(write(0x300))),
            event(1060, 0, What::Served(write(0x300))),
            event(1070, 0, What::Enter),
            event(1080, 1, What::Return(ExitKind::Interrupted.into())),
            event(1200, 1, What::Enter),
            event(1540, 1, What::Return(write(0xB0))),
            event(1545, 1, What::Enter),
        ];
        let path = Path::critical(&traced(&events));
        let ends = [Stage::SendExit, Stage::Accept, Stage::Kick, Stage::Entry].map(|stage| path.end(stage));
        assert_eq!(ends, [Some(1020), Some(1060), Some(1080), Some(1200)]);
        assert_eq!((path.eoi, path.back), (Some(1540), Some(1545)));
    }

    #[test]
    fn what_one_call_lacks_is_its_remainder() {
        let whole = Path::critical(&traced(&stock()));
        let without_entry: Vec<Event> = stock().into_iter().filter(|event| event.tsc != 1250).collect();
        let lacking = Path::critical(&traced(&without_entry));
        let (costs, remainder) = lacking.costs(offered([&whole, &lacking].into_iter()));
        assert_eq!((costs[Stage::Entry as usize], costs[Stage::Arrival as usize]), (None, None));
        assert_eq!(remainder, 250, "from the kick to the arrival");
    }

    #[test]
    fn each_target_has_a_way_of_its_own() {
        let mut round = round();
        round.participants.push(participant(2, Some(1200), 1395, 1510));
        let (early, late) = (Path::over(&round, 2), Path::critical(&round));
        assert_eq!((early.end(Stage::Arrival), early.end(Stage::Gate)), (Some(1200), Some(1395)));
        assert_eq!((late.target, late.end(Stage::Gate)), (Some(1), Some(1400)));
        assert_eq!(Path::over(&round, 9).target, None);
    }

    proptest! {
        /// The accounting identity, for senseless stamps and events too.
        #[test]
        fn stages_and_remainder_are_the_round_trip(
            stamps in proptest::collection::vec(any::<u64>(), 9),
            times in proptest::collection::vec(any::<u64>(), 9),
            kept in proptest::collection::vec(any::<bool>(), 9),
            offered in proptest::array::uniform8(any::<bool>()),
        ) {
            let mut round = Round {
                generation: 1,
                initiator: Some(0),
                t0: stamps[0],
                t1: stamps[1],
                t2: stamps[2],
                participants: vec![
                    participant(0, None, stamps[3], stamps[4]),
                    participant(1, Some(stamps[5]), stamps[6], stamps[7]),
                ],
                trace: Vec::new(),
            };
            let mut events: Vec<Event> = stock();
            for ((event, time), kept) in events.iter_mut().zip(times).zip(kept) {
                event.tsc = if kept { time } else { event.tsc };
            }
            events.sort_by_key(|event| event.tsc);
            round.trace = of_round(&round, &events, Some(stamps[8]));
            let path = Path::critical(&round);
            let (costs, remainder) = path.costs(offered);
            prop_assert_eq!(costs.iter().flatten().sum::<i128>() + remainder, path.round_trip());
        }
    }
}
