//! KVM, opened and found usable.

use super::device;
use super::error::{Error, kvm_error};
use super::hypercall_probe;
use guest_stub::abi;
use kipi_kvm_apic::{cpuid, deadline_probe};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;
use std::path::Path;
use std::sync::OnceLock;

/// KVM, opened and found usable.
#[derive(Debug)]
pub struct Hypervisor {
    pub(super) kvm: Kvm,
    pub(super) cpuid: Vec<kvm_cpuid_entry2>,
    tsc_deadlines_exit: OnceLock<bool>,
    hypercalls: OnceLock<bool>,
}

impl Hypervisor {
    /// Opens the KVM device at `path`.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::Kvm`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let kvm = device::open(path)?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(kvm_error("KVM_GET_SUPPORTED_CPUID"))?;
        Ok(Self {
            kvm,
            cpuid: cpuid.as_slice().to_vec(),
            tsc_deadlines_exit: OnceLock::new(),
            hypercalls: OnceLock::new(),
        })
    }

    /// Whether guests here may use x2APIC mode.
    pub fn offers_x2apic(&self) -> bool {
        cpuid::offers_x2apic(&self.cpuid)
    }

    /// Whether what guests write to IA32_TSC_DEADLINE can be had in user space, for a local APIC there; tried once. Where it
    /// cannot, guests are not offered the timer's TSC-deadline mode.
    ///
    /// # Errors
    /// What KVM refuses: [`Error::Vcpu`].
    pub fn tsc_deadlines_exit(&self) -> Result<bool, Error> {
        if let Some(&known) = self.tsc_deadlines_exit.get() {
            return Ok(known);
        }
        let exit = deadline_probe::deadlines_exit(&self.kvm, &self.cpuid)?;
        Ok(*self.tsc_deadlines_exit.get_or_init(|| exit))
    }

    /// Whether a guest's hypercalls reach this KVM; tried once. Where no machine can be had to try it, they do not.
    pub fn hypercalls_reach_kvm(&self) -> bool {
        *self.hypercalls.get_or_init(|| hypercall_probe::reach_kvm(&self.kvm, &self.cpuid).unwrap_or(false))
    }

    /// The most vCPUs that this KVM and the guest's memory map allow.
    pub fn max_vcpus(&self) -> usize {
        self.kvm.get_max_vcpus().min(abi::MAX_VCPUS)
    }
}

pub(super) fn require_irqchip(offered: bool) -> Result<(), Error> {
    offered.then_some(()).ok_or(Error::NoIrqchip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kvm_without_irqchip_is_a_host_that_cannot_do_it() {
        let error = require_irqchip(false).unwrap_err();
        assert!(error.is_host_limit());
        assert!(error.to_string().contains("no in-kernel irqchip"));
        assert!(require_irqchip(true).is_ok());
    }

    #[test]
    fn what_is_not_kvm_is_named() {
        let error = Hypervisor::open(Path::new("/nonexistent/kvm")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/kvm does not exist"), "{error}");
        let error = Hypervisor::open(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("/dev/null is not KVM's device"), "{error}");
    }
}
