//! Memory that may be paged out: one page, which is mapped when it is touched below DISPATCH_LEVEL.
//!
//! Touching it above is the broken rule that this is for. So that no earlier use hides it, [`page_out`] unmaps the page.

use crate::cpu::frame::{pop_caller_saved, push_caller_saved};
use crate::cpu::irql;
use crate::exceptions;
use crate::shared;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use guest_stub::abi::{DISPATCH_LEVEL, PAGE, PAGEABLE};

const PRESENT: u64 = 1 << 0;

/// Its page-table entry.
fn entry() -> &'static AtomicU64 {
    // SAFETY: the VMM says where the entry is, and maps that page for as long as the guest lives. The processor reads
    // it, and the guest accesses it atomically alone.
    unsafe { AtomicU64::from_ptr(shared::boot().pageable_entry as *mut u64) }
}

/// Unmaps the page on this processor.
pub(crate) fn page_out() {
    entry().fetch_and(!PRESENT, Ordering::Relaxed);
    // SAFETY: forgets a translation of a page that no reference points into.
    unsafe { asm!("invlpg [{}]", in(reg) PAGEABLE, options(nostack, preserves_flags)) };
}

/// Writes to the page.
pub(crate) fn touch() {
    // SAFETY: the page is mapped, or the fault's handler maps it, or does not return; nothing else is there.
    unsafe { (PAGEABLE as *mut u64).write_volatile(1) };
}

unsafe extern "C" {
    /// #PF: the page that was out, or an exception like any other.
    pub(crate) fn page_fault_entry();
}

// An entry that is not present is cached nowhere (SDM Vol. 3A 5.10.4.3): mapping it needs no invalidation.
global_asm!(
    "page_fault_entry:",
    push_caller_saved!(),
    // Fifteen words lie on the stack, which calls want aligned to two.
    "lea rsp, [rsp - 8]",
    "call {page_in}",
    "lea rsp, [rsp + 8]",
    "test eax, eax",
    pop_caller_saved!(),
    "jz {exception}",
    "lea rsp, [rsp + 8]",
    "iretq",
    page_in = sym page_in,
    exception = sym exceptions::exception_14,
);

/// Maps the page if it is the one that faulted, and may be touched here. Returns whether it did.
extern "sysv64" fn page_in() -> u32 {
    let address: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    if !(PAGEABLE..PAGEABLE + PAGE).contains(&address) || irql::current() >= DISPATCH_LEVEL.into() {
        return 0;
    }
    entry().fetch_or(PRESENT, Ordering::Relaxed);
    1
}
