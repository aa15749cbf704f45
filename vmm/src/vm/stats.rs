//! The descriptor of a vCPU's statistics.

use crate::events::counters::{Error, StatsFile};
use kvm_ioctls::VcpuFd;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use vmm_sys_util::ioctl::ioctl;

/// What kvm-ioctls has no name for.
mod request {
    vmm_sys_util::ioctl_io_nr!(KVM_GET_STATS_FD, kvm_bindings::KVMIO, 0xce);
}

/// Opens the counters of `vcpu` (KVM_GET_STATS_FD, KVM API 4.133).
pub(super) fn open(vcpu: &VcpuFd) -> Result<StatsFile, Error> {
    // SAFETY: the ioctl takes no argument; the result is checked.
    let fd = unsafe { ioctl(vcpu, request::KVM_GET_STATS_FD()) };
    if fd < 0 {
        return Err(Error::Open(io::Error::last_os_error()));
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    StatsFile::new(unsafe { File::from_raw_fd(fd) })
}
