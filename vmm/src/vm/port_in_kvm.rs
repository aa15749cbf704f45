//! The port whose writes end in KVM: an eventfd takes them that nobody reads (KVM_IOEVENTFD, KVM API 4.59).

use super::error::{Error, kvm_error};
use guest_stub::abi::PORT_IN_KVM;
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use vmm_sys_util::eventfd::EventFd;

/// Has KVM answer the port from now on, for as long as the event is there.
pub(super) fn register(vm: &VmFd) -> Result<EventFd, Error> {
    let event = EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)
        .map_err(|source| Error::System { operation: "eventfd2", source })?;
    vm.register_ioevent(&event, &IoEventAddress::Pio(PORT_IN_KVM.into()), NoDatamatch)
        .map_err(kvm_error("KVM_IOEVENTFD"))?;
    Ok(event)
}
