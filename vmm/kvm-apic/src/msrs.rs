//! The MSRs whose accesses KVM hands to user space.

use crate::error::{Error, Operation};
use crate::tsc::{IA32_TSC, IA32_TSC_ADJUST};
use kipi_apic::registers::{APIC_BASE_MSR, TSC_DEADLINE_MSR};
use kvm_bindings::{KVM_CAP_X86_USER_SPACE_MSR, kvm_enable_cap};
use kvm_ioctls::{MsrExitReason, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};

/// Makes KVM hand over what it does not know of (the x2APIC MSRs, where the local APIC is not in the kernel), and what it would
/// keep to itself: IA32_APIC_BASE; IA32_TSC_DEADLINE, which it would take and drop; and, if `tsc_writes`, writes of the TSC,
/// which move deadlines (KVM API: KVM_CAP_X86_USER_SPACE_MSR, KVM_X86_SET_MSR_FILTER).
///
/// # Errors
/// KVM's: one older than Linux 5.10 has neither.
pub(crate) fn hand_over(vm: &VmFd, tsc_writes: bool) -> Result<(), Error> {
    let reasons = MsrExitReason::Inval | MsrExitReason::Unknown | MsrExitReason::Filter;
    let msrs = kvm_enable_cap {
        cap: KVM_CAP_X86_USER_SPACE_MSR,
        args: [reasons.bits().into(), 0, 0, 0],
        ..Default::default()
    };
    vm.enable_cap(&msrs).map_err(Error::of(Operation::EnableUserSpaceMsr))?;
    let range = |base, flags| MsrFilterRange { flags, base, msr_count: 1, bitmap: &[0] };
    let (reads, writes) = (MsrFilterRangeFlags::READ, MsrFilterRangeFlags::WRITE);
    let ranges = [
        range(APIC_BASE_MSR, reads | writes),
        range(TSC_DEADLINE_MSR, reads | writes),
        range(IA32_TSC, writes),
        range(IA32_TSC_ADJUST, writes),
    ];
    let ranges = if tsc_writes { &ranges[..] } else { &ranges[..2] };
    vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, ranges).map_err(Error::of(Operation::SetMsrFilter))
}
