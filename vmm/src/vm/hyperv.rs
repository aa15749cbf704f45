//! Hyper-V's interface, which a machine can have before KVM's own.

use super::error::{Error, kvm_error};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::VcpuFd;
use std::ops::RangeInclusive;
use vmm_sys_util::ioctl::ioctl_with_mut_ptr;

mod request {
    vmm_sys_util::ioctl_iowr_nr!(KVM_GET_SUPPORTED_HV_CPUID, kvm_bindings::KVMIO, 0xc1, kvm_bindings::kvm_cpuid2);
}

/// Vendor, interface, version, features, recommendations and limits: what a guest needs for hypercalls and VP indices.
const HYPERV_LEAVES: RangeInclusive<u32> = 0x4000_0000..=0x4000_0005;
/// KVM's own leaves where Hyper-V has none, and where they go: a guest that looks for KVM's signature tries both places.
const KVM_LEAVES: RangeInclusive<u32> = 0x4000_0000..=0x4000_00FF;
const KVM_LEAVES_MOVED_BY: u32 = 0x100;

/// What a vCPU's CPUID shows that has Hyper-V's interface, made of what it shows without.
pub(super) fn cpuid(vcpu: &VcpuFd, entries: &[kvm_cpuid_entry2]) -> Result<Vec<kvm_cpuid_entry2>, Error> {
    let failed = kvm_error("KVM_GET_SUPPORTED_HV_CPUID");
    let mut offered = CpuId::new(KVM_MAX_CPUID_ENTRIES).map_err(|_| failed(kvm_ioctls::Error::new(libc::ENOMEM)))?;
    // SAFETY: the structure says how many entries it has room for, and KVM writes no more.
    let status =
        unsafe { ioctl_with_mut_ptr(vcpu, request::KVM_GET_SUPPORTED_HV_CPUID(), offered.as_mut_fam_struct_ptr()) };
    if status < 0 {
        return Err(failed(kvm_ioctls::Error::last()));
    }
    Ok(behind(offered.as_slice(), entries))
}

/// Hyper-V's leaves, and KVM's behind them.
fn behind(hyperv: &[kvm_cpuid_entry2], kvm: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
    let shown = hyperv.iter().filter(|entry| HYPERV_LEAVES.contains(&entry.function)).map(|entry| {
        let is_first = entry.function == *HYPERV_LEAVES.start();
        kvm_cpuid_entry2 { eax: if is_first { *HYPERV_LEAVES.end() } else { entry.eax }, ..*entry }
    });
    let moved = kvm.iter().map(|entry| {
        if !KVM_LEAVES.contains(&entry.function) {
            return *entry;
        }
        let is_first = entry.function == *KVM_LEAVES.start();
        kvm_cpuid_entry2 {
            function: entry.function + KVM_LEAVES_MOVED_BY,
            eax: if is_first { entry.eax + KVM_LEAVES_MOVED_BY } else { entry.eax },
            ..*entry
        }
    });
    shown.chain(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyperv_comes_first_and_kvm_behind_it() {
        let entry = |function, eax| kvm_cpuid_entry2 { function, eax, ..kvm_cpuid_entry2::default() };
        let hyperv = [entry(0x4000_0000, 0x4000_0082), entry(0x4000_0001, 0x3123_7648), entry(0x4000_0082, 1)];
        let kvm = [entry(1, 7), entry(0x4000_0000, 0x4000_0001), entry(0x4000_0001, 1 << 11)];
        let shown: Vec<_> = behind(&hyperv, &kvm).iter().map(|entry| (entry.function, entry.eax)).collect();
        let hyperv = [(0x4000_0000, 0x4000_0005), (0x4000_0001, 0x3123_7648)];
        let kvm = [(1, 7), (0x4000_0100, 0x4000_0101), (0x4000_0101, 1 << 11)];
        assert_eq!(shown, [&hyperv[..], &kvm].concat());
    }
}
