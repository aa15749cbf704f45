//! What a processor does in every operation that has calls: it gets ready, and stays where calls find it.

use crate::call::polling;
use crate::cpu::port;
use crate::processor::Private;
use crate::routes::{self, Arrival};
use crate::shared;
use crate::states;
use guest_stub::abi::{Destination, GuestRoute, PORT_YIELD, TargetState, Wait};

/// Gets this processor ready for calls over `route`.
pub(crate) fn enter(private: &Private, route: GuestRoute) {
    routes::mode(route).enter(private);
    private.apic.set_logical_id(private.index, shared::boot().vcpus as usize);
    private.touch_ring();
    private.reset_counts();
}

/// Stays where calls over `route` and `destination` find this processor, until it is told to stop.
pub(crate) fn stay(
    private: &'static Private,
    route: GuestRoute,
    destination: Destination,
    state: TargetState,
    wait: Wait,
) {
    match routes::arrival(route) {
        Arrival::Polling => polling::stay(private, destination, wait),
        Arrival::Interrupt | Arrival::Nmi => states::stay(private, state),
    }
}

/// An exit: a device's interrupt that is pending now comes before what follows, on any host.
pub(crate) fn take_pending_interrupts() {
    port::write(PORT_YIELD, 0);
}
