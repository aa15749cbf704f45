use super::*;
use crate::events::timeline::tests::{event, round};
use crate::results::fixture::exit_cost;

const KHZ: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();
const VMX: u64 = 1;
const SVM: u64 = 2;

fn parts(events: &[Event], x2apic: bool) -> Parts {
    let mut parts = Parts::default();
    parts.add(&Block { rounds: vec![Round { trace: events.to_vec(), ..round() }], ..Block::default() }, x2apic);
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
fn an_exit_of_hardware_is_the_act_that_exits_so_at_that_place() {
    let exit = |tsc, vcpu, reason, isa| kernel(tsc, vcpu, Point::Exit, [reason, isa, 0]);
    for (wrmsr, isa) in [(32, VMX), (0x7C, SVM)] {
        let events = [exit(1050, 0, wrmsr, isa), exit(1550, 1, wrmsr, isa)];
        let found = [(0, Some(Act::IcrX2Apic), [1, 0]), (3, Some(Act::EoiX2Apic), [0, 1])];
        assert_eq!(exits(&events, true), found);
    }
    for (memory, isa) in [(44, VMX), (56, VMX), (0x400, SVM), (0x401, SVM)] {
        assert_eq!(exits(&[exit(1050, 0, memory, isa)], false), [(0, Some(Act::IcrXApic), [1, 0])]);
        assert_eq!(exits(&[exit(1050, 0, memory, isa)], true), [(0, None, [1, 0])], "not the local APIC's");
    }
    // A host's interrupt takes the target out.
    assert_eq!(exits(&[exit(1200, 1, 1, VMX)], true), [(0, None, [0, 1])]);
    assert_eq!(
        exits(&[exit(900, 0, 32, VMX), exit(1700, 0, 32, VMX), exit(1050, 2, 32, VMX)], true),
        [],
        "not of this call"
    );
}

#[test]
fn where_kvm_shows_exits_its_other_events_are_none() {
    let events = [kernel(1050, 0, Point::Exit, [32, VMX, 0]), kernel(1051, 0, Point::Msr, [1, 0x830, 0])];
    assert_eq!(exits(&events, true), [(0, Some(Act::IcrX2Apic), [1, 0])]);
}

#[test]
fn where_kvm_emulates_each_access_shows_once() {
    let events = [
        kernel(1050, 0, Point::Msr, [1, 0x830, 0]),
        kernel(1051, 0, Point::Apic, [1, 0x300, 0]),
        kernel(1550, 1, Point::Msr, [1, 0x80B, 0]),
        kernel(1551, 1, Point::Apic, [1, 0xB0, 0]),
        kernel(1552, 1, Point::Eoi, [0xE1, 1, 0]),
    ];
    let found = [(0, Some(Act::IcrX2Apic), [1, 0]), (3, Some(Act::EoiX2Apic), [0, 1])];
    assert_eq!(exits(&events, true), found);
    let events = [kernel(1050, 0, Point::Apic, [1, 0x300, 0]), kernel(1550, 1, Point::Apic, [1, 0xB0, 0])];
    let found = [(0, Some(Act::IcrXApic), [1, 0]), (3, Some(Act::EoiXApic), [0, 1])];
    assert_eq!(exits(&events, false), found);
}

#[test]
fn an_exit_to_the_vmm_is_what_its_local_apic_serves() {
    let returns = |tsc, vcpu, exit: Exit| event(tsc, vcpu, EventKind::Return(exit));
    let events = [
        returns(1050, 0, Exit::with(ExitKind::ApicWrite, ICR)),
        returns(1200, 1, ExitKind::Interrupted.into()),
        returns(1410, 1, Exit::with(ExitKind::Observe, 1)),
    ];
    let found = [(0, None, [0, 1]), (0, Some(Act::IcrXApic), [1, 0]), (2, Some(Act::OutVmm), [0, 1])];
    assert_eq!(exits(&events, false), found);
}

#[test]
fn what_exits_explain_is_their_number_times_their_mean_without_the_stamps() {
    let exit = |tsc, vcpu| kernel(tsc, vcpu, Point::Exit, [32, VMX, 0]);
    let costs = [exit_cost(Act::Nothing, 10.0), exit_cost(Act::IcrX2Apic, 90.0)];
    let parts = parts(&[exit(1050, 0), kernel(1200, 1, Point::Exit, [1, VMX, 0])], true);
    let priced = parts.priced(&costs, LocalApics::Kernel, KHZ).unwrap();
    assert!((priced[0].explained_ns - 80.0).abs() < 1e-9, "the host's interrupt has no price");
    assert_eq!(priced[0].exits.len(), 2);
    assert!(priced[1].explained_ns.abs() < 1e-9);
}
