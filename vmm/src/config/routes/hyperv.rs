use super::{ApicMode, Delivery, GuestRoute, Initiator, LocalApics, Need, Route, Runs, Send, SendTracepoint, Spec};
use guest_stub::abi::TargetState;

/// What Windows guests of KVM do: one hypercall of Hyper-V's for all targets, on a machine with Hyper-V's interface. It addresses
/// virtual processors and no local APICs, whose mode, x2APIC where it is offered, decides what an EOI costs.
pub(super) const HYPERV: Spec = Spec {
    id: Route::HyperV,
    about: "a hypercall of Hyper-V's interface (HvCallSendSyntheticClusterIpi), as Windows guests send",
    initiator: Initiator::Vcpu,
    runs: Runs::InGuest { local_apics: LocalApics::Kernel, route: GuestRoute::HyperV },
    apic_mode: ApicMode::AsOffered,
    delivery: Delivery::Fixed,
    send: Send { exit: None, tracepoint: Some(SendTracepoint::Hypercall) },
    needs: &[Need::KernelLocalApics, Need::HypervSendIpi, Need::Hypercalls],
    probe_state: TargetState::Halt,
};
