//! The standalone image: the guest, where kipi's VMM is not.
//!
//! A boot loader starts it through one of its doors ([`start`]). It looks for processors and memory ([`land`], [`machine`]), and builds
//! the address space that the guest's image is linked for ([`guest`], [`space`]). The guest then calls it where it would ring the VMM's doorbell
//! ([`bell`], [`run`]).

#![no_std]
#![no_main]
#![allow(clippy::cast_possible_truncation, reason = "counts that end at 1024, and addresses below 4 GiB")]

mod bell;
mod builtins;
mod console;
mod cpu;
mod efi;
mod frequency;
mod guest;
mod land;
mod local_apic;
mod machine;
mod out;
mod platform;
mod power;
mod quiet;
mod run;
mod space;
mod start;
mod trampoline;
mod words;

use core::panic::PanicInfo;
use kipi_standalone::records::Record;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut out = out::Out::next(console::Console::last());
    out.say(format_args!("{info}"));
    out.record(&Record::End { blocks: 0 });
    cpu::halt()
}
