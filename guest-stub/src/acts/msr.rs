//! RDMSR and WRMSR of IA32_TSC_ADJUST (SDM Vol. 3B 19.17.3): KVM passes this MSR to no guest, and to write what is there moves
//! nothing. kvm-unit-tests' vmexit has the same two.

use super::{Times, timed};
use crate::cpu::msr::{self, IA32_TSC_ADJUST};
use crate::processor::Private;
use guest_stub::abi::command::Acts;

pub(super) fn read(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: the processor has the MSR, and a read has no side effect.
    unsafe { timed!(["rdmsr"]; in("ecx") IA32_TSC_ADJUST,) }
}

/// The value that it has.
pub(super) fn before_write(_: &Private) -> u64 {
    msr::read(IA32_TSC_ADJUST)
}

pub(super) fn write(_: &Private, _: &Acts, value: u64) -> Times {
    // SAFETY: the processor has the MSR, and keeps its value.
    unsafe {
        timed!(
            ["mov eax, r10d", "mov edx, r11d", "wrmsr"];
            in("ecx") IA32_TSC_ADJUST, in("r10") value, in("r11") value >> 32,
        )
    }
}
