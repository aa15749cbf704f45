//! The EOI of an interrupt in service. With none in service there is nothing to end, and hypervisors return at once.

use super::interrupt;
use super::{Times, timed};
use crate::cpu::apic::{EOI, x2apic};
use crate::processor::Private;
use guest_stub::abi::XAPIC_BASE;
use guest_stub::abi::command::Acts;

/// Has an interrupt in service.
pub(super) fn before(private: &Private) -> u64 {
    interrupt::raise(private);
    interrupt::take(private);
    0
}

pub(super) fn xapic(_: &Private, _: &Acts, _: u64) -> Times {
    let eoi = XAPIC_BASE + u64::from(EOI);
    // SAFETY: the local APIC is in xAPIC mode (`super::run` sets the `x2apic` of this act's `Way`), and its page is mapped. What
    // this ends is the interrupt that `before` has put in service: nobody else waits for this EOI.
    unsafe { timed!(["mov [{eoi}], {zero:e}"]; eoi = in(reg) eoi, zero = in(reg) 0_u32,) }
}

pub(super) fn x2apic(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: the MSR is there: the local APIC is in x2APIC mode (`super::run`, by the `Way`). As above, `before` has put in
    // service what this ends.
    unsafe { timed!(["xor eax, eax", "xor edx, edx", "wrmsr"]; in("ecx") x2apic::number(EOI),) }
}
