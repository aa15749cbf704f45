//! Which function each worker of the ABI is.

use crate::call::worker::{self, WorkerFn};
use crate::conformance::{verify, workers as breaking};
use guest_stub::abi::{self, Worker};

/// The function behind a worker's number, with an exit as its first act if it is observed.
pub(crate) fn find(worker: u32, observe: u32) -> Option<WorkerFn> {
    Some(function(Worker::from_wire(worker)?, observe != 0))
}

fn function(worker: Worker, observe: bool) -> WorkerFn {
    match (worker, observe) {
        (Worker::Stamp, false) => worker::stamp,
        (Worker::Stamp, true) => worker::observed_stamp,
        (Worker::Spin, false) => worker::spin,
        (Worker::Spin, true) => worker::observed_spin,
        (Worker::Fault, _) => breaking::fault,
        (Worker::Hang, _) => breaking::hang,
        (Worker::HangFirst, _) => breaking::hang_first,
        (Worker::TouchPageable, _) => breaking::touch_pageable,
        (Worker::EnableInterrupts, _) => breaking::enable_interrupts,
        (Worker::LowerIrql, _) => breaking::lower_irql,
        (Worker::TakeLock, _) => breaking::take_lock,
        (Worker::CallAgain, _) => breaking::call_again,
        (Worker::Verify, false) => verify::verify,
        (Worker::Verify, true) => verify::observed_verify,
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
