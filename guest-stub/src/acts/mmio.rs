//! Memory that is none: a register of the xAPIC, and an address that the VMM answers at.

use super::{Times, timed};
use crate::cpu::apic::TASK_PRIORITY;
use crate::processor::Private;
use guest_stub::abi::command::Acts;
use guest_stub::abi::{NO_EFFECT, XAPIC_BASE};

pub(super) fn read_xapic(_: &Private, _: &Acts, _: u64) -> Times {
    load(XAPIC_BASE + u64::from(TASK_PRIORITY))
}

pub(super) fn read_from_vmm(_: &Private, _: &Acts, _: u64) -> Times {
    load(NO_EFFECT)
}

/// A load of four bytes, from one of the two callers' places alone.
#[inline]
fn load(place: u64) -> Times {
    // SAFETY: the tables of this guest map both places. A load has no side effect at either: the TPR, in xAPIC mode (`super::run`
    // sets the `x2apic` of `read_xapic`'s `Way`), and NO_EFFECT, by the ABI. EAX is the macro's output.
    unsafe { timed!(["mov eax, [{place}]"]; place = in(reg) place,) }
}
