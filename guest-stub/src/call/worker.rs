//! Workers, and the two that measurements run. Each returns its argument plus the vCPU's index, so that the VMM can tell that
//! it ran, and where.

use crate::cpu::{port, tsc};
use crate::processor;
use guest_stub::abi;
use guest_stub::rendezvous::Work;

/// The type of a worker: the documented `KIPI_BROADCAST_WORKER`.
pub(crate) type WorkerFn = extern "sysv64" fn(usize) -> usize;

/// Runs the worker that a call names.
#[inline]
pub(super) fn run(work: Work) -> usize {
    // SAFETY: the packet's worker is one of the functions of this program, published as a number by `Window::prepare` or, of
    // those that `dispatch` has told the host, by the host.
    let worker: WorkerFn = unsafe { core::mem::transmute(work.worker) };
    worker(work.argument)
}

/// An exit that the VMM stamps: an observed worker's first act.
#[inline]
pub(crate) fn observe() {
    port::write(abi::PORT_OBSERVE, processor::current().generation().get());
}

/// Returns at once.
pub(crate) extern "sysv64" fn stamp(argument: usize) -> usize {
    argument.wrapping_add(processor::current().index)
}

/// As [`stamp`], observed.
pub(crate) extern "sysv64" fn observed_stamp(argument: usize) -> usize {
    observe();
    stamp(argument)
}

/// Busy for `argument` TSC cycles.
pub(crate) extern "sysv64" fn spin(argument: usize) -> usize {
    tsc::wait(argument as u64);
    stamp(argument)
}

/// As [`spin`], observed.
pub(crate) extern "sysv64" fn observed_spin(argument: usize) -> usize {
    observe();
    spin(argument)
}
