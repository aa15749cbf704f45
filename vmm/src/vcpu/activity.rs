//! A processor's activity state.

use super::run::Vcpu;
use kipi_apic::processor;
use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED,
};
use kvm_ioctls::VcpuFd;

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

    /// That of `vcpu`.
    pub(super) fn of(vcpu: &Vcpu) -> Self {
        match vcpu {
            Vcpu::Kernel(fd) => Self::in_kernel(fd),
            Vcpu::User(vcpu) => match vcpu.processor().activity() {
                processor::Activity::Running => Self::Running,
                processor::Activity::Halted { .. } => Self::Halted,
                processor::Activity::WaitForSipi => Self::WaitForSipi,
            },
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
