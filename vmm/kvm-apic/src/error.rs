//! What fails, and with which error number.

use std::fmt;
use std::io;

/// What was asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// KVM_RUN: enters the guest.
    Run,
    /// KVM_RUN with `immediate_exit`, to finish the instruction of the last exit.
    Complete,
    /// KVM_INTERRUPT.
    Interrupt,
    /// KVM_NMI.
    Nmi,
    /// KVM_GET_REGS.
    GetRegs,
    /// KVM_SET_REGS.
    SetRegs,
    /// KVM_GET_SREGS.
    GetSregs,
    /// KVM_SET_SREGS.
    SetSregs,
    /// KVM_SET_DEBUGREGS.
    SetDebugRegs,
    /// KVM_GET_VCPU_EVENTS.
    GetVcpuEvents,
    /// KVM_SET_VCPU_EVENTS.
    SetVcpuEvents,
    /// KVM_GET_MSRS.
    GetMsrs,
    /// KVM_SET_MSRS.
    SetMsrs,
    /// KVM_SET_DEVICE_ATTR with KVM_VCPU_TSC_OFFSET.
    SetTscOffset,
    /// KVM_CREATE_VM, for a trial.
    CreateVm,
    /// KVM_CREATE_VCPU.
    CreateVcpu,
    /// KVM_SET_USER_MEMORY_REGION, for a trial.
    SetUserMemoryRegion,
    /// KVM_GET_SUPPORTED_CPUID.
    GetSupportedCpuid,
    /// KVM_SET_CPUID2.
    SetCpuid2,
    /// KVM_ENABLE_CAP with KVM_CAP_X86_USER_SPACE_MSR.
    EnableUserSpaceMsr,
    /// KVM_X86_SET_MSR_FILTER.
    SetMsrFilter,
    /// mmap of a vCPU's `kvm_run`.
    MapRunPage,
    /// sigaction, for the signal that gets threads out of the guest.
    InstallHandler,
    /// Starting the thread that watches the timers.
    StartTimers,
    /// A trial whose guest did something else than it was told to.
    Trial,
}

impl Operation {
    /// All, in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::Run,
        Self::Complete,
        Self::Interrupt,
        Self::Nmi,
        Self::GetRegs,
        Self::SetRegs,
        Self::GetSregs,
        Self::SetSregs,
        Self::SetDebugRegs,
        Self::GetVcpuEvents,
        Self::SetVcpuEvents,
        Self::GetMsrs,
        Self::SetMsrs,
        Self::SetTscOffset,
        Self::CreateVm,
        Self::CreateVcpu,
        Self::SetUserMemoryRegion,
        Self::GetSupportedCpuid,
        Self::SetCpuid2,
        Self::EnableUserSpaceMsr,
        Self::SetMsrFilter,
        Self::MapRunPage,
        Self::InstallHandler,
        Self::StartTimers,
        Self::Trial,
    ];

    /// The name in messages: the KVM API's, where it is one of its calls.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "KVM_RUN",
            Self::Complete => "KVM_RUN, to finish an exit's instruction,",
            Self::Interrupt => "KVM_INTERRUPT",
            Self::Nmi => "KVM_NMI",
            Self::GetRegs => "KVM_GET_REGS",
            Self::SetRegs => "KVM_SET_REGS",
            Self::GetSregs => "KVM_GET_SREGS",
            Self::SetSregs => "KVM_SET_SREGS",
            Self::SetDebugRegs => "KVM_SET_DEBUGREGS",
            Self::GetVcpuEvents => "KVM_GET_VCPU_EVENTS",
            Self::SetVcpuEvents => "KVM_SET_VCPU_EVENTS",
            Self::GetMsrs => "KVM_GET_MSRS",
            Self::SetMsrs => "KVM_SET_MSRS",
            Self::SetTscOffset => "KVM_SET_DEVICE_ATTR(KVM_VCPU_TSC_OFFSET)",
            Self::CreateVm => "KVM_CREATE_VM",
            Self::CreateVcpu => "KVM_CREATE_VCPU",
            Self::SetUserMemoryRegion => "KVM_SET_USER_MEMORY_REGION",
            Self::GetSupportedCpuid => "KVM_GET_SUPPORTED_CPUID",
            Self::SetCpuid2 => "KVM_SET_CPUID2",
            Self::EnableUserSpaceMsr => "KVM_ENABLE_CAP(KVM_CAP_X86_USER_SPACE_MSR)",
            Self::SetMsrFilter => "KVM_X86_SET_MSR_FILTER",
            Self::MapRunPage => "mapping a vCPU's kvm_run",
            Self::InstallHandler => "installing the handler of the signal that interrupts KVM_RUN",
            Self::StartTimers => "starting the thread of the local APICs' timers",
            Self::Trial => "trying what this KVM hands to user space",
        }
    }
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// What was asked of the kernel.
    pub operation: Operation,
    /// The error number.
    pub errno: i32,
}

impl Error {
    /// Of an operation that kvm-ioctls has asked for.
    pub(crate) fn of(operation: Operation) -> impl Fn(kvm_ioctls::Error) -> Self {
        move |error| Self { operation, errno: error.errno() }
    }

    /// Of an operation of the system's.
    pub(crate) fn of_io(operation: Operation) -> impl Fn(io::Error) -> Self {
        move |error| Self { operation, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.operation.name(), io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_operation_and_the_errno() {
        let error = Error { operation: Operation::SetVcpuEvents, errno: libc::EINVAL };
        assert_eq!(error.to_string(), "KVM_SET_VCPU_EVENTS failed: Invalid argument (os error 22)");
    }

    #[test]
    fn each_operation_has_its_place_in_the_list() {
        for (number, &operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(operation as usize, number, "{}", operation.name());
        }
    }
}
