//! Where a vCPU is, for a diagnosis.

use super::activity::Activity;
use super::run::Vcpu;

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
    /// The state of `vcpu`; `None` if KVM does not give its registers.
    pub(super) fn read(vcpu: &Vcpu) -> Option<Self> {
        let fd = vcpu.fd();
        Some(Self { rip: fd.get_regs().ok()?.rip, irql: fd.get_sregs().ok()?.cr8, activity: Activity::of(vcpu) })
    }
}
