//! Whether KVM hands over what a guest writes to IA32_TSC_DEADLINE, where the local APICs are not KVM's.
//!
//! It is asked to (KVM_X86_SET_MSR_FILTER), but kvm_intel with its preemption timer may take the write on a fast path
//! (`handle_fastpath_set_tscdeadline`, seen in Linux 6.1 and 6.12) that looks neither at the filter nor whether there is a
//! local APIC: the write is lost. So one is made.

use crate::error::{Error, Operation};
use crate::msrs;
use crate::trial::Trial;
use kipi_apic::registers::TSC_DEADLINE_MSR;
use kvm_bindings::kvm_cpuid_entry2;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};

/// `mov ecx, IA32_TSC_DEADLINE; mov eax, 1; xor edx, edx; wrmsr; hlt`
fn code() -> [u8; 15] {
    let [a, b, c, d] = TSC_DEADLINE_MSR.to_le_bytes();
    [0xB9, a, b, c, d, 0xB8, 1, 0, 0, 0, 0x31, 0xD2, 0x0F, 0x30, 0xF4]
}

/// Lets a vCPU without a local APIC, with this CPUID, write IA32_TSC_DEADLINE, and then halt. Whether the write came here.
///
/// # Errors
/// What KVM refuses, or [`Operation::Trial`] with the errno of an exit that is neither of the two.
pub fn deadlines_exit(kvm: &Kvm, entries: &[kvm_cpuid_entry2]) -> Result<bool, Error> {
    let vm = kvm.create_vm().map_err(Error::of(Operation::CreateVm))?;
    msrs::hand_over(&vm, false)?;
    first_exit(&mut Trial::new(vm, entries, &code())?.vcpu)
}

fn first_exit(vcpu: &mut VcpuFd) -> Result<bool, Error> {
    loop {
        match vcpu.run() {
            Ok(VcpuExit::X86Wrmsr(write)) if write.index == TSC_DEADLINE_MSR => return Ok(true),
            Ok(VcpuExit::Hlt) => return Ok(false),
            Ok(_) => return Err(Error { operation: Operation::Trial, errno: libc::EIO }),
            // A signal that is somebody else's.
            Err(error) if error.errno() == libc::EINTR => {}
            Err(error) => return Err(Error::of(Operation::Trial)(error)),
        }
    }
}
