use super::{ApicMode, Delivery, Initiator, Route, Runs, Send, Spec};
use guest_stub::abi::TargetState;

/// What a wake-up costs without a virtual machine: each target is a thread that sleeps until the caller wakes it (futex(2)).
pub(super) const NATIVE_FUTEX: Spec = Spec {
    id: Route::NativeFutex,
    about: "no virtual machine: threads that sleep, and are woken (futex(2)); state halt only",
    runs: Runs::Natively,
    initiator: Initiator::Vcpu,
    apic_mode: ApicMode::Either,
    delivery: Delivery::WakeUp,
    send: Send { exit: None, tracepoint: None },
    needs: &[],
    probe_state: TargetState::Halt,
};
