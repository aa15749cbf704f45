//! One broadcast call's events from every source, in order, on the common clock.

use super::clock::CommonClock;
use super::event::{Event, EventKind};
use super::exit::ExitKind;
use super::kernel::{Point, Record};
use super::samples::{Participant, Round};
use super::stays::Stay;
use std::collections::BTreeMap;

/// What was recorded of a block outside of the guest.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Each vCPU's stays in the guest.
    pub stays: &'a [Vec<Stay>],
    /// The kernel's events.
    pub kernel: &'a [Record],
    /// The vCPUs' threads.
    pub threads: &'a BTreeMap<u32, usize>,
    /// What brings them onto one clock.
    pub clock: &'a CommonClock,
}

impl Recorded<'_> {
    /// All of it by time. Every stamp is the host's, on whichever thread it was taken.
    pub fn merge(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (vcpu, stays) in self.stays.iter().enumerate() {
            let mut add = |tsc: u64, kind| {
                events.push(Event { tsc: self.clock.of_host(tsc), vcpu: Some(vcpu), about: None, kind });
            };
            for stay in stays {
                if stay.entered != 0 {
                    add(stay.entered, EventKind::Enter);
                }
                add(stay.returned, EventKind::Return(stay.exit));
                if matches!(stay.exit.kind, ExitKind::ApicRead | ExitKind::ApicWrite | ExitKind::Msr) {
                    add(stay.served, EventKind::Served(stay.exit));
                }
            }
        }
        events.extend(self.kernel.iter().filter_map(|event| self.place(event)));
        // Stable: what a source saw at one time stays in its order.
        events.sort_by_key(|event| event.tsc);
        events
    }

    /// A kernel event on its lane; `None`: it tells about threads that nobody asked about.
    fn place(&self, event: &Record) -> Option<Event> {
        let thread = |id: u64| u32::try_from(id).ok().and_then(|id| self.threads.get(&id).copied());
        let [first, second, _] = event.values;
        let (vcpu, about) = match event.point {
            // Whoever wakes a vCPU's thread: an interrupt handler may do so on any thread's time.
            Point::Waking => (thread(event.thread.into()), Some(thread(first)?)),
            Point::Switch => match (thread(first), thread(second)) {
                (None, None) => return None,
                (from, to) => (from.or(to), to),
            },
            // KVM numbers processors by their APIC ids, which are the indices in a machine that is traced.
            Point::Accept => (thread(event.thread.into()), usize::try_from(first).ok()),
            _ => (thread(event.thread.into()), None),
        };
        Some(Event {
            tsc: self.clock.of_host(event.tsc),
            vcpu,
            about,
            kind: EventKind::Kernel(event.point, event.values),
        })
    }
}

/// A participant's end of the call: its return from the interrupt, after its EOI, as far as anybody saw them. `None`: a ping
/// ends for its sender when it has seen the arrival.
fn end_of(participant: &Participant, events: &[Event]) -> Option<u64> {
    let of_lane = |from: u64| {
        let first = events.partition_point(|event| event.tsc < from);
        events[first..].iter().filter(|event| event.vcpu == Some(participant.vcpu))
    };
    let own = participant.x.or(participant.a)?;
    let Some(eoi) = of_lane(own).find(|event| event.kind.is_eoi()) else { return Some(own) };
    let back = of_lane(eoi.tsc).find(|event| event.kind.is_entry());
    // Only the very next thing: a later entry has another reason.
    let left_again = |event: &Event| matches!(event.kind, EventKind::Return(..) | EventKind::Kernel(Point::Exit, _));
    let left = of_lane(eoi.tsc).find(|event| event.tsc > eoi.tsc && left_again(event));
    Some(match (back, left) {
        (Some(back), Some(left)) if left.tsc < back.tsc => eoi.tsc,
        (Some(back), _) => back.tsc,
        (None, _) => eoi.tsc,
    })
}

/// One call's events by time, from its send until its last participant is back, or the next call begins at `until`.
pub fn of_round(round: &Round, events: &[Event], until: Option<u64>) -> Vec<Event> {
    let at = |tsc: u64| events.partition_point(|event| event.tsc < tsc);
    let first = at(round.t0);
    let last = until.map_or(events.len(), at).max(first);
    // An interrupt that is sent when all is done, to get halted vCPUs to look up, belongs to no call.
    let after = at(round.t2).clamp(first, last);
    let next_send = events[after..last].iter().position(|event| event.kind.is_send());
    let during = &events[first..next_send.map_or(last, |position| after + position)];
    let ends = round.participants.iter().filter_map(|participant| end_of(participant, during));
    let end = ends.fold(round.t2, u64::max);
    let mut timeline: Vec<Event> = during.iter().take_while(|event| event.tsc <= end).copied().collect();
    timeline.extend(stamps(round));
    timeline.sort_by_key(|event| event.tsc);
    timeline
}

