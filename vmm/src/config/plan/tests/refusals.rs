//! Which cells a host refuses, and whether it says so for the right reason.

use super::*;
use crate::config::routes::IdLimit;
use crate::config::{Need, Refusal};

#[test]
fn a_missing_x2apic_is_the_hosts_fault_and_a_large_xapic_is_not() {
    let (_, refused) =
        plan(&Config { vcpus: vec![256], ..config() }, HostOffers { x2apic: false, ..HostOffers::EVERYTHING });
    let of = |route| refused.iter().find(|refused| refused.cell.route == route).unwrap();
    assert!(of(Route::X2Apic).refusal.is_the_hosts());
    let of_xapic = of(Route::XApic).refusal;
    assert!(!of_xapic.is_the_hosts() && of_xapic.reason().contains("254"));
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

const BY_MESSAGE: &[Destination] = &[Destination::AllButSelf, Destination::All, Destination::Unicast];
const BY_NMI: &[Destination] = &[Destination::AllButSelf, Destination::Unicast, Destination::Logical];
const WITHOUT_SENDER: &[Destination] = &[Destination::AllButSelf, Destination::Unicast];
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
        states: &[TargetState::Spin, TargetState::Preempted],
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
        route: Route::KvmPv,
        destinations: BY_MESSAGE,
        states: WITH_IF,
        most_vcpus: [255, 255, MANY],
        needs: |offers| offers.kernel_local_apics && offers.pv_send_ipi && offers.hypercalls,
    },
    Expected {
        route: Route::HyperV,
        destinations: BY_MESSAGE,
        states: WITH_IF,
        most_vcpus: [255, 255, MANY],
        needs: |offers| offers.kernel_local_apics && offers.hyperv_send_ipi && offers.hypercalls,
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
    Expected { route: Route::Native, destinations: &[], states: &[], most_vcpus: [MANY, MANY, MANY], needs: |_| true },
    Expected {
        route: Route::NativeRseq,
        destinations: WITHOUT_SENDER,
        states: &[TargetState::User],
        most_vcpus: [MANY, MANY, MANY],
        needs: |offers| offers.membarrier && offers.membarrier_rseq,
    },
    Expected {
        route: Route::NativeFutex,
        destinations: WITHOUT_SENDER,
        states: &[TargetState::Halt],
        most_vcpus: [MANY, MANY, MANY],
        needs: |_| true,
    },
];

/// Every answer that a host can give.
fn hosts() -> impl Iterator<Item = HostOffers> {
    (0..1 << 10).map(|bits| {
        let has = |bit| bits & (1 << bit) != 0;
        HostOffers {
            kernel_local_apics: has(0),
            x2apic: has(1),
            wide_apic_ids: has(2),
            signal_msi: has(3),
            user_space_msrs: has(4),
            membarrier: has(5),
            membarrier_rseq: has(6),
            pv_send_ipi: has(7),
            hypercalls: has(8),
            hyperv_send_ipi: has(9),
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
        let route = routes::of(cell.route);
        let needs_another = route.is_native() || cell.target_state.is_away() && !route.is_host();
        let is_alone = cell.vcpus < 2 && needs_another;
        let combines = expected.destinations.contains(&cell.destination)
            && expected.states.contains(&cell.target_state)
            && !is_alone;
        for offers in hosts() {
            let most = expected.most_vcpus[if offers.x2apic { 1 + usize::from(offers.wide_apic_ids) } else { 0 }];
            let refusal = refuse(&cell, offers);
            let context = format!("{cell}, {offers:?}: {refusal:?}");
            // In xAPIC mode.
            let has_logical_ids = cell.destination != Destination::Logical || cell.vcpus <= 60;
            let wanted = if !combines || (!has_logical_ids && expected.most_vcpus[2] == 255) {
                matches!(refusal, Some(Refusal::Combination(..)))
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
    let hypercall = Some("hypercalls have no logical ids");
    assert_eq!([Route::KvmPv, Route::HyperV].map(|route| spin(route, Destination::Logical)), [hypercall, hypercall]);
    let of = |route, state| reason(route, Destination::AllButSelf, state);
    let masked = Some("an interrupt waits until the target sets IF");
    assert_eq!([Route::XApic, Route::Host].map(|route| of(route, TargetState::Masked)), [masked, masked]);
    assert_eq!(of(Route::Memory, TargetState::Masked), Some("the memory route interrupts nobody"));
    assert_eq!(of(Route::Memory, TargetState::Halt), Some("a halted processor polls nothing"));
    assert_eq!(of(Route::Memory, TargetState::User), Some("the memory route's targets poll at CPL0"));
}

#[test]
fn each_way_out_takes_its_reason_away_and_leads_to_a_cell_that_can_be() {
    for cell in cells().flat_map(of_every_call) {
        let Some(refusal) = refuse(&cell, HostOffers::EVERYTHING) else { continue };
        assert!(!refusal.ways_out().is_empty(), "{cell}: {refusal:?}");
        for change in refusal.ways_out() {
            let changed = refuse(&change.apply(&cell), HostOffers::EVERYTHING);
            assert_ne!(changed.map(Refusal::reason), Some(refusal.reason()), "{cell}: {change:?}");
        }
        // Whoever follows the first one each time gets there, and changes each choice once at most.
        let mut followed = cell;
        let steps = std::iter::from_fn(|| {
            let refusal = refuse(&followed, HostOffers::EVERYTHING)?;
            followed = refusal.ways_out()[0].apply(&followed);
            Some(followed)
        });
        let choices = 6;
        assert!(steps.take(choices + 1).count() <= choices, "{cell} leads to {followed}");
    }
}

/// A cell as a broadcast and as a ping, from both vantages.
fn of_every_call(cell: CellId) -> impl Iterator<Item = CellId> {
    let of = move |&call: &Call| Observe::ALL.iter().map(move |&observe| CellId { call, observe, ..cell });
    Call::ALL.iter().flat_map(of)
}
