use super::{ApicMode, Delivery, Initiator, Need, Route, Runs, Send, Spec};
use guest_stub::abi::TargetState;

/// What an interrupt costs without a virtual machine: the kernel's IPI to every CPU that runs a thread of this process, and
/// the wait until all have taken it (membarrier(2), PRIVATE_EXPEDITED).
pub(super) const NATIVE: Spec = Spec {
    id: Route::Native,
    about: "no virtual machine: the host kernel's own IPI to threads (membarrier(2)); pings only",
    runs: Runs::Natively,
    initiator: Initiator::Vcpu,
    apic_mode: ApicMode::Either,
    delivery: Delivery::HostIpi,
    send: Send { exit: None, tracepoint: None },
    needs: &[Need::Membarrier],
    probe_state: TargetState::User,
};
