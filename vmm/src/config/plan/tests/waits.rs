//! Where participants can park.

use super::*;
use crate::config::{Change, Refusal};

#[test]
fn participants_park_in_calls_of_guests_and_nowhere_else() {
    for &route in Route::ALL {
        let cell = CellId::broadcast(route, Destination::AllButSelf, TargetState::User, 2);
        let parked = CellId { wait: Wait::Park, ..cell };
        let refusal = refuse(&parked, HostOffers::EVERYTHING);
        let polls = refuse(&cell, HostOffers::EVERYTHING);
        if routes::of(route).is_native() {
            assert_ne!(refusal, None, "{}", route.name());
        } else {
            assert_eq!(refusal, polls, "{}: what polls can park", route.name());
        }
    }
    let ping = CellId::broadcast(Route::X2Apic, Destination::Unicast, TargetState::Spin, 2);
    let ping = CellId { call: Call::Ping, wait: Wait::Park, ..ping };
    let refusal = refuse(&ping, HostOffers::EVERYTHING).expect("nobody waits for others");
    assert!(matches!(refusal, Refusal::Combination(..)));
    for &change in refusal.ways_out() {
        assert_eq!(refuse(&change.apply(&ping), HostOffers::EVERYTHING), None, "{change:?}");
    }
    assert!(refusal.ways_out().contains(&Change::Wait(Wait::Spin)));
}

#[test]
fn both_waits_are_cells_of_their_own() {
    let both = Config { waits: vec![Wait::Spin, Wait::Park], observe: vec![Observe::Guest], ..config() };
    let (cells, _) = plan(&both, HostOffers::EVERYTHING);
    let of = |wait: Wait| cells.iter().filter(move |cell| cell.wait == wait);
    let native = cells.iter().filter(|cell| routes::of(cell.route).is_native()).count();
    assert_eq!(of(Wait::Spin).count() - native, of(Wait::Park).count());
    assert!(of(Wait::Park).all(|parked| cells.contains(&CellId { wait: Wait::Spin, ..*parked })));
}
