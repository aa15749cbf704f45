//! The registers that vCPU 0 starts with: long mode, at the image's entry. The others start in real mode, by SIPI.

use guest_stub::abi::{self, area};
use guest_stub::descriptors::{KERNEL_CODE, KERNEL_DATA};
use guest_stub::long_mode::{CR0, CR4, EFER, LMA};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

/// Bit 1 of RFLAGS is always one.
const RFLAGS: u64 = 2;

fn segment(selector: u16, type_: u8, long: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: u8::from(!long),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..kvm_segment::default()
    }
}

/// Makes `sregs`, as KVM gave them, those of long mode with the guest's page tables.
pub(super) fn long_mode(mut sregs: kvm_sregs) -> kvm_sregs {
    const CODE_EXECUTE_READ_ACCESSED: u8 = 0xB;
    const DATA_READ_WRITE_ACCESSED: u8 = 0x3;
    let data = segment(KERNEL_DATA, DATA_READ_WRITE_ACCESSED, false);
    sregs.cs = segment(KERNEL_CODE, CODE_EXECUTE_READ_ACCESSED, true);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.cr0 = CR0.into();
    sregs.cr3 = abi::PAGE_TABLES;
    sregs.cr4 = CR4.into();
    sregs.efer = (EFER | LMA).into();
    sregs
}

/// vCPU 0's general registers: at `entry`, on its kernel stack.
pub(super) fn at_entry(entry: u64) -> kvm_regs {
    kvm_regs { rip: entry, rsp: abi::vcpu_area(0) + area::KERNEL_STACK_TOP, rflags: RFLAGS, ..kvm_regs::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_mode_is_as_the_manual_wants_it() {
        let sregs = long_mode(kvm_sregs::default());
        assert_eq!(sregs.cr0 & 0x8000_0001, 0x8000_0001, "paging and protection");
        assert_eq!(sregs.cr4 & 0x20, 0x20, "PAE");
        assert_eq!(sregs.efer & 0x500, 0x500, "LME and LMA");
        assert_eq!((sregs.cs.l, sregs.cs.db, sregs.cs.type_), (1, 0, 0xB), "64-bit code has L set and D clear");
        assert_eq!((sregs.ss.l, sregs.ss.type_, sregs.ss.s), (0, 3, 1));
        assert_eq!(sregs.cr3, abi::PAGE_TABLES);
    }

    #[test]
    fn the_stack_is_aligned_for_the_first_call() {
        let regs = at_entry(0x10_1000);
        assert_eq!(regs.rsp % 16, 0);
        assert_eq!((regs.rip, regs.rflags), (0x10_1000, 2));
    }
}
