//! Why a virtual machine could not be made.

use super::{device, image, paging};
use kipi_kvm_apic::Operation;
use std::io;
use thiserror::Error;

/// Why a virtual machine could not be made.
#[derive(Debug, Error)]
pub enum Error {
    /// KVM's device cannot be used.
    #[error("cannot use KVM: {0}")]
    Device(#[from] device::Error),
    /// The local APIC would have to be emulated by us.
    #[error("this KVM has no in-kernel irqchip (KVM_CAP_IRQCHIP is 0), which this route needs")]
    NoIrqchip,
    /// More vCPUs than this KVM allows.
    #[error("{asked} vCPUs are more than this KVM allows: at most {allowed}")]
    TooManyVcpus {
        asked: usize,
        /// KVM_CAP_MAX_VCPUS.
        allowed: usize,
    },
    /// APIC ids above 254 need the 32-bit API.
    #[error("{0} vCPUs need 32-bit APIC ids, and this KVM has no KVM_CAP_X2APIC_API")]
    NoWideApicIds(usize),
    /// One of KVM's ioctls failed.
    #[error("{operation}: {source}")]
    Kvm {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// Something of the operating system's failed.
    #[error("{operation}: {source}")]
    System {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// A vCPU cannot be made, or not with what runs it.
    #[error(transparent)]
    Vcpu(#[from] kipi_kvm_apic::Error),
    /// A vCPU's thread cannot be pinned.
    #[error("vCPU {vcpu} cannot be pinned to CPU {cpu}: {source}")]
    NotPinned {
        vcpu: usize,
        cpu: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// Guest memory cannot be had.
    #[error("cannot set up {bytes} bytes of guest memory: {reason}")]
    Memory {
        /// How much.
        bytes: u64,
        /// Why not.
        reason: String,
    },
    /// The guest image is unusable.
    #[error(transparent)]
    Guest(#[from] image::Error),
    /// The page tables do not fit.
    #[error(transparent)]
    Paging(#[from] paging::Error),
}

/// A limit of this process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of open files.
    Files,
    /// Of processes, for a thread that KVM needs.
    KvmThreads,
    /// Of processes or memory, for a thread of kipi's.
    Threads,
}

impl Error {
    /// The limit that is in the way, if one is.
    pub fn limit(&self) -> Option<Limit> {
        let (errno, of_threads) = match self {
            Self::Kvm { source, .. } => (source.raw_os_error(), Limit::KvmThreads),
            Self::System { source, .. } => (source.raw_os_error(), Limit::Threads),
            Self::Vcpu(error) if error.operation == Operation::StartTimers => (Some(error.errno), Limit::Threads),
            Self::Vcpu(error) => (Some(error.errno), Limit::KvmThreads),
            Self::Device(_)
            | Self::NoIrqchip
            | Self::TooManyVcpus { .. }
            | Self::NoWideApicIds(_)
            | Self::NotPinned { .. }
            | Self::Memory { .. }
            | Self::Guest(_)
            | Self::Paging(_) => return None,
        };
        match errno? {
            libc::EMFILE => Some(Limit::Files),
            libc::EAGAIN => Some(of_threads),
            _ => None,
        }
    }

    /// Whether it is this host that cannot do it, and not the input that is wrong.
    pub fn is_host_limit(&self) -> bool {
        !matches!(self, Self::TooManyVcpus { .. } | Self::Guest(_))
    }
}

/// The failure of one of KVM's ioctls.
pub(super) fn kvm_error(operation: &'static str) -> impl Fn(kvm_ioctls::Error) -> Error {
    move |error| Error::Kvm { operation, source: io_error(error) }
}

/// KVM's errno as the system's.
pub(super) fn io_error(error: kvm_ioctls::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_names_the_limit_that_is_in_the_way() {
        let of = |operation, errno| Error::from(kipi_kvm_apic::Error { operation, errno }).limit();
        assert_eq!(of(Operation::Trial, libc::EAGAIN), Some(Limit::KvmThreads));
        assert_eq!(of(Operation::StartTimers, libc::EAGAIN), Some(Limit::Threads));
        assert_eq!(of(Operation::CreateVcpu, libc::EMFILE), Some(Limit::Files));
        assert_eq!(of(Operation::SetSregs, libc::EINVAL), None);
        let started = Error::System { operation: "starting a thread", source: io::ErrorKind::WouldBlock.into() };
        assert_eq!(started.limit(), None, "no error number of the system's");
        assert_eq!(Error::NoIrqchip.limit(), None);
    }
}
