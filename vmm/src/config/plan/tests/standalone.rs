//! The standalone image refuses what this does, with the same words: its rules are written out again, for four routes.

use super::*;
use kipi_standalone::plan::Offers;

/// The routes that need nothing of a VMM.
const ROUTES: [Route; 4] = [Route::XApic, Route::X2Apic, Route::Memory, Route::Nmi];

/// Around what APIC ids and logical ids have room for.
const VCPUS: [usize; 7] = [1, 2, 60, 61, 255, 256, 1024];

/// Every cell of a route in the guest's vantage.
fn cells(route: Route) -> impl Iterator<Item = CellId> {
    let combinations = Call::ALL.iter().flat_map(|&call| {
        let with_state = move |&destination| TargetState::ALL.iter().map(move |&state| (call, destination, state));
        Destination::ALL.iter().flat_map(with_state)
    });
    combinations.flat_map(move |(call, destination, state)| {
        VCPUS.map(|vcpus| CellId { call, ..CellId::broadcast(route, destination, state, vcpus) })
    })
}

#[test]
fn the_standalone_image_refuses_the_same_cells_for_the_same_reasons() {
    for x2apic in [true, false] {
        let offers = HostOffers { x2apic, ..HostOffers::EVERYTHING };
        let platform = Offers { x2apic, xapic: true, processors: 1024 };
        for cell in ROUTES.into_iter().flat_map(cells).filter(|cell| !cell.target_state.is_away()) {
            let image = kipi_standalone::plan::refuse(&cell, platform);
            match refuse(&cell, offers) {
                Some(refusal) if refusal.is_the_hosts() => assert!(image.is_some(), "{cell}"),
                refusal => assert_eq!(image, refusal.map(Refusal::reason), "{cell}"),
            }
        }
    }
}

#[test]
fn the_standalone_image_has_no_cells_that_need_the_vmm() {
    let platform = Offers { x2apic: true, xapic: true, processors: 1024 };
    let needs_vmm = |cell: &CellId| !ROUTES.contains(&cell.route) || cell.target_state.is_away();
    for cell in Route::ALL.iter().copied().flat_map(cells).filter(needs_vmm) {
        assert!(kipi_standalone::plan::refuse(&cell, platform).is_some(), "{cell}");
    }
}
