use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Route, Runs, Send, Spec};
use guest_stub::abi::TargetState;

/// What a call costs without interrupts: the targets are not halted, but read the request's cache line in a loop.
pub(super) const MEMORY: Spec = Spec {
    id: Route::Memory,
    about: "no interrupt: targets poll a cache line",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::Kernel, route: GuestRoute::Memory },
    apic_mode: ApicMode::Either,
    delivery: Delivery::Polled,
    send: Send { exit: None, tracepoint: None },
    needs: &[],
    probe_state: TargetState::Spin,
};
