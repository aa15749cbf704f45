//! Where a vCPU is, for a diagnosis.

use super::activity::Activity;
use super::user_apic::UserApic;
use kvm_ioctls::VcpuFd;

/// Where a vCPU is, read while it is out of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuState {
    /// Instruction pointer.
    pub rip: u64,
    /// IRQL, from CR8.
    pub irql: u64,
    /// What the processor is doing.
    pub activity: Activity,
}

impl VcpuState {
    /// The state of `vcpu`, whose local APIC is `apic` or in the kernel; `None` if KVM does not give its registers.
    pub(super) fn read(vcpu: &VcpuFd, apic: Option<&UserApic>) -> Option<Self> {
        let activity = apic.map_or_else(|| Activity::in_kernel(vcpu), UserApic::activity);
        Some(Self { rip: vcpu.get_regs().ok()?.rip, irql: vcpu.get_sregs().ok()?.cr8, activity })
    }
}
