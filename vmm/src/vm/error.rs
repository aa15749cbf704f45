//! Why a virtual machine could not be made.

use super::{device, image, paging};
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

impl Error {
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
