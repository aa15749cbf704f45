use super::*;
use crate::config::routes::IdLimit;
use crate::config::routes::Route;
use crate::config::{Call, Need, Observe};
use guest_stub::abi::{Destination, TargetState, Worker};
use std::path::PathBuf;
use std::time::Duration;

pub(in crate::config) fn config() -> Config {
    Config {
        device: PathBuf::from("/dev/kvm"),
        guest: None,
        vcpus: vec![2],
        calls: vec![Call::Broadcast],
        routes: Route::ALL.to_vec(),
        destinations: BY_IPI.to_vec(),
        target_states: TargetState::ALL.to_vec(),
        idle_before: vec![None],
        observe: Observe::ALL.to_vec(),
        trace: Vec::new(),
        sweep: false,
        boots: None,
        repetitions: 0,
        references: None,
        rounds: 100,
        warmup: 5,
        worker: Worker::Stamp,
        argument: 0,
        pin: vec![0, 1],
        cpus: vec![0, 1],
        deadline: None,
        settle: Duration::ZERO,
        halt_poll_ns: None,
        latency_us: None,
    }
}

#[test]
fn every_combination_is_either_measured_or_refused() {
    let (cells, refused) = plan(&config(), HostOffers::EVERYTHING);
    assert_eq!(cells.len() / 2 + refused.len(), 144, "each cell in two vantages");
    let of = |route| refused.iter().filter(|refused| refused.cell.route == route).count();
    assert_eq!(of(Route::Memory), 14, "memory has spin with all-but-self and unicast");
    for route in [Route::XApic, Route::X2Apic, Route::VmmXApic, Route::VmmX2Apic] {
        assert_eq!(of(route), 4, "an interrupt does not reach a masked target");
    }
    assert_eq!(of(Route::Msi), 7, "nor does a message, which has no logical destination");
    assert_eq!((of(Route::Host), of(Route::VmmHost)), (10, 10), "nor does the host's, which calls everybody or each");
    assert_eq!(of(Route::Nmi), 4, "the shorthand that includes the sender sends no NMI");
    assert!(refused.iter().all(|refused| !refused.host));
}

#[test]
fn only_halted_targets_are_idle() {
    let times = vec![None, Some(50)];
    let config = Config { routes: vec![Route::X2Apic], observe: vec![Observe::Guest], idle_before: times, ..config() };
    let (cells, _) = plan(&config, HostOffers::EVERYTHING);
    let of = |state| cells.iter().filter(move |cell| cell.target_state == state).map(|cell| cell.idle_before_us);
    assert_eq!(of(TargetState::Halt).take(2).collect::<Vec<_>>(), [None, Some(50)]);
    assert_eq!(of(TargetState::Halt).count(), 2 * of(TargetState::User).count());
    assert!(of(TargetState::User).chain(of(TargetState::Spin)).all(|time| time.is_none()));
    let (_, refused) = plan(&Config { routes: vec![Route::Memory], ..config }, HostOffers::EVERYTHING);
    assert!(refused.iter().all(|refused| refused.cell.idle_before_us.is_none()));
    let halted: Vec<_> = refused.iter().filter(|refused| refused.cell.target_state == TargetState::Halt).collect();
    let said_once = |it: &&Refused| halted.iter().filter(|other| other.cell == it.cell).count() == 1;
    assert!(!halted.is_empty() && halted.iter().all(said_once), "{halted:?}");
}

#[test]
fn a_missing_x2apic_is_the_hosts_fault_and_a_large_xapic_is_not() {
    let (_, refused) =
        plan(&Config { vcpus: vec![256], ..config() }, HostOffers { x2apic: false, ..HostOffers::EVERYTHING });
    let of = |route| refused.iter().find(|refused| refused.cell.route == route).unwrap();
    assert!(of(Route::X2Apic).host);
    assert!(!of(Route::XApic).host && of(Route::XApic).reason.contains("254"));
    let (cells, _) = plan(&Config { vcpus: vec![255], ..config() }, HostOffers::EVERYTHING);
    assert!(cells.iter().any(|cell| cell.route == Route::XApic));
}

/// What can be measured over a route, written down a second time: whether a vCPU sends or the host does, in which states a
/// target is reached, how many vCPUs there can be without x2APIC mode, without 32-bit ids and with both; and what it needs.
struct Expected {
    route: Route,
    destinations: &'static [Destination],
    states: &'static [TargetState],
    most_vcpus: [usize; 3],
    needs: fn(HostOffers) -> bool,
}

