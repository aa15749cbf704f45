use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendTracepoint, Spec};
use guest_stub::abi::TargetState;

/// No vCPU calls: a thread of the VMM does, by interrupt messages to KVM's local APICs.
pub(super) const HOST: Spec = Spec {
    id: Route::Host,
    about: "interrupt messages of a thread of the VMM, which is the initiator (KVM_SIGNAL_MSI)",
    initiator: Initiator::Host,
    runs: Runs::InGuest { local_apics: LocalApics::Kernel, route: GuestRoute::Host },
    apic_mode: ApicMode::AsOffered,
    delivery: Delivery::Fixed,
    send: Send { exit: None, tracepoint: Some(SendTracepoint::Message) },
    needs: &[Need::KernelLocalApics, Need::SignalMsi],
    probe_state: TargetState::Halt,
};
