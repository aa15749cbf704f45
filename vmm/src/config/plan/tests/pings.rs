//! Which pings there are, and why others are refused.

use super::*;
use crate::config::Refusal;

fn ping(route: Route, destination: Destination, target_state: TargetState, vcpus: usize) -> CellId {
    CellId { call: Call::Ping, ..CellId::broadcast(route, destination, target_state, vcpus) }
}

/// Over which routes each destination is pinged, and in which states, written down a second time.
#[test]
fn pings_are_of_one_target_by_a_vector_from_a_vcpu() {
    const TO_ITSELF: &[Route] =
        &[Route::XApic, Route::X2Apic, Route::KvmPv, Route::HyperV, Route::VmmXApic, Route::VmmX2Apic];
    const BY_VCPU: &[Route] =
        &[Route::XApic, Route::X2Apic, Route::KvmPv, Route::HyperV, Route::Msi, Route::VmmXApic, Route::VmmX2Apic];
    const BY_MSR: &[Route] = &[Route::X2Apic, Route::VmmX2Apic];
    for (route, destination, target_state) in Route::ALL.iter().flat_map(|&route| {
        Destination::ALL.iter().flat_map(move |&it| TargetState::ALL.iter().map(move |&state| (route, it, state)))
    }) {
        let (routes, states): (&[Route], &[TargetState]) = match destination {
            Destination::Unicast => (BY_VCPU, WITH_IF),
            Destination::Mesh => (BY_VCPU, &[TargetState::Spin]),
            Destination::Itself => (TO_ITSELF, &[TargetState::Spin]),
            Destination::SelfIpi => (BY_MSR, &[TargetState::Spin]),
            Destination::AllButSelf | Destination::All | Destination::Logical => (&[], &[]),
        };
        let natively = target_state == routes::of(route).probe_state
            && (destination == Destination::Unicast && routes::of(route).is_native()
                || destination == Destination::AllButSelf && route == Route::Native);
        let cell = ping(route, destination, target_state, 2);
        let can_be = natively || routes.contains(&route) && states.contains(&target_state);
        let refusal = refuse(&cell, HostOffers::EVERYTHING);
        assert_eq!(refusal.is_none(), can_be, "{cell}: {refusal:?}");
        let observed = refuse(&CellId { observe: Observe::Exits, ..cell }, HostOffers::EVERYTHING);
        assert!(matches!(observed, Some(Refusal::Combination(..))), "{cell}: {observed:?}");
    }
    for (destination, alone) in [(Destination::Unicast, false), (Destination::Mesh, false), (Destination::Itself, true)]
    {
        let refusal = refuse(&ping(Route::XApic, destination, TargetState::Spin, 1), HostOffers::EVERYTHING);
        assert_eq!(refusal.is_none(), alone, "{}: {refusal:?}", destination.name());
    }
}

#[test]
fn reasons_say_what_a_ping_and_a_broadcast_call_are_not() {
    let reason = |cell: &CellId| refuse(cell, HostOffers::EVERYTHING).map(Refusal::reason);
    let spin = |route, destination| reason(&ping(route, destination, TargetState::Spin, 2));
    assert_eq!(spin(Route::Nmi, Destination::Unicast), Some("a ping is known by its vector, and an NMI has none"));
    assert_eq!(spin(Route::Host, Destination::Unicast), Some("a vCPU sends the ping, and sees it arrive"));
    assert_eq!(spin(Route::Msi, Destination::Itself), Some("the VMM's interrupt messages have no shorthands"));
    assert_eq!(spin(Route::XApic, Destination::SelfIpi), Some("only x2APIC mode has a self-IPI register"));
    assert_eq!(spin(Route::XApic, Destination::All), Some("a ping has one target"));
    let halted = reason(&ping(Route::XApic, Destination::Mesh, TargetState::Halt, 2));
    assert_eq!(halted, Some("the target sends, too, and polls at CPL0 for the answer"));
    let broadcast = |destination| reason(&CellId::broadcast(Route::XApic, destination, TargetState::Spin, 2));
    let for_all = Some("a broadcast call is for every processor");
    assert_eq!([Destination::Itself, Destination::SelfIpi].map(broadcast), [for_all, for_all]);
    assert_eq!(broadcast(Destination::Mesh), Some("a broadcast call has one initiator"));
}

#[test]
fn each_call_has_its_usual_destination_and_pings_the_guests_vantage() {
    let config = Config {
        calls: Call::ALL.to_vec(),
        routes: vec![Route::X2Apic],
        destinations: Vec::new(),
        target_states: vec![TargetState::Halt],
        ..config()
    };
    let (cells, refused) = plan(&config, HostOffers::EVERYTHING);
    let seen: Vec<_> = cells.iter().map(|cell| (cell.call, cell.destination, cell.observe)).collect();
    assert_eq!(
        seen,
        [
            (Call::Broadcast, Destination::AllButSelf, Observe::Guest),
            (Call::Broadcast, Destination::AllButSelf, Observe::Exits),
            (Call::Ping, Destination::Unicast, Observe::Guest),
        ]
    );
    assert_eq!(refused, [], "that a ping has no other vantage need not be said");
    let observed = Config { calls: vec![Call::Ping], observe: vec![Observe::Exits], ..config };
    let (cells, refused) = plan(&observed, HostOffers::EVERYTHING);
    assert_eq!(cells, []);
    assert_eq!(
        refused.iter().map(|it| it.refusal.reason()).collect::<Vec<_>>(),
        ["a ping runs no worker that could begin with an exit"]
    );
}

#[test]
fn a_mesh_has_a_ping_of_each_vcpu() {
    assert_eq!(at_once(&ping(Route::XApic, Destination::Mesh, TargetState::Spin, 3)), 3);
    assert_eq!(at_once(&ping(Route::XApic, Destination::Unicast, TargetState::Spin, 3)), 1);
    assert_eq!(targets(&ping(Route::XApic, Destination::Unicast, TargetState::Spin, 3)), 1);
}
