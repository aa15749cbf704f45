//! The workers. Each returns its argument plus the vCPU's index, so that the VMM can tell that it ran, and where.

use crate::calls;
use crate::ipi::{self, Call, Participants};
use crate::irql;
use crate::lock::SpinLock;
use crate::pageable;
use crate::port;
use crate::processor;
use crate::tsc;
use core::arch::asm;
use guest_stub::abi::{self, Destination, Fault, GuestRoute as Route, Worker};
use guest_stub::rendezvous::Work;

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
        (Worker::HangFirst, _) => hang_first,
        (Worker::TouchPageable, _) => touch_pageable,
        (Worker::EnableInterrupts, _) => enable_interrupts,
        (Worker::LowerIrql, _) => lower_irql,
        (Worker::TakeLock, _) => take_lock,
        (Worker::CallAgain, _) => call_again,
        (Worker::Verify, false) => calls::verify,
        (Worker::Verify, true) => calls::observed_verify,
    }
}

/// The address of each worker's function, by its number.
pub(crate) fn addresses(observe: bool) -> [u64; abi::WORKERS] {
    let mut addresses = [0; abi::WORKERS];
    for &worker in Worker::ALL {
        addresses[worker as usize] = function(worker, observe) as usize as u64;
    }
    addresses
}

/// Runs the worker that a call names.
#[inline]
pub(crate) fn run(work: Work) -> usize {
    // SAFETY: the packet's worker is one of the functions of this program, published as a number by `ipi`.
    let worker: WorkerFn = unsafe { core::mem::transmute(work.worker) };
    worker(work.argument)
}

/// An exit that the VMM stamps.
#[inline]
pub(crate) fn observe() {
    port::write(abi::PORT_OBSERVE, processor::current().generation().get());
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

extern "sysv64" fn hang_first(argument: usize) -> usize {
    while processor::current().index == 0 {
        core::hint::spin_loop();
    }
    stamp(argument)
}

extern "sysv64" fn touch_pageable(argument: usize) -> usize {
    if on_last_vcpu() {
        pageable::page_out();
        pageable::touch();
    }
    stamp(argument)
}

extern "sysv64" fn enable_interrupts(argument: usize) -> usize {
    if on_last_vcpu() {
        // SAFETY: none for the call, which is what this worker is for: the caller notices and stops.
        unsafe { asm!("sti", options(nostack)) };
    }
    stamp(argument)
}

extern "sysv64" fn lower_irql(argument: usize) -> usize {
    if on_last_vcpu() {
        irql::set(abi::DISPATCH_LEVEL.into());
    }
    stamp(argument)
}

extern "sysv64" fn take_lock(argument: usize) -> usize {
    static LOCK: SpinLock = SpinLock::new();
    if on_last_vcpu() {
        LOCK.with(|| ());
    }
    stamp(argument)
}

extern "sysv64" fn call_again(argument: usize) -> usize {
    if on_last_vcpu() {
        let call = Call {
            route: Route::Memory,
            destination: Destination::AllButSelf,
            worker: stamp,
            argument,
            participants: Participants::Everybody(1),
            deadline: 0,
            stepped: false,
            fault: Fault::Nothing,
        };
        // Does not come back.
        let _ = ipi::broadcast(processor::current(), &call, |_, _| ());
    }
    stamp(argument)
}
