use super::*;
use crate::events::event::{Event, EventKind};
use crate::events::kernel::Point;
use crate::events::timeline::tests::{event, round};
use crate::results::fixture::exit_cost;

const KHZ: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();
const VMX: u64 = 1;

fn parts(events: &[Event], x2apic: bool) -> Parts {
    let mut parts = Parts::default();
    parts.add(&Block { rounds: vec![Round { trace: events.to_vec(), ..round() }], x2apic, ..Block::default() });
    parts
}

fn kernel(tsc: u64, vcpu: usize, point: Point, values: [u64; 3]) -> Event {
    event(tsc, vcpu, EventKind::Kernel(point, values))
}

/// Place, act, and how often on the initiator and on the target.
fn exits(events: &[Event], x2apic: bool) -> Vec<(usize, Option<Act>, [u64; 2])> {
    let of_place = |(place, exits): (usize, BTreeMap<Kind, [u64; 2]>)| {
        exits.into_iter().map(move |(kind, counts)| (place, kind.act(), counts)).collect::<Vec<_>>()
    };
    parts(events, x2apic).exits.into_iter().enumerate().flat_map(of_place).collect()
}

#[test]
fn parts_lie_between_the_guests_stamps_and_add_up_to_the_round_trip() {
    let parts = parts(&[], true);
    assert_eq!(parts.cycles, [300, 100, 120, 80]);
    let priced = parts.priced(&[exit_cost(Act::Nothing, 10.0)], LocalApics::Kernel, KHZ).unwrap();
    assert_eq!(priced.iter().map(|part| part.mean_ns).collect::<Vec<_>>(), [300.0, 100.0, 120.0, 80.0]);
    assert!(priced.iter().all(|part| part.exits.is_empty() && part.explained_ns == 0.0));
    assert!(parts.priced(&[], LocalApics::Kernel, KHZ).is_none(), "no prices");
    assert!(
        parts.priced(&[exit_cost(Act::Nothing, 10.0)], LocalApics::User, KHZ).is_none(),
        "another machine's prices"
    );
}

#[test]
fn exits_are_counted_in_the_part_and_on_the_side_that_they_are_of() {
    let exit = |tsc, vcpu, reason| kernel(tsc, vcpu, Point::Exit, [reason, VMX, 0]);
    let apic = |tsc, vcpu, register| kernel(tsc, vcpu, Point::Apic, [1, register, 0]);
    let events = [exit(1050, 0, 32), apic(1051, 0, 0x300), exit(1550, 1, 32), apic(1551, 1, 0xB0)];
    let found = [(0, Some(Act::IcrX2Apic), [1, 0]), (3, Some(Act::EoiX2Apic), [0, 1])];
    assert_eq!(exits(&events, true), found);
    // A host's interrupt takes the target out.
    assert_eq!(exits(&[exit(1200, 1, 1)], true), [(0, None, [0, 1])]);
    assert_eq!(exits(&[exit(900, 0, 32), exit(1700, 0, 32), exit(1050, 2, 32)], true), [], "not of this call");
}

#[test]
fn an_eoi_before_the_target_has_begun_is_kvms_own() {
    let eoi = |tsc| kernel(tsc, 1, Point::Apic, [1, 0xB0, 0]);
    assert_eq!(exits(&[eoi(1250), eoi(1550)], false), [(3, Some(Act::EoiXApic), [0, 1])]);
}

#[test]
fn what_exits_explain_is_their_number_times_their_mean_without_the_stamps() {
    let icr = [kernel(1050, 0, Point::Exit, [32, VMX, 0]), kernel(1051, 0, Point::Apic, [1, 0x300, 0])];
    let costs = [exit_cost(Act::Nothing, 10.0), exit_cost(Act::IcrX2Apic, 90.0)];
    let parts = parts(&[icr[0], icr[1], kernel(1200, 1, Point::Exit, [1, VMX, 0])], true);
    let priced = parts.priced(&costs, LocalApics::Kernel, KHZ).unwrap();
    assert!((priced[0].explained_ns - 80.0).abs() < 1e-9, "the host's interrupt has no price");
    assert_eq!(priced[0].exits.len(), 2);
    assert!(priced[1].explained_ns.abs() < 1e-9);
}
