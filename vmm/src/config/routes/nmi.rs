use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Send, SendTracepoint, Spec};
use guest_stub::abi::TargetState;

/// As the IPIs, with delivery mode NMI (SDM Vol. 3A 12.6.1): reaches targets whose IF is clear.
pub(super) const NMI: Spec = Spec {
    id: Route::Nmi,
    about: "NMIs by a write to the ICR of KVM's local APIC",
    local_apics: LocalApics::Kernel,
    initiator: Initiator::Vcpu,
    in_guest: GuestRoute::Nmi,
    apic_mode: ApicMode::AsOffered,
    delivery: Delivery::Nmi,
    send: Send { exit: None, tracepoint: Some(SendTracepoint::Ipi) },
    needs: &[Need::KernelLocalApics],
    probe_state: TargetState::Halt,
};
