//! The guest: boots every processor, then runs blocks of broadcast calls for the VMM.

#![no_std]
#![no_main]
#![allow(clippy::cast_possible_truncation, reason = "register halves, and indices that end at 1024")]
#![allow(clippy::result_large_err, reason = "there is no heap to box a processor mask in")]

mod activity;
mod acts;
mod away;
mod block;
mod bugcheck;
mod builtins;
mod calibrate;
mod call;
mod conformance;
mod cpl3;
mod cpu;
mod dispatch;
mod exceptions;
mod exchange;
mod halting;
mod interrupts;
mod participant;
mod ping;
mod polling;
mod processor;
mod routes;
mod serve;
mod settle;
mod shared;
mod start;
mod states;
mod vectors;
mod workers;

use guest_stub::abi;

unsafe extern "C" {
    static __text_start: u8;
    static __data_start: u8;
    static __data_end: u8;
}

/// What the VMM reads before it runs this image.
#[repr(C)]
struct LinkedHeader {
    magic: u64,
    abi_version: u32,
    reserved: u32,
    text_start: &'static u8,
    data_start: &'static u8,
    data_end: &'static u8,
    join: unsafe extern "sysv64" fn(usize) -> !,
}

#[used]
#[unsafe(link_section = ".header")]
static HEADER: LinkedHeader = LinkedHeader {
    magic: abi::MAGIC,
    abi_version: abi::ABI_VERSION,
    reserved: 0,
    // SAFETY: the three are symbols of layout.ld; only their addresses are used.
    text_start: unsafe { &__text_start },
    // SAFETY: as above.
    data_start: unsafe { &__data_start },
    // SAFETY: as above.
    data_end: unsafe { &__data_end },
    join: start::join,
};
const _: () = assert!(size_of::<LinkedHeader>() == size_of::<abi::ImageHeader>());