const BY_IPI: &[Destination] = &[Destination::AllButSelf, Destination::All, Destination::Unicast, Destination::Logical];
const BY_MESSAGE: &[Destination] = &[Destination::AllButSelf, Destination::All, Destination::Unicast];
const BY_NMI: &[Destination] = &[Destination::AllButSelf, Destination::Unicast, Destination::Logical];
const WITHOUT_SENDER: &[Destination] = &[Destination::AllButSelf, Destination::Unicast];
const WITH_IF: &[TargetState] = &[TargetState::Spin, TargetState::User, TargetState::Halt];
const MANY: usize = 1024;

const EXPECTED: &[Expected] = &[
    Expected {
        route: Route::XApic,
        destinations: BY_IPI,
        states: WITH_IF,
        most_vcpus: [255, 255, 255],
        needs: |offers| offers.kernel_local_apics,
    },
    Expected {
        route: Route::X2Apic,
        destinations: BY_IPI,
        states: WITH_IF,
        most_vcpus: [0, 255, MANY],
        needs: |offers| offers.kernel_local_apics && offers.x2apic,
    },
    Expected {
        route: Route::Memory,
        destinations: WITHOUT_SENDER,
        states: &[TargetState::Spin],
        most_vcpus: [MANY, MANY, MANY],
        needs: |_| true,
    },
    Expected {
        route: Route::Nmi,
        destinations: BY_NMI,
        states: TargetState::ALL,
        most_vcpus: [255, 255, MANY],
        needs: |offers| offers.kernel_local_apics,
    },
    Expected {
        route: Route::Msi,
        destinations: BY_MESSAGE,
        states: WITH_IF,
        most_vcpus: [255, 255, MANY],
        needs: |offers| offers.kernel_local_apics && offers.signal_msi,
    },
    Expected {
        route: Route::Host,
        destinations: WITHOUT_SENDER,
        states: WITH_IF,
        most_vcpus: [255, 255, MANY],
        needs: |offers| offers.kernel_local_apics && offers.signal_msi,
    },
    Expected {
        route: Route::VmmXApic,
        destinations: BY_IPI,
        states: WITH_IF,
        most_vcpus: [255, 255, 255],
        needs: |offers| offers.user_space_msrs,
    },
    Expected {
        route: Route::VmmX2Apic,
        destinations: BY_IPI,
        states: WITH_IF,
        most_vcpus: [0, MANY, MANY],
        needs: |offers| offers.user_space_msrs && offers.x2apic,
    },
    Expected {
        route: Route::VmmHost,
        destinations: WITHOUT_SENDER,
        states: WITH_IF,
        most_vcpus: [255, MANY, MANY],
        needs: |offers| offers.user_space_msrs,
    },
];

/// Every answer that a host can give.
fn hosts() -> impl Iterator<Item = HostOffers> {
    (0..1 << 5).map(|bits| {
        let has = |bit| bits & (1 << bit) != 0;
        HostOffers {
            kernel_local_apics: has(0),
            x2apic: has(1),
            wide_apic_ids: has(2),
            signal_msi: has(3),
            user_space_msrs: has(4),
        }
    })
}

/// Every cell of the guest's vantage, at sizes on both sides of the limit.
fn cells() -> impl Iterator<Item = CellId> {
    let sizes = [1, 2, 60, 61, 255, 256, MANY];
    let of_size = move |route, destination, target_state| {
        sizes.map(|vcpus| CellId::broadcast(route, destination, target_state, vcpus))
    };
    Route::ALL.iter().flat_map(move |&route| {
        Destination::ALL.iter().flat_map(move |&destination| {
            TargetState::ALL.iter().flat_map(move |&state| of_size(route, destination, state))
        })
    })
}

#[test]
fn each_cell_is_refused_where_it_cannot_be_and_nowhere_else() {
    for cell in cells() {
        let expected = EXPECTED.iter().find(|expected| expected.route == cell.route).expect("each route is expected");
        let combines =
            expected.destinations.contains(&cell.destination) && expected.states.contains(&cell.target_state);
        for offers in hosts() {
            let most = expected.most_vcpus[if offers.x2apic { 1 + usize::from(offers.wide_apic_ids) } else { 0 }];
            let refusal = refuse(&cell, offers);
            let context = format!("{cell}, {offers:?}: {refusal:?}");
            // In xAPIC mode.
            let has_logical_ids = cell.destination != Destination::Logical || cell.vcpus <= 60;
            let wanted = if !combines || (!has_logical_ids && expected.most_vcpus[2] == 255) {
                matches!(refusal, Some(Refusal::Combination(_)))
            } else if cell.vcpus > expected.most_vcpus[2] {
                refusal == Some(Refusal::Ids(IdLimit::XApicMode))
            } else if !(expected.needs)(offers) {
                matches!(refusal, Some(Refusal::Host(need)) if !need.is_met(offers))
            } else if !has_logical_ids && !offers.x2apic {
                refusal == Some(Refusal::Host(Need::X2Apic))
            } else if cell.vcpus > most {
                let limit = if offers.x2apic { IdLimit::NoWideIds } else { IdLimit::NoX2Apic };
                refusal == Some(Refusal::Ids(limit))
            } else {
                refusal.is_none()
            };
            assert!(wanted, "{context}");
        }
    }
}

