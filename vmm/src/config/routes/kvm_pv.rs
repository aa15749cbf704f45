use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendTracepoint, Spec};
use guest_stub::abi::TargetState;

/// What Linux guests of KVM do: one hypercall, KVM_HC_SEND_IPI, for up to 128 APIC ids. KVM looks the ids up by the mode of the
/// local APICs, x2APIC mode where it is offered: as wide as ids can be, and EOIs cost what they do on `x2apic`.
pub(super) const KVM_PV: Spec = Spec {
    id: Route::KvmPv,
    about: "a hypercall of KVM's interface for up to 128 targets (KVM_HC_SEND_IPI), as Linux guests send",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::Kernel, route: GuestRoute::KvmPv },
    apic_mode: ApicMode::AsOffered,
    delivery: Delivery::Fixed,
    send: Send { exit: None, tracepoint: Some(SendTracepoint::Hypercall) },
    needs: &[Need::KernelLocalApics, Need::PvSendIpi, Need::Hypercalls],
    probe_state: TargetState::Halt,
};
