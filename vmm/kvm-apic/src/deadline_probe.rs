//! Whether KVM hands over what a guest writes to IA32_TSC_DEADLINE, where the local APICs are not KVM's.
//!
//! It is asked to (KVM_X86_SET_MSR_FILTER), but kvm_intel with its preemption timer may take the write on a fast path
//! (`handle_fastpath_set_tscdeadline`, seen in Linux 6.1 and 6.12) that looks neither at the filter nor whether there is a
//! local APIC: the write is lost. So one is made.

use crate::cpuid;
use crate::error::{Error, Operation};
use crate::msrs;
use kipi_apic::registers::TSC_DEADLINE_MSR;
use kvm_bindings::{kvm_cpuid_entry2, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};

const PAGE: usize = 4096;
const PML4: usize = 1;
const PDPT: usize = 2;
const PAGE_DIRECTORY: usize = 3;
const CODE: usize = 4;

#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Guest memory from address 0 on: the code, and the page tables that map it.
fn guest_memory() -> Vec<Page> {
    /// Present and writable; with bit 7, a page of 2 MiB (SDM Vol. 3A 5.5.4).
    const TABLE: u64 = 0x3;
    const LARGE_PAGE: u64 = 0x83;
    let mut memory = vec![Page([0; PAGE]); CODE + 1];
    let table = |page: usize| (page * PAGE) as u64 | TABLE;
    for (page, entry) in [(PML4, table(PDPT)), (PDPT, table(PAGE_DIRECTORY)), (PAGE_DIRECTORY, LARGE_PAGE)] {
        memory[page].0[..8].copy_from_slice(&entry.to_le_bytes());
    }
    let code = code();
    memory[CODE].0[..code.len()].copy_from_slice(&code);
    memory
}

/// `mov ecx, IA32_TSC_DEADLINE; mov eax, 1; xor edx, edx; wrmsr; hlt`
fn code() -> [u8; 15] {
    let [a, b, c, d] = TSC_DEADLINE_MSR.to_le_bytes();
    [0xB9, a, b, c, d, 0xB8, 1, 0, 0, 0, 0x31, 0xD2, 0x0F, 0x30, 0xF4]
}

/// `sregs`, as KVM gave them, in long mode with the page tables above (SDM Vol. 3A 2.5, 11.8.5).
fn long_mode(sregs: &kvm_sregs) -> kvm_sregs {
    const PG_WP_NE_ET_PE: u64 = 0x8001_0031;
    const PAE: u64 = 0x20;
    const LMA_LME: u64 = 0x500;
    const CODE_READ_ACCESSED: u8 = 0xB;
    const DATA_WRITE_ACCESSED: u8 = 0x3;
    let data = kvm_segment {
        limit: u32::MAX,
        selector: 16,
        type_: DATA_WRITE_ACCESSED,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let code = kvm_segment { selector: 8, type_: CODE_READ_ACCESSED, db: 0, l: 1, ..data };
    kvm_sregs {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        cr0: PG_WP_NE_ET_PE,
        cr3: (PML4 * PAGE) as u64,
        cr4: PAE,
        efer: LMA_LME,
        ..*sregs
    }
}

/// Lets a vCPU without a local APIC, with this CPUID, write IA32_TSC_DEADLINE, and then halt. Whether the write came here.
///
/// # Errors
/// What KVM refuses, or [`Operation::Trial`] with the errno of an exit that is neither of the two.
pub fn deadlines_exit(kvm: &Kvm, entries: &[kvm_cpuid_entry2]) -> Result<bool, Error> {
    let memory = guest_memory();
    let vm = kvm.create_vm().map_err(Error::of(Operation::CreateVm))?;
    msrs::hand_over(&vm, false)?;
    let region = kvm_userspace_memory_region {
        memory_size: size_of_val(&*memory) as u64,
        userspace_addr: memory.as_ptr() as u64,
        ..Default::default()
    };
    // SAFETY: `memory` is page-aligned, nobody else uses it, and it is dropped after `vm` and its vCPU, which are declared later.
    unsafe { vm.set_user_memory_region(region) }.map_err(Error::of(Operation::SetUserMemoryRegion))?;
    let mut vcpu = vm.create_vcpu(0).map_err(Error::of(Operation::CreateVcpu))?;
    vcpu.set_cpuid2(&cpuid::to_kvm(entries)?).map_err(Error::of(Operation::SetCpuid2))?;
    let sregs = long_mode(&vcpu.get_sregs().map_err(Error::of(Operation::GetSregs))?);
    vcpu.set_sregs(&sregs).map_err(Error::of(Operation::SetSregs))?;
    let regs = kvm_regs { rip: (CODE * PAGE) as u64, rflags: 2, ..kvm_regs::default() };
    vcpu.set_regs(&regs).map_err(Error::of(Operation::SetRegs))?;
    first_exit(&mut vcpu)
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
