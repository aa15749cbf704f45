//! The calls that are shown, of many rounds, and each as the document describes it.

use super::described_event::{ExitNames, detail, kind};
use crate::events::event::{Event, EventKind};
use crate::events::samples::Round;
use crate::results::stage::Stage;
use crate::results::trace::{self, Call, Which};
use crate::statistics::metrics::nanoseconds;
use crate::statistics::order::Quantile;
use crate::statistics::stages::Path;
use std::num::NonZeroU64;

/// Which rounds are shown, and why: the only one, or the median and the worst.
pub(super) fn choose(rounds: &[&Round]) -> Vec<(Which, usize)> {
    let mut order: Vec<usize> = (0..rounds.len()).collect();
    order.sort_by_cached_key(|&number| Path::critical(rounds[number]).round_trip());
    match order.as_slice() {
        [] => Vec::new(),
        [only] => vec![(Which::Only, *only)],
        [.., worst] => vec![(Which::Median, order[Quantile::P50.rank(order.len()) - 1]), (Which::Worst, *worst)],
    }
}

/// Call `number` of `rounds`, each of which has `at_once`, as it is shown; `which` says why.
pub(super) fn describe(
    which: Which,
    number: usize,
    rounds: &[&Round],
    at_once: usize,
    khz: NonZeroU64,
    exit_names: ExitNames<'_>,
) -> Call {
    let round = rounds[number];
    let after = |tsc: u64, from: u64| nanoseconds((i128::from(tsc) - i128::from(from)) as f64, khz);
    let path = Path::critical(round);
    let (costs, remainder) = path.costs(path.stages());
    let stages = Stage::OF_ROUND_TRIP.into_iter().zip(costs).filter_map(|(stage, cost)| {
        Some(trace::Stage { stage, end_ns: after(path.end(stage)?, round.t0), cost_ns: nanoseconds(cost? as f64, khz) })
    });
    let end = round.participants.iter().find(|each| Some(each.vcpu) == path.target);
    let end = end.and_then(|each| each.x.or(each.a)).unwrap_or(round.t2);
    let mut afterwards = Vec::new();
    let mut begin = end;
    for (stage, time) in [(Stage::Eoi, path.eoi), (Stage::Return, path.back)] {
        let Some(time) = time else { continue };
        let (end_ns, cost_ns) = (after(time, round.t0), after(time, begin));
        afterwards.push(trace::Stage { stage, end_ns, cost_ns });
        begin = time;
    }
    let mut ends: Vec<(Stage, u64)> =
        Stage::OF_ROUND_TRIP.into_iter().filter_map(|stage| Some((stage, path.end(stage)?))).collect();
    let events = round.trace.iter().map(|event| {
        // The first event at a checkpoint's time, in the lane that it belongs to, is that checkpoint.
        let found = ends.iter().position(|&(stage, end)| end == event.tsc && belongs(stage, event, round, &path));
        let stage = found.map(|index| ends.remove(index).0);
        trace::Event {
            at_ns: after(event.tsc, round.t0),
            vcpu: event.vcpu,
            source: event.kind.source(),
            kind: kind(event.kind).to_owned(),
            detail: detail(event, exit_names),
            about: event.about,
            stage,
        }
    });
    let events = events.collect();
    Call {
        which,
        round: (number / at_once) as u64,
        begin_ns: after(round.t0, rounds[0].t0),
        round_trip_ns: after(round.t2, round.t0),
        last_target: path.target,
        stages: stages.collect(),
        remainder_ns: nanoseconds(remainder as f64, khz),
        afterwards,
        events,
    }
}

/// Whether an event at a stage's end is what the stage ends with.
fn belongs(stage: Stage, event: &Event, round: &Round, path: &Path) -> bool {
    match stage {
        Stage::SendExit => event.vcpu == round.initiator && event.kind != EventKind::Send,
        Stage::Accept => event.about == path.target || matches!(event.kind, EventKind::Served(..)),
        Stage::Kick => event.about == path.target || event.vcpu == path.target,
        Stage::Entry => event.vcpu == path.target && event.kind.source() != EventKind::Send.source(),
        Stage::Arrival => event.vcpu == path.target && event.kind == EventKind::Arrival,
        Stage::Gate => event.kind == EventKind::WorkerStart,
        Stage::Worker => event.kind == EventKind::WorkerEnd,
        Stage::Done => event.kind == EventKind::Completed,
        // Not of the way to the last completion.
        Stage::Eoi | Stage::Return => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::kernel::Point;
    use crate::events::timeline::of_round;
    use crate::events::timeline::tests::{event, round};

    const KHZ: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();

    fn traced(t2: u64) -> Round {
        let mut round = Round { t2, ..round() };
        let events = [
            event(1020, 0, EventKind::Kernel(Point::Exit, [0x7C, 2, 0])),
            Event { about: Some(1), ..event(1040, 0, EventKind::Kernel(Point::Accept, [1, 0xE1, 0])) },
            event(1250, 1, EventKind::Kernel(Point::Entry, [1, 0, 0])),
            event(1540, 1, EventKind::Kernel(Point::Eoi, [0xE1, 1, 0])),
            event(1560, 1, EventKind::Kernel(Point::Entry, [1, 0, 0])),
        ];
        round.trace = of_round(&round, &events, None);
        round
    }

    #[test]
    fn the_median_and_the_worst_are_shown_and_one_is_the_only_one() {
        let rounds = [traced(1700), traced(1600), traced(1900), traced(1650)];
        let all: Vec<&Round> = rounds.iter().collect();
        assert_eq!(choose(&all), [(Which::Median, 3), (Which::Worst, 2)]);
        assert_eq!(choose(&all[..1]), [(Which::Only, 0)]);
        assert_eq!(choose(&[]), []);
    }

    #[test]
    fn every_stage_is_marked_once_at_its_event() {
        let round = traced(1600);
        let call = describe(Which::Only, 0, &[&round], 1, KHZ, &|_, _| "msr".to_owned());
        let marked: Vec<(f64, &str, &str)> = call
            .events
            .iter()
            .filter_map(|event| Some((event.at_ns, event.stage?.name(), event.detail.as_str())))
            .collect();
        assert_eq!(
            marked,
            [
                (20.0, "send exit", "exit: msr"),
                (40.0, "IPI accepted", "IPI accepted for vCPU 1, vector 0xe1"),
                (250.0, "entry", "entry"),
                (300.0, "interrupt entry", "interrupt entry"),
                (400.0, "gate", "gate open, worker"),
                (520.0, "worker", "worker ended"),
                (600.0, "done", "everybody is done"),
            ]
        );
        let sum: f64 = call.stages.iter().map(|stage| stage.cost_ns).sum();
        assert!((sum + call.remainder_ns - call.round_trip_ns).abs() < 1e-9);
        let then: Vec<(&str, f64)> = call.afterwards.iter().map(|stage| (stage.stage.name(), stage.cost_ns)).collect();
        assert_eq!(then, [("EOI", 20.0), ("return", 20.0)]);
    }
}
