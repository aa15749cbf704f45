//! Ports: one that KVM answers itself, and one of the VMM's.

use super::{Times, timed};
use crate::processor::Private;
use guest_stub::abi::command::Acts;
use guest_stub::abi::{PORT_IN_KVM, PORT_NO_EFFECT};

pub(super) fn write_to_kvm(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: PORT_IN_KVM is no device's: an eventfd of the VMM's answers it (`Vm::answer_port_in_kvm`), which changes nothing
    // in the guest, whatever EAX holds.
    unsafe { timed!(["mov edx, {port:e}", "out dx, eax"]; port = in(reg) u32::from(PORT_IN_KVM),) }
}

pub(super) fn write_to_vmm(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: the VMM ignores writes to PORT_NO_EFFECT: that is the ABI's contract of it.
    unsafe { timed!(["mov edx, {port:e}", "out dx, eax"]; port = in(reg) u32::from(PORT_NO_EFFECT),) }
}

pub(super) fn read_from_vmm(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: a read of PORT_NO_EFFECT has no effect in the VMM, by the ABI, and changes EAX alone, which is the macro's output.
    unsafe { timed!(["mov edx, {port:e}", "in eax, dx"]; port = in(reg) u32::from(PORT_NO_EFFECT),) }
}
