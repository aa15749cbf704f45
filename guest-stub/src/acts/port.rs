//! Ports: one that KVM answers itself, and one of the VMM's.

use super::{Times, timed};
use crate::processor::Private;
use guest_stub::abi::command::Acts;
use guest_stub::abi::{PORT_IN_KVM, PORT_NO_EFFECT};

pub(super) fn write_to_kvm(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: a write there has no effect on the guest.
    unsafe { timed!(["mov edx, {port:e}", "out dx, eax"]; port = in(reg) u32::from(PORT_IN_KVM),) }
}

pub(super) fn write_to_vmm(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: as above.
    unsafe { timed!(["mov edx, {port:e}", "out dx, eax"]; port = in(reg) u32::from(PORT_NO_EFFECT),) }
}

pub(super) fn read_from_vmm(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: a read of that port changes EAX alone.
    unsafe { timed!(["mov edx, {port:e}", "in eax, dx"]; port = in(reg) u32::from(PORT_NO_EFFECT),) }
}
