//! Running code at CPL3, and coming back.
//!
//! Such code is assembly in the section `.user_text`, one page that CPL3 may execute; a compiler's code might reach for what
//! CPL3 may not see.

use crate::cpu::frame::Frame;
use crate::cpu::tables::Entry;
use crate::exceptions;
use crate::processor::{self, Private, UserWords};
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;
use guest_stub::abi::{PAGE, Sample, VCPU_STRIDE, area};
use guest_stub::descriptors::{USER_CODE, USER_DATA};

unsafe extern "sysv64" {
    /// Runs `code(first, second, third)` at CPL3 until it executes UD2, and returns its R8. `kernel_stack` is where
    /// the stack pointer is kept meanwhile: [`Private::kernel_rsp`] of this processor.
    fn enter_user(code: Entry, stack: u64, kernel_stack: *const AtomicU64, first: u64, second: u64, third: u64) -> u64;
}

unsafe extern "C" {
    /// #UD: CPL3's way out, or an exception like any other.
    pub(crate) fn invalid_opcode_entry();
}

// IRETQ to CPL3 with IF set (SDM Vol. 3A 7.14.3). UD2 comes back, on the stack of faults, which names this processor's
// area. Neither a software interrupt nor SYSCALL: a KVM without hardware virtualisation may not pass them on from CPL3,
// but exceptions it must.
global_asm!(
    "enter_user:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdx], rsp",
    "mov rax, rdi",
    "mov r10, rsi",
    "mov rdi, rcx",
    "mov rsi, r8",
    "mov rdx, r9",
    "push {ss}",
    "push r10",
    "push 0x202",
    "push {cs}",
    "push rax",
    "iretq",
    ".global invalid_opcode_entry",
    "invalid_opcode_entry:",
    "test byte ptr [rsp + {cs_offset}], 3",
    "jz {exception}",
    "and rsp, -{stride}",
    "mov rsp, [rsp + {kernel_rsp}]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "mov rax, r8",
    "sti",
    "ret",
    ss = const USER_DATA,
    cs = const USER_CODE,
    cs_offset = const offset_of!(Frame, cs),
    exception = sym exceptions::exception_6,
    stride = const VCPU_STRIDE,
    kernel_rsp = const area::PRIVATE as usize + offset_of!(Private, kernel_rsp),
);

/// Runs `code` at CPL3 until it executes UD2, and returns its R8: with the user page `words` in RDI, the ring in RSI, and
/// `until` in RDX.
///
/// # Safety
/// `code` lies in `.user_text`, and touches nothing but these and its own stack.
pub(crate) unsafe fn run(
    private: &'static Private,
    code: Entry,
    words: UserWords,
    ring: *mut Sample,
    until: u64,
) -> u64 {
    // Not the page's end: the stack pointer must lie within the area.
    let stack = private.user_page().address() as u64 + PAGE - 16;
    // SAFETY: what `code` touches (the caller's promise) is mapped for CPL3.
    unsafe { enter_user(code, stack, &raw const private.kernel_rsp, words.address() as u64, ring as u64, until) }
}

/// As [`run`], for whoever is in the VMM's place, with nothing in registers: [`AtCpl3`](guest_stub::abi::AtCpl3).
pub(crate) unsafe extern "sysv64" fn run_elsewhere(code: Entry, stack: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { enter_user(code, stack, &raw const processor::current().kernel_rsp, 0, 0, 0) }
}
