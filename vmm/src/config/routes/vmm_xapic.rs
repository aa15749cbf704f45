use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendExit, Spec};
use guest_stub::abi::TargetState;

/// As `xapic`, to local APICs in this VMM: the write to the page exits, and the broadcast service delivers.
pub(super) const VMM_XAPIC: Spec = Spec {
    id: Route::VmmXApic,
    about: "as xapic, to local APICs in this VMM: the write exits",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::User, route: GuestRoute::XApic },
    apic_mode: ApicMode::XApic,
    delivery: Delivery::Fixed,
    send: Send { exit: Some(SendExit::IcrWrite), tracepoint: None },
    needs: &[Need::UserSpaceMsrs],
    probe_state: TargetState::Halt,
};
