//! Whether KVM hands over what a guest writes to IA32_TSC_DEADLINE, where the local APICs are not KVM's.
//!
//! It is asked to (`create::ask_for_msrs`), but kvm_intel with its preemption timer may take the write on a fast path
//! (`handle_fastpath_set_tscdeadline`, seen in Linux 6.1 and 6.12) that looks neither at the filter nor whether there is a
//! local APIC: the write is lost. So one is made.

use super::error::{Error, io_error, kvm_error};
use super::{create, registers};
use kipi_apic::registers::TSC_DEADLINE_MSR;
use kvm_bindings::{CpuId, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use std::io;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PAGE_DIRECTORY: u64 = 0x3000;
const CODE: u64 = 0x4000;
const MEMORY: usize = 0x5000;

/// Present and writable; with bit 7, a page of 2 MiB (SDM Vol. 3A 5.5.4).
const TABLE: u64 = 0x3;
const LARGE_PAGE: u64 = 0x83;

/// `mov ecx, IA32_TSC_DEADLINE; mov eax, 1; xor edx, edx; wrmsr; hlt`
fn code() -> [u8; 15] {
    let [a, b, c, d] = TSC_DEADLINE_MSR.to_le_bytes();
    [0xB9, a, b, c, d, 0xB8, 1, 0, 0, 0, 0x31, 0xD2, 0x0F, 0x30, 0xF4]
}

/// Lets a vCPU without a local APIC, with this CPUID, write IA32_TSC_DEADLINE, and then halt. Whether the write came here.
///
/// # Errors
/// [`Error::System`] for what KVM refuses, or an exit that is neither of the two.
pub(super) fn deadlines_exit(kvm: &Kvm, cpuid: &CpuId) -> Result<bool, Error> {
    let vm = kvm.create_vm().map_err(kvm_error("KVM_CREATE_VM"))?;
    create::ask_for_msrs(&vm)?;
    let memory = memory()?;
    let host = memory.get_host_address(GuestAddress(0)).map_err(|reason| memory_error(&reason))?;
    let region =
        kvm_userspace_memory_region { memory_size: MEMORY as u64, userspace_addr: host as u64, ..Default::default() };
    // SAFETY: the region is the mapping that `memory` owns; `vm` and its vCPU, declared around it, run no longer than this
    // function.
    unsafe { vm.set_user_memory_region(region) }.map_err(kvm_error("KVM_SET_USER_MEMORY_REGION"))?;
    let mut vcpu = vm.create_vcpu(0).map_err(kvm_error("KVM_CREATE_VCPU"))?;
    vcpu.set_cpuid2(cpuid).map_err(kvm_error("KVM_SET_CPUID2"))?;
    let mut sregs = registers::long_mode(vcpu.get_sregs().map_err(kvm_error("KVM_GET_SREGS"))?);
    sregs.cr3 = PML4;
    vcpu.set_sregs(&sregs).map_err(kvm_error("KVM_SET_SREGS"))?;
    vcpu.set_regs(&registers::at_entry(CODE)).map_err(kvm_error("KVM_SET_REGS"))?;
    first_exit(&mut vcpu)
}

fn memory() -> Result<GuestMemoryMmap, Error> {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).map_err(|reason| memory_error(&reason))?;
    for (table, entry) in [(PML4, PDPT | TABLE), (PDPT, PAGE_DIRECTORY | TABLE), (PAGE_DIRECTORY, LARGE_PAGE)] {
        memory.write_obj(entry, GuestAddress(table)).map_err(|reason| memory_error(&reason))?;
    }
    memory.write_slice(&code(), GuestAddress(CODE)).map_err(|reason| memory_error(&reason))?;
    Ok(memory)
}

fn memory_error<E: ToString>(reason: &E) -> Error {
    Error::Memory { bytes: MEMORY as u64, reason: reason.to_string() }
}

fn first_exit(vcpu: &mut VcpuFd) -> Result<bool, Error> {
    let error = |source| Error::System { operation: "trying whether IA32_TSC_DEADLINE exits", source };
    loop {
        match vcpu.run() {
            Ok(VcpuExit::X86Wrmsr(write)) if write.index == TSC_DEADLINE_MSR => return Ok(true),
            Ok(VcpuExit::Hlt) => return Ok(false),
            Ok(other) => return Err(error(io::Error::other(format!("{other:?}")))),
            // A signal that is somebody else's.
            Err(errno) if errno.errno() == libc::EINTR => {}
            Err(errno) => return Err(error(io_error(errno))),
        }
    }
}
