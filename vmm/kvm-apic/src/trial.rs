//! A machine with one vCPU and a page of code in long mode: what becomes of an instruction is best seen by executing it.

use crate::cpuid;
use crate::error::{Error, Operation};
use kvm_bindings::{kvm_cpuid_entry2, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{VcpuFd, VmFd};

const PAGE: usize = 4096;
const PML4: usize = 1;
const PDPT: usize = 2;
const PAGE_DIRECTORY: usize = 3;
const CODE: usize = 4;

#[derive(Debug, Clone)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// A machine that is ready to run its code.
#[derive(Debug)]
pub struct Trial {
    /// Its vCPU.
    pub vcpu: VcpuFd,
    // Dropped in this order: nothing refers to the memory when it goes.
    _vm: VmFd,
    _memory: Vec<Page>,
}

impl Trial {
    /// In `vm`, which has neither vCPUs nor memory. The vCPU has this CPUID, and stands before `code`, with IF clear; the code
    /// lies in a page that can be written.
    ///
    /// # Errors
    /// What KVM refuses.
    ///
    /// # Panics
    /// If the code is larger than a page.
    pub fn new(vm: VmFd, entries: &[kvm_cpuid_entry2], code: &[u8]) -> Result<Self, Error> {
        let memory = guest_memory(code);
        let region = kvm_userspace_memory_region {
            memory_size: size_of_val(&*memory) as u64,
            userspace_addr: memory.as_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: `memory` is page-aligned, nobody else uses it, and it is dropped after the VM and its vCPU: here, as the earlier
        // declaration, and in `Self`, as the last field.
        unsafe { vm.set_user_memory_region(region) }.map_err(Error::of(Operation::SetUserMemoryRegion))?;
        let vcpu = vm.create_vcpu(0).map_err(Error::of(Operation::CreateVcpu))?;
        vcpu.set_cpuid2(&cpuid::to_kvm(entries)?).map_err(Error::of(Operation::SetCpuid2))?;
        let sregs = long_mode(&vcpu.get_sregs().map_err(Error::of(Operation::GetSregs))?);
        vcpu.set_sregs(&sregs).map_err(Error::of(Operation::SetSregs))?;
        let regs = kvm_regs { rip: (CODE * PAGE) as u64, rflags: 2, ..kvm_regs::default() };
        vcpu.set_regs(&regs).map_err(Error::of(Operation::SetRegs))?;
        Ok(Self { vcpu, _vm: vm, _memory: memory })
    }
}

/// Guest memory from address 0 on: the code, and the page tables that map it.
fn guest_memory(code: &[u8]) -> Vec<Page> {
    /// Present and writable; with bit 7, a page of 2 MiB (SDM Vol. 3A 5.5.4).
    const TABLE: u64 = 0x3;
    const LARGE_PAGE: u64 = 0x83;
    let mut memory = vec![Page([0; PAGE]); CODE + 1];
    let table = |page: usize| (page * PAGE) as u64 | TABLE;
    for (page, entry) in [(PML4, table(PDPT)), (PDPT, table(PAGE_DIRECTORY)), (PAGE_DIRECTORY, LARGE_PAGE)] {
        memory[page].0[..8].copy_from_slice(&entry.to_le_bytes());
    }
    memory[CODE].0[..code.len()].copy_from_slice(code);
    memory
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