/// The guest's own stamps of a round as events.
fn stamps(round: &Round) -> Vec<Event> {
    let initiator = round.initiator;
    let event = |tsc, vcpu, kind| Event { tsc, vcpu, about: None, kind };
    let mut events = vec![
        event(round.t0, initiator, EventKind::Send),
        event(round.t1, initiator, EventKind::Sent),
        event(round.t2, initiator, EventKind::Completed),
    ];
    for &Participant { vcpu, a, w, x, .. } in &round.participants {
        events.extend(a.map(|a| event(a, Some(vcpu), EventKind::Arrival)));
        events.extend(w.map(|w| event(w, Some(vcpu), EventKind::WorkerStart)));
        events.extend(x.map(|x| event(x, Some(vcpu), EventKind::WorkerEnd)));
    }
    events
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::events::clock;
    use crate::events::event::ICR;
    use crate::events::exit::Exit;
    use crate::results::source::Source;

    pub(crate) fn participant(vcpu: usize, a: Option<u64>, w: u64, x: u64) -> Participant {
        Participant { vcpu, a, halted: None, w: Some(w), x: Some(x), vmm: None, back: None }
    }

    /// A call of vCPU 0 to vCPU 1: send 1000, arrival 1300, gate 1400 and 1390, end of the workers 1500, 1520; seen 1600.
    pub(crate) fn round() -> Round {
        Round {
            generation: 1,
            initiator: Some(0),
            t0: 1000,
            t1: 1100,
            t2: 1600,
            participants: vec![participant(0, None, 1390, 1500), participant(1, Some(1300), 1400, 1520)],
            trace: Vec::new(),
        }
    }

    pub(crate) fn event(tsc: u64, vcpu: usize, kind: EventKind) -> Event {
        Event { tsc, vcpu: Some(vcpu), about: None, kind }
    }

    #[test]
    fn every_source_comes_to_one_clock_and_lane() {
        let stay = |entered, returned, exit| Stay { exit, entered, returned, served: returned + 1 };
        let kernel = |tsc, thread, point, values| Record { tsc, thread, point, values };
        let recorded = Recorded {
            stays: &[
                vec![stay(10, 20, Exit::with(ExitKind::ApicWrite, ICR))],
                vec![stay(0, 15, ExitKind::Halt.into())],
            ],
            kernel: &[
                kernel(12, 70, Point::Accept, [1, 0xE1, 0]),
                kernel(13, 99, Point::Waking, [71, 0, 0]),
                kernel(14, 70, Point::Waking, [5, 0, 0]),
                kernel(16, 3, Point::Switch, [3, 4, 0]),
                kernel(17, 3, Point::Switch, [3, 71, 0]),
            ],
            threads: &BTreeMap::from([(70, 0), (71, 1)]),
            clock: &clock::tests::exact(&[100, 1000]),
        };
        let merged = recorded.merge();
        let seen: Vec<_> = merged.iter().map(|event| (event.tsc, event.vcpu, event.about)).collect();
        assert_eq!(
            seen,
            [
                (110, Some(0), None),
                (112, Some(0), Some(1)),
                (113, None, Some(1)),
                (115, Some(1), None),
                (117, Some(1), Some(1)),
                (120, Some(0), None),
                (121, Some(0), None),
            ],
            "every stamp is the host's; threads that are no vCPU's are left out"
        );
        assert!(merged[5].kind.is_send() && merged[6].kind.is_send() && !merged[3].kind.is_send());
    }

    #[test]
    fn a_round_ends_when_everybody_is_back() {
        let eoi = EventKind::Kernel(Point::Apic, [1, 0xB0, 0]);
        let entry = EventKind::Kernel(Point::Entry, [1, 0, 0]);
        let exit = EventKind::Kernel(Point::Exit, [0; 3]);
        let events = [
            event(900, 0, entry),
            event(1200, 1, entry),
            event(1550, 1, exit),
            event(1700, 1, eoi),
            event(1750, 1, entry),
            event(1800, 1, exit),
        ];
        let of_lane = |until| {
            let timeline = of_round(&round(), &events, until);
            timeline.iter().filter(|event| event.kind.source() == Source::Kernel).map(|event| event.tsc).collect()
        };
        let times: Vec<u64> = of_lane(None);
        assert_eq!(times, [1200, 1550, 1700, 1750]);
        let times: Vec<u64> = of_lane(Some(1720));
        assert_eq!(times, [1200, 1550, 1700], "the next call is not this one's");
        let wake = event(1650, 0, EventKind::Kernel(Point::Ipi, [0xC_402F, 0, 0]));
        let timeline = of_round(&round(), &[&events[..3], &[wake], &events[3..]].concat(), None);
        assert_eq!(timeline.last().map(|event| event.tsc), Some(1600), "nor is what another interrupt brings");
    }

    #[test]
    fn without_other_sources_the_stamps_are_the_timeline() {
        let timeline = of_round(&round(), &[], None);
        let times: Vec<u64> = timeline.iter().map(|event| event.tsc).collect();
        assert_eq!(times, [1000, 1100, 1300, 1390, 1400, 1500, 1520, 1600]);
        assert_eq!((timeline[0].kind, timeline[7].kind), (EventKind::Send, EventKind::Completed));
    }
}
