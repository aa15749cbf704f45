use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendExit, Spec};
use guest_stub::abi::TargetState;

/// As `x2apic`, to local APICs in this VMM: the write to the MSR exits, and the broadcast service delivers.
pub(super) const VMM_X2APIC: Spec = Spec {
    id: Route::VmmX2Apic,
    about: "as x2apic, to local APICs in this VMM: the write exits",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::User, route: GuestRoute::X2Apic },
    apic_mode: ApicMode::X2Apic,
    delivery: Delivery::Fixed,
    send: Send { exit: Some(SendExit::IcrWrite), tracepoint: None },
    needs: &[Need::UserSpaceMsrs, Need::X2Apic],
    probe_state: TargetState::Halt,
};
