use super::*;
use crate::events::exit::Exit;
use crate::events::timeline::of_round;
use crate::events::timeline::tests::{event, participant, round};
use proptest::prelude::*;

fn kernel(point: Point, values: [u64; 3]) -> EventKind {
    EventKind::Kernel(point, values)
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
    let (costs, remainder) = path.costs(path.stages());
    let named = Stage::OF_ROUND_TRIP.iter().zip(costs).filter_map(|(stage, cost)| Some((stage.name(), cost?)));
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
        event(1020, 0, EventKind::Return(write(0x300))),
        event(1060, 0, EventKind::Served(write(0x300))),
        event(1070, 0, EventKind::Enter),
        event(1080, 1, EventKind::Return(ExitKind::Interrupted.into())),
        event(1200, 1, EventKind::Enter),
        event(1540, 1, EventKind::Return(write(0xB0))),
        event(1545, 1, EventKind::Enter),
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
    let (costs, remainder) = lacking.costs(whole.stages());
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
