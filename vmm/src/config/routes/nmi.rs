use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendTracepoint, Spec};
use guest_stub::abi::TargetState;

/// As the IPIs, with delivery mode NMI (SDM Vol. 3A 12.6.1): reaches targets whose IF is clear.
pub(super) const NMI: Spec = Spec {
    id: Route::Nmi,
    about: "NMIs by a write to the ICR of KVM's local APIC",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::Kernel, route: GuestRoute::Nmi },
    apic_mode: ApicMode::AsOffered,
    delivery: Delivery::Nmi,
    send: Send { exit: None, tracepoint: Some(SendTracepoint::Ipi) },
    needs: &[Need::KernelLocalApics],
    probe_state: TargetState::Halt,
};
