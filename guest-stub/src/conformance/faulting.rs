//! Accesses to MSRs that may end in #GP, which is then skipped.

use crate::exceptions;
use core::arch::global_asm;

unsafe extern "sysv64" {
    fn faulting_write_msr(msr: u32, value: u64) -> u32;
    fn faulting_read_msr(msr: u32, value: *mut u64) -> u32;
}

unsafe extern "C" {
    /// #GP: the fault of an access below, which is skipped, or an exception like any other.
    pub(crate) fn general_protection_entry();
}

// RDMSR and WRMSR are two bytes long. The handler sets CF in the flags that it returns to.
global_asm!(
    "faulting_write_msr:",
    "mov ecx, edi",
    "mov eax, esi",
    "mov rdx, rsi",
    "shr rdx, 32",
    "clc",
    "2:",
    "wrmsr",
    "sbb eax, eax",
    "ret",
    "faulting_read_msr:",
    "mov ecx, edi",
    "clc",
    "3:",
    "rdmsr",
    "mov [rsi], eax",
    "mov [rsi + 4], edx",
    "sbb eax, eax",
    "ret",
    ".global general_protection_entry",
    "general_protection_entry:",
    "push rax",
    "lea rax, [rip + 2b]",
    "cmp [rsp + 16], rax",
    "je 4f",
    "lea rax, [rip + 3b]",
    "cmp [rsp + 16], rax",
    "je 4f",
    "pop rax",
    "jmp {exception}",
    "4:",
    "add qword ptr [rsp + 16], 2",
    "or dword ptr [rsp + 32], 1",
    "pop rax",
    "add rsp, 8",
    "iretq",
    exception = sym exceptions::exception_13,
);

/// The access ended in #GP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct GeneralProtection;

/// Writes an MSR.
pub(super) fn write_msr(msr: u32, value: u64) -> Result<(), GeneralProtection> {
    // SAFETY: a function of this signature; a fault is skipped. What the MSR does is the caller's business.
    if unsafe { faulting_write_msr(msr, value) } == 0 { Ok(()) } else { Err(GeneralProtection) }
}

/// Reads an MSR.
pub(super) fn read_msr(msr: u32) -> Result<u64, GeneralProtection> {
    let mut value = 0;
    // SAFETY: a function of this signature, which writes `value`; a fault is skipped.
    if unsafe { faulting_read_msr(msr, &raw mut value) } == 0 { Ok(value) } else { Err(GeneralProtection) }
}
