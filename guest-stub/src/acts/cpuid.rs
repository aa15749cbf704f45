//! CPUID, which exits from any guest (SDM Vol. 3C 27.1.2; of SVM's it is an intercept that KVM sets), and what it says.

use super::{Times, timed};
use crate::processor::Private;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use guest_stub::abi::command::Acts;

/// CPUID.01H:ECX (SDM Vol. 2A table 3-10).
const ECX_X2APIC: u32 = 1 << 21;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
/// CPUID.(EAX=07H,ECX=0):EBX.
const EBX_TSC_ADJUST: u32 = 1 << 1;

pub(super) fn has_x2apic() -> bool {
    __cpuid(1).ecx & ECX_X2APIC != 0
}

pub(super) fn has_tsc_deadline() -> bool {
    __cpuid(1).ecx & ECX_TSC_DEADLINE != 0
}

pub(super) fn has_tsc_adjust() -> bool {
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & EBX_TSC_ADJUST != 0
}

pub(super) fn leaf_0(_: &Private, _: &Acts, _: u64) -> Times {
    // SAFETY: CPUID has no effect but on four registers, of which the compiler keeps RBX for itself.
    unsafe {
        timed!(
            ["mov r10, rbx"],
            ["xor eax, eax", "cpuid"],
            ["mov rbx, r10"];
            out("ecx") _, out("r10") _,
        )
    }
}
