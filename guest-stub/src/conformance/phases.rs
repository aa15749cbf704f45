//! A call in three phases, each of which begins when every participant has ended the one before: setup, worker, teardown.

use crate::bugcheck;
use crate::call::worker::WorkerFn;
use crate::polling;
use crate::processor;

/// What runs. Lives for as long as the call whose argument is its address.
pub(crate) struct Phases {
    pub(crate) setup: WorkerFn,
    pub(crate) worker: WorkerFn,
    pub(crate) teardown: WorkerFn,
    /// For each of them.
    pub(crate) argument: usize,
}

/// The worker of a call with phases: `argument` is the address of a [`Phases`]. Returns what its worker returns.
pub(crate) extern "sysv64" fn run(argument: usize) -> usize {
    // SAFETY: whoever calls with this worker passes the address of phases that outlive the call.
    let phases = unsafe { &*(argument as *const Phases) };
    (phases.setup)(phases.argument);
    meet(1);
    let result = (phases.worker)(phases.argument);
    meet(2);
    (phases.teardown)(phases.argument);
    result
}

/// Waits until every participant has ended phase `phase`, or until the call's deadline: then somebody overstays it.
fn meet(phase: u32) {
    let private = processor::current();
    let Some(packet) = private.slot.packet() else { return };
    if !packet.meet(phase, |everybody| polling::poll_until(packet.deadline(), everybody)) {
        bugcheck::overstayed(private.index, packet.generation());
    }
}
