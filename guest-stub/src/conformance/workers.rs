//! Workers that break a rule of the contract, each on one vCPU. All return what [`stamp`] does.

use super::lock::SpinLock;
use super::pageable;
use crate::call::everybody::Everybody;
use crate::call::initiator;
use crate::call::worker::stamp;
use crate::cpu::{flags, irql};
use crate::processor;
use crate::shared;
use core::arch::asm;
use guest_stub::abi::{self, Destination, GuestRoute};

fn on_last_vcpu() -> bool {
    processor::current().index + 1 == shared::boot().vcpus as usize
}

pub(crate) extern "sysv64" fn fault(argument: usize) -> usize {
    if on_last_vcpu() {
        // SAFETY: raises #UD, whose handler does not return.
        unsafe { asm!("ud2", options(noreturn)) };
    }
    stamp(argument)
}

pub(crate) extern "sysv64" fn hang(argument: usize) -> usize {
    while on_last_vcpu() {
        core::hint::spin_loop();
    }
    stamp(argument)
}

pub(crate) extern "sysv64" fn hang_first(argument: usize) -> usize {
    while processor::current().index == 0 {
        core::hint::spin_loop();
    }
    stamp(argument)
}

pub(crate) extern "sysv64" fn touch_pageable(argument: usize) -> usize {
    if on_last_vcpu() {
        pageable::page_out();
        pageable::touch();
    }
    stamp(argument)
}

pub(crate) extern "sysv64" fn enable_interrupts(argument: usize) -> usize {
    if on_last_vcpu() {
        // SAFETY: the tables are loaded. The call does rely on it, which is what this worker is for: it notices, and stops.
        unsafe { flags::enable_interrupts() };
    }
    stamp(argument)
}

pub(crate) extern "sysv64" fn lower_irql(argument: usize) -> usize {
    if on_last_vcpu() {
        irql::set(abi::DISPATCH_LEVEL.into());
    }
    stamp(argument)
}

pub(crate) extern "sysv64" fn take_lock(argument: usize) -> usize {
    static LOCK: SpinLock = SpinLock::new();
    if on_last_vcpu() {
        LOCK.with(|| ());
    }
    stamp(argument)
}

pub(crate) extern "sysv64" fn call_again(argument: usize) -> usize {
    if on_last_vcpu() {
        let private = processor::current();
        let everybody = Everybody::new(private, 1, GuestRoute::Memory, Destination::AllButSelf);
        // Does not come back.
        let _ = initiator::broadcast(private, &everybody.call(stamp, argument, 0), &everybody, |_, _| ());
    }
    stamp(argument)
}
