use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendTracepoint, Spec};
use guest_stub::abi::TargetState;

/// One IPI through the ICR's page of KVM's local APIC (SDM Vol. 3A 12.6.1).
pub(super) const XAPIC: Spec = Spec {
    id: Route::XApic,
    about: "IPIs by a write to the memory-mapped ICR of KVM's local APIC",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::Kernel, route: GuestRoute::XApic },
    apic_mode: ApicMode::XApic,
    delivery: Delivery::Fixed,
    send: Send { exit: None, tracepoint: Some(SendTracepoint::Ipi) },
    needs: &[Need::KernelLocalApics],
    probe_state: TargetState::Halt,
};
