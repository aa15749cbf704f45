use super::{
    ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendExit, SendTracepoint, Spec,
};
use guest_stub::abi::TargetState;

/// A device's way: the VMM sends an interrupt message to KVM's local APICs when the guest writes a port.
pub(super) const MSI: Spec = Spec {
    id: Route::Msi,
    about: "interrupt messages that the guest asks the VMM for at a port (KVM_SIGNAL_MSI)",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::Kernel, route: GuestRoute::Msi },
    apic_mode: ApicMode::AsOffered,
    delivery: Delivery::Fixed,
    send: Send { exit: Some(SendExit::Message), tracepoint: Some(SendTracepoint::Message) },
    needs: &[Need::KernelLocalApics, Need::SignalMsi],
    probe_state: TargetState::Halt,
};