#[test]
fn another_host_is_blamed_only_where_another_host_could() {
    for cell in cells() {
        let elsewhere = refuse(&cell, HostOffers::EVERYTHING);
        for offers in hosts() {
            if let Some(refusal) = refuse(&cell, offers) {
                assert_eq!(refusal.is_the_hosts(), elsewhere.is_none(), "{cell}, {offers:?}: {refusal:?}");
            }
        }
    }
}

#[test]
fn reasons_of_combinations_name_what_does_not_go_together() {
    let reason = |route, destination, target_state| {
        let cell = CellId::broadcast(route, destination, target_state, 2);
        refuse(&cell, HostOffers::EVERYTHING).map(Refusal::reason)
    };
    let spin = |route, destination| reason(route, destination, TargetState::Spin);
    assert_eq!(spin(Route::Memory, Destination::All), Some("a sender does not poll its own line"));
    assert_eq!(spin(Route::VmmHost, Destination::All), Some("the host is no vCPU: all-but-self is everybody"));
    let nmi = Some("the shorthand that includes the sender is for fixed interrupts only");
    assert_eq!(spin(Route::Nmi, Destination::All), nmi);
    assert_eq!(spin(Route::Memory, Destination::Logical), Some("lines of memory have no logical ids"));
    let message = Some("the VMM's interrupt messages go to APIC ids");
    assert_eq!([Route::Msi, Route::VmmHost].map(|route| spin(route, Destination::Logical)), [message, message]);
    let of = |route, state| reason(route, Destination::AllButSelf, state);
    let masked = Some("an interrupt waits until the target sets IF: use nmi");
    assert_eq!([Route::XApic, Route::Host].map(|route| of(route, TargetState::Masked)), [masked, masked]);
    assert_eq!(of(Route::Memory, TargetState::Masked), Some("the memory route interrupts nobody"));
    assert_eq!(of(Route::Memory, TargetState::Halt), Some("a halted processor polls nothing"));
    assert_eq!(of(Route::Memory, TargetState::User), Some("the memory route's targets poll at CPL0"));
}

fn ping(route: Route, destination: Destination, target_state: TargetState, vcpus: usize) -> CellId {
    CellId { call: Call::Ping, ..CellId::broadcast(route, destination, target_state, vcpus) }
}

/// Over which routes each destination is pinged, and in which states, written down a second time.
#[test]
fn pings_are_of_one_target_by_a_vector_from_a_vcpu() {
    const BY_ICR: &[Route] = &[Route::XApic, Route::X2Apic, Route::VmmXApic, Route::VmmX2Apic];
    const BY_VCPU: &[Route] = &[Route::XApic, Route::X2Apic, Route::Msi, Route::VmmXApic, Route::VmmX2Apic];
    const BY_MSR: &[Route] = &[Route::X2Apic, Route::VmmX2Apic];
    for (route, destination, target_state) in Route::ALL.iter().flat_map(|&route| {
        Destination::ALL.iter().flat_map(move |&it| TargetState::ALL.iter().map(move |&state| (route, it, state)))
    }) {
        let (routes, states): (&[Route], &[TargetState]) = match destination {
            Destination::Unicast => (BY_VCPU, WITH_IF),
            Destination::Mesh => (BY_VCPU, &[TargetState::Spin]),
            Destination::Itself => (BY_ICR, &[TargetState::Spin]),
            Destination::SelfIpi => (BY_MSR, &[TargetState::Spin]),
            Destination::AllButSelf | Destination::All | Destination::Logical => (&[], &[]),
        };
        let cell = ping(route, destination, target_state, 2);
        let can_be = routes.contains(&route) && states.contains(&target_state);
        let refusal = refuse(&cell, HostOffers::EVERYTHING);
        assert_eq!(refusal.is_none(), can_be, "{cell}: {refusal:?}");
        let observed = refuse(&CellId { observe: Observe::Exits, ..cell }, HostOffers::EVERYTHING);
        assert!(matches!(observed, Some(Refusal::Combination(_))), "{cell}: {observed:?}");
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
    assert_eq!(spin(Route::XApic, Destination::All), Some("a ping has one target: use unicast, self or mesh"));
    let halted = reason(&ping(Route::XApic, Destination::Mesh, TargetState::Halt, 2));
    assert_eq!(halted, Some("the target sends, too, and polls at CPL0 for the answer: state spin"));
    let broadcast = |destination| reason(&CellId::broadcast(Route::XApic, destination, TargetState::Spin, 2));
    let for_all = Some("a broadcast call is for every processor: use --call ping");
    assert_eq!([Destination::Itself, Destination::SelfIpi].map(broadcast), [for_all, for_all]);
    assert_eq!(broadcast(Destination::Mesh), Some("a broadcast call has one initiator: use --call ping"));
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
        refused.iter().map(|it| it.reason).collect::<Vec<_>>(),
        ["a ping runs no worker that could begin with an exit"]
    );
}

