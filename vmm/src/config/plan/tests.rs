mod division;
mod natively;
mod pings;
mod refusals;
mod standalone;
mod states;
mod waits;

use super::*;
use crate::config::routes::Route;
use crate::config::{Call, Observe};
use guest_stub::abi::{Destination, TargetState, Wait, Worker};
use std::path::PathBuf;
use std::time::Duration;

const BY_IPI: &[Destination] = &[Destination::AllButSelf, Destination::All, Destination::Unicast, Destination::Logical];
const WITH_IF: &[TargetState] =
    &[TargetState::Spin, TargetState::User, TargetState::Halt, TargetState::Preempted, TargetState::Out];

pub(crate) fn config() -> Config {
    Config {
        device: PathBuf::from("/dev/kvm"),
        guest: None,
        vcpus: vec![2],
        calls: vec![Call::Broadcast],
        routes: Route::ALL.to_vec(),
        destinations: BY_IPI.to_vec(),
        target_states: TargetState::ALL.to_vec(),
        idle_before: vec![None],
        waits: vec![Wait::Spin],
        observe: Observe::ALL.to_vec(),
        trace: Vec::new(),
        sweep: false,
        boots: None,
        blocks: None,
        repetitions: 0,
        references: None,
        beside: Vec::new(),
        undivided: Vec::new(),
        exit_costs: false,
        rounds: 100,
        warmup: 5,
        worker: Worker::Stamp,
        argument: 0,
        pin: vec![0, 1],
        cpus: vec![0, 1],
        deadline: None,
        settle: Duration::ZERO,
        halt_poll_ns: None,
        is_one_of_many: false,
        injected_delay: None,
        out: crate::config::OUT,
        latency_us: None,
        time: None,
        limit_time: false,
    }
}

#[test]
fn every_combination_is_either_measured_or_refused() {
    let (cells, refused) = plan(&config(), HostOffers::EVERYTHING);
    let native = cells.iter().filter(|cell| routes::of(cell.route).is_native()).count();
    assert_eq!(native, 4, "where nothing exits there is one vantage");
    assert_eq!(
        native + (cells.len() - native) / 2 + refused.len(),
        24 * Route::ALL.len(),
        "each other cell in two vantages"
    );
    let of = |route| refused.iter().filter(|refused| refused.cell.route == route).count();
    assert_eq!(of(Route::Memory), 20, "memory has spin and preempted with all-but-self and unicast");
    for route in [Route::XApic, Route::X2Apic, Route::VmmXApic, Route::VmmX2Apic] {
        assert_eq!(of(route), 4, "an interrupt does not reach a masked target");
    }
    assert_eq!(of(Route::Msi), 9, "nor does a message, which has no logical destination");
    assert_eq!((of(Route::KvmPv), of(Route::HyperV)), (9, 9), "and no hypercall has one");
    assert_eq!(
        (of(Route::Host), of(Route::VmmHost)),
        (16, 16),
        "nor does the host's, which calls everybody or each, and has no CPU beside two competitors"
    );
    assert_eq!(of(Route::Nmi), 6, "the shorthand that includes the sender sends no NMI");
    assert_eq!(
        [Route::Native, Route::NativeRseq, Route::NativeFutex].map(of),
        [24, 22, 22],
        "threads are in state user, or asleep, and one of them calls"
    );
    assert!(refused.iter().all(|refused| !refused.refusal.is_the_hosts()));
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
