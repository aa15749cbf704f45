use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendTracepoint, Spec};
use guest_stub::abi::TargetState;

/// One IPI through the ICR's MSR of KVM's local APIC (SDM Vol. 3A 12.12.9).
pub(super) const X2APIC: Spec = Spec {
    id: Route::X2Apic,
    about: "IPIs by a write to the ICR's MSR of KVM's local APIC",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::Kernel, route: GuestRoute::X2Apic },
    apic_mode: ApicMode::X2Apic,
    delivery: Delivery::Fixed,
    send: Send { exit: None, tracepoint: Some(SendTracepoint::Ipi) },
    needs: &[Need::KernelLocalApics, Need::X2Apic],
    probe_state: TargetState::Halt,
};