#[test]
fn a_mesh_has_a_ping_of_each_vcpu() {
    assert_eq!(at_once(&ping(Route::XApic, Destination::Mesh, TargetState::Spin, 3)), 3);
    assert_eq!(at_once(&ping(Route::XApic, Destination::Unicast, TargetState::Spin, 3)), 1);
    assert_eq!(targets(&ping(Route::XApic, Destination::Unicast, TargetState::Spin, 3)), 1);
}

#[test]
fn references_are_what_the_cells_are_not() {
    let of = |config: &Config, offers| {
        let (cells, _) = plan(config, offers);
        references(&cells, offers).iter().map(|cell| (cell.route, cell.target_state)).collect::<Vec<_>>()
    };
    let asked = |route, state| Config {
        routes: vec![route],
        destinations: vec![Destination::AllButSelf],
        target_states: vec![state],
        ..config()
    };
    let [spin, user, halt] = [TargetState::Spin, TargetState::User, TargetState::Halt];
    let (xapic, memory) = (Route::XApic, Route::Memory);
    let all = HostOffers::EVERYTHING;
    assert_eq!(of(&asked(xapic, halt), all), [(xapic, spin), (xapic, user), (memory, spin)]);
    assert_eq!(of(&asked(memory, spin), all), [spin, user, halt].map(|state| (Route::X2Apic, state)));
    assert_eq!(of(&asked(memory, spin), HostOffers { x2apic: false, ..all }), []);
    // The memory route's targets would need a machine of their own.
    assert_eq!(of(&asked(Route::VmmX2Apic, halt), all), [(Route::VmmX2Apic, spin), (Route::VmmX2Apic, user)]);
    let everything = Config { routes: vec![xapic, memory], target_states: vec![spin, user, halt], ..config() };
    assert_eq!(of(&everything, all), []);
}

#[test]
fn blocks_add_up_and_fit_into_the_rings() {
    for (rounds, warmup) in [(1, 0), (7, 5), (20, 3), (100, 3), (10_001, 100), (1_000_000, 1000), (5, 5000)] {
        let blocks = blocks(rounds, warmup, boots(rounds));
        assert_eq!(blocks.iter().sum::<usize>(), rounds);
        assert!(blocks.iter().all(|&block| block >= 1), "{rounds}");
        assert!(blocks.iter().all(|&block| block + warmup.min(abi::RING_SAMPLES - 1) <= abi::RING_SAMPLES));
    }
    assert_eq!(blocks(500, 3, 10).len(), 20);
}

#[test]
fn a_boot_has_two_blocks_where_the_rounds_allow_it_and_one_otherwise() {
    let blocks_of = |rounds: usize, boots: usize| {
        let blocks = blocks(rounds, 3, boots).len();
        let mut of_boot = vec![0; boots.min(rounds)];
        (0..blocks).for_each(|block| of_boot[boot_of(block, blocks, boots)] += 1);
        of_boot
    };
    assert_eq!((boots(500), blocks_of(500, 25)), (25, vec![2; 25]));
    assert_eq!(blocks_of(500, 10), vec![2; 10]);
    assert_eq!((boots(100), blocks_of(100, 5)), (5, vec![2; 5]));
    assert_eq!((boots(20), blocks_of(20, 5)), (5, vec![1; 5]));
    assert_eq!((boots(3), blocks_of(3, 3)), (3, vec![1; 3]));
    assert_eq!(blocks_of(3, 50), vec![1; 3], "no boot is without a round");
    assert_eq!(blocks_of(500, 1), vec![20]);
    assert_eq!(blocks_of(500, 3), vec![7, 7, 6]);
}

#[test]
fn a_large_machines_initiators_are_chosen_evenly() {
    assert_eq!((initiators(1), initiators(3)), (vec![0], vec![0, 1, 2]));
    let chosen = initiators(1024);
    assert_eq!((chosen.len(), chosen.first(), chosen.last()), (16, Some(&0), Some(&1023)));
    assert!(chosen.is_sorted_by(|one, other| one < other));
}

#[test]
fn all_are_targets_of_the_host() {
    let cell = |route| CellId::broadcast(route, Destination::AllButSelf, TargetState::Halt, 3);
    assert_eq!([Route::X2Apic, Route::Host, Route::VmmHost].map(|route| targets(&cell(route))), [2, 3, 3]);
}
