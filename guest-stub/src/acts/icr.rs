//! An ICR write that sends this processor an interrupt, by its APIC id: what IPI virtualisation and AVIC do without an exit.
//! Interrupts are off, so that the write alone is measured; the interrupt is taken afterwards.

use super::interrupt::{self, COMMAND_TO_ITSELF};
use super::{Times, timed};
use crate::cpu::apic::{self, INTERRUPT_COMMAND, x2apic, xapic};
use crate::processor::Private;
use guest_stub::abi::XAPIC_BASE;
use guest_stub::abi::command::Acts;

pub(super) fn before_xapic(private: &Private) -> u64 {
    let icr = xapic::Icr::new();
    icr.wait_idle();
    icr.write_high(xapic::high_half(interrupt::own_id(private)));
    0
}

pub(super) fn xapic(_: &Private, _: &Acts, _: u64) -> Times {
    let icr = XAPIC_BASE + u64::from(INTERRUPT_COMMAND);
    // SAFETY: the local APIC is in xAPIC mode (`super::run` sets the `x2apic` of this act's `Way`), and its page is mapped. The
    // command is `COMMAND_TO_ITSELF`, whose vector has a handler; `before_xapic` has waited for the ICR and set its high half.
    unsafe { timed!(["mov [{icr}], {command:e}"]; icr = in(reg) icr, command = in(reg) COMMAND_TO_ITSELF,) }
}

/// The APIC id to send to.
pub(super) fn before_x2apic(private: &Private) -> u64 {
    apic::publish();
    interrupt::own_id(private).into()
}

pub(super) fn x2apic(_: &Private, _: &Acts, id: u64) -> Times {
    // SAFETY: the MSR is there: the local APIC is in x2APIC mode (`super::run`, by the `Way`). No bit of `COMMAND_TO_ITSELF` is
    // reserved, so that WRMSR raises no #GP, and its vector has a handler; `id` is this processor's (`before_x2apic`).
    unsafe {
        timed!(
            ["mov eax, r10d", "mov edx, r11d", "wrmsr"];
            in("ecx") x2apic::number(INTERRUPT_COMMAND), in("r10d") COMMAND_TO_ITSELF, in("r11") id,
        )
    }
}
