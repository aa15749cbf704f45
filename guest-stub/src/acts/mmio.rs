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

/// A load of four bytes. The place is mapped, and a load there has no side effect.
#[inline]
fn load(place: u64) -> Times {
    // SAFETY: the two callers' places are such; the instruction is one that hypervisors' emulators know.
    unsafe { timed!(["mov eax, [{place}]"]; place = in(reg) place,) }
}
