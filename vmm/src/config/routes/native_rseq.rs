use super::{ApicMode, Delivery, Initiator, Need, Route, Runs, Send, Spec};
use guest_stub::abi::TargetState;

/// As `native`, by the IPI after which the kernel restarts the restartable sequence that a thread is in (membarrier(2),
/// PRIVATE_EXPEDITED_RSEQ): the nearest thing to an interrupt handler that user space has.
pub(super) const NATIVE_RSEQ: Spec = Spec {
    id: Route::NativeRseq,
    about: "no virtual machine: as native, and the IPI restarts each thread's sequence (rseq(2)), which serves the call",
    runs: Runs::Natively,
    initiator: Initiator::Vcpu,
    apic_mode: ApicMode::Either,
    delivery: Delivery::Restart,
    send: Send { exit: None, tracepoint: None },
    needs: &[Need::Membarrier, Need::MembarrierRseq],
    probe_state: TargetState::User,
};
