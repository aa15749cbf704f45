use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, Spec};
use guest_stub::abi::TargetState;

/// As `host`, to local APICs in this VMM: a message sets a bit in each target's IRR.
pub(super) const VMM_HOST: Spec = Spec {
    id: Route::VmmHost,
    about: "as host, to local APICs in this VMM: a message sets a bit in each IRR",
    initiator: Initiator::Host,
    runs: Runs::InGuest { local_apics: LocalApics::User, route: GuestRoute::Host },
    apic_mode: ApicMode::AsOffered,
    delivery: Delivery::Fixed,
    send: Send { exit: None, tracepoint: None },
    needs: &[Need::UserSpaceMsrs],
    probe_state: TargetState::Halt,
};
