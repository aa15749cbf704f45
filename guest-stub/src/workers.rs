//! The workers. Each returns its argument plus the vCPU's index, so that the VMM can tell that it ran, and where.

use crate::port;
use crate::processor::{self, PACKET};
use crate::tsc;
use core::arch::asm;
use guest_stub::abi::{self, Worker};

/// The type of a worker: the documented `KIPI_BROADCAST_WORKER`.
pub(crate) type WorkerFn = extern "sysv64" fn(usize) -> usize;

/// The function behind a worker's number, with an exit as its first act if it is observed.
pub(crate) fn function(worker: Worker, observe: bool) -> WorkerFn {
    match (worker, observe) {
        (Worker::Stamp, false) => stamp,
        (Worker::Stamp, true) => observed_stamp,
        (Worker::Spin, false) => spin,
        (Worker::Spin, true) => observed_spin,
        (Worker::Fault, _) => fault,
        (Worker::Hang, _) => hang,
    }
}

#[inline]
fn observe() {
    port::write(abi::PORT_OBSERVE, PACKET.generation().get());
}

extern "sysv64" fn stamp(argument: usize) -> usize {
    argument.wrapping_add(processor::current().index)
}

extern "sysv64" fn observed_stamp(argument: usize) -> usize {
    observe();
    stamp(argument)
}

extern "sysv64" fn spin(argument: usize) -> usize {
    tsc::wait(argument as u64);
    stamp(argument)
}

extern "sysv64" fn observed_spin(argument: usize) -> usize {
    observe();
    spin(argument)
}

fn on_last_vcpu() -> bool {
    processor::current().index + 1 == crate::mem::boot().vcpus as usize
}

extern "sysv64" fn fault(argument: usize) -> usize {
    if on_last_vcpu() {
        // SAFETY: raises #UD, whose handler does not return.
        unsafe { asm!("ud2", options(noreturn)) };
    }
    stamp(argument)
}

extern "sysv64" fn hang(argument: usize) -> usize {
    while on_last_vcpu() {
        core::hint::spin_loop();
    }
    stamp(argument)
}
