//! KVM's ioctls by number (Documentation/virt/kvm/api.rst; include/uapi/linux/kvm.h). What kvm-ioctls calls, it keeps to itself.

use kvm_bindings::{
    KVMIO, kvm_cpuid2, kvm_debugregs, kvm_device_attr, kvm_enable_cap, kvm_interrupt, kvm_ioeventfd, kvm_lapic_state,
    kvm_mp_state, kvm_msi, kvm_msr_filter, kvm_msrs, kvm_regs, kvm_sregs, kvm_userspace_memory_region, kvm_vcpu_events,
};
use std::mem::size_of;
use std::os::raw::c_uint;
use vmm_sys_util::ioctl::{_IOC_NONE, _IOC_READ, _IOC_WRITE, ioctl_expr};

#[expect(clippy::cast_possible_truncation, reason = "checked, and an error where this is compiled")]
const fn number(direction: c_uint, number: c_uint, size: usize) -> u64 {
    assert!(size < 1 << 14, "the size has 14 bits");
    ioctl_expr(direction, KVMIO, number, size as c_uint)
}

const fn without(nr: c_uint) -> u64 {
    number(_IOC_NONE, nr, 0)
}

const fn reads<T>(nr: c_uint) -> u64 {
    number(_IOC_READ, nr, size_of::<T>())
}

const fn writes<T>(nr: c_uint) -> u64 {
    number(_IOC_WRITE, nr, size_of::<T>())
}

const fn both<T>(nr: c_uint) -> u64 {
    number(_IOC_READ | _IOC_WRITE, nr, size_of::<T>())
}

/// The ones of a vCPU's thread. KVM_RUN comes first: a filter looks at them in this order.
pub(super) const OF_VCPU: [u64; 18] = [
    without(0x80),                   // KVM_RUN
    writes::<kvm_msi>(0xA5),         // KVM_SIGNAL_MSI
    writes::<kvm_interrupt>(0x86),   // KVM_INTERRUPT
    without(0x9A),                   // KVM_NMI
    reads::<kvm_regs>(0x81),         // KVM_GET_REGS
    writes::<kvm_regs>(0x82),        // KVM_SET_REGS
    reads::<kvm_sregs>(0x83),        // KVM_GET_SREGS
    writes::<kvm_sregs>(0x84),       // KVM_SET_SREGS
    both::<kvm_msrs>(0x88),          // KVM_GET_MSRS
    writes::<kvm_msrs>(0x89),        // KVM_SET_MSRS
    reads::<kvm_lapic_state>(0x8E),  // KVM_GET_LAPIC
    reads::<kvm_mp_state>(0x98),     // KVM_GET_MP_STATE
    reads::<kvm_vcpu_events>(0x9F),  // KVM_GET_VCPU_EVENTS
    writes::<kvm_vcpu_events>(0xA0), // KVM_SET_VCPU_EVENTS
    writes::<kvm_debugregs>(0xA2),   // KVM_SET_DEBUGREGS
    writes::<kvm_device_attr>(0xE1), // KVM_SET_DEVICE_ATTR: the TSC's offset, which a reset keeps
    writes::<kvm_device_attr>(0xE2), // KVM_GET_DEVICE_ATTR
    writes::<kvm_device_attr>(0xE3), // KVM_HAS_DEVICE_ATTR
];

/// Those by which the main thread makes machines and asks for their state.
pub(super) const OF_MACHINES: [u64; 21] = [
    without(0x00),                               // KVM_GET_API_VERSION
    without(0x01),                               // KVM_CREATE_VM
    without(0x03),                               // KVM_CHECK_EXTENSION
    without(0x04),                               // KVM_GET_VCPU_MMAP_SIZE
    both::<kvm_cpuid2>(0x05),                    // KVM_GET_SUPPORTED_CPUID
    both::<kvm_cpuid2>(0xC1),                    // KVM_GET_SUPPORTED_HV_CPUID
    without(0x41),                               // KVM_CREATE_VCPU
    writes::<kvm_userspace_memory_region>(0x46), // KVM_SET_USER_MEMORY_REGION
    without(0x47),                               // KVM_SET_TSS_ADDR
    without(0x60),                               // KVM_CREATE_IRQCHIP
    writes::<kvm_ioeventfd>(0x79),               // KVM_IOEVENTFD
    writes::<kvm_cpuid2>(0x90),                  // KVM_SET_CPUID2
    both::<kvm_cpuid2>(0x91),                    // KVM_GET_CPUID2
    writes::<kvm_lapic_state>(0x8F),             // KVM_SET_LAPIC
    writes::<kvm_mp_state>(0x99),                // KVM_SET_MP_STATE
    writes::<kvm_enable_cap>(0xA3),              // KVM_ENABLE_CAP
    without(0xA2),                               // KVM_SET_TSC_KHZ
    without(0xA3),                               // KVM_GET_TSC_KHZ
    writes::<kvm_msr_filter>(0xC6),              // KVM_X86_SET_MSR_FILTER
    without(0xCE),                               // KVM_GET_STATS_FD
    reads::<kvm_debugregs>(0xA1),                // KVM_GET_DEBUGREGS
];

/// Of a terminal: whether it is one, and its size.
pub(super) const OF_TERMINALS: [u64; 3] = [libc::TCGETS, libc::TCGETS2, libc::TIOCGWINSZ];

#[cfg(test)]
mod tests {
    use super::*;

    /// As strace shows them.
    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert_eq!(OF_VCPU[..3], [0xAE80, 0x4020_AEA5, 0x4004_AE86]);
        let others = [0xC008_AE05, 0x4020_AE46, 0x4040_AE79, 0x4068_AEA3, 0x4188_AEC6];
        assert!(others.iter().all(|number| OF_MACHINES.contains(number)));
        assert!(OF_VCPU.contains(&0x4018_AEE1));
    }
}
