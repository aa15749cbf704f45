//! Where a vCPU is, for a diagnosis.

use super::user_apic::UserApic;
use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED,
};
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

/// What a processor is doing: its multiprocessing state (KVM_GET_MP_STATE), or what the user-space local APIC knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Running code.
    Running,
    /// In HLT.
    Halted,
    /// In wait-for-SIPI, since its reset or an INIT.
    WaitForSipi,
    /// Something else, or KVM does not say.
    Unknown,
}

impl Activity {
    /// The state in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Halted => "halted",
            Self::WaitForSipi => "waiting for SIPI",
            Self::Unknown => "in an unknown state",
        }
    }

    fn in_kernel(vcpu: &VcpuFd) -> Self {
        match vcpu.get_mp_state().map(|state| state.mp_state) {
            Ok(KVM_MP_STATE_RUNNABLE) => Self::Running,
            Ok(KVM_MP_STATE_HALTED) => Self::Halted,
            Ok(KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED) => Self::WaitForSipi,
            _ => Self::Unknown,
        }
    }
}

impl VcpuState {
    /// The state of `vcpu`, whose local APIC is `apic` or in the kernel; `None` if KVM does not give its registers.
    pub(super) fn read(vcpu: &VcpuFd, apic: Option<&UserApic>) -> Option<Self> {
        let activity = apic.map_or_else(|| Activity::in_kernel(vcpu), UserApic::activity);
        Some(Self { rip: vcpu.get_regs().ok()?.rip, irql: vcpu.get_sregs().ok()?.cr8, activity })
    }
}
