//! From the first instruction to Rust: vCPU 0 in long mode, the others through the real-mode trampoline.

use crate::conformance::processor as processor_tests;
use crate::dispatch;
use crate::processor;
use crate::vectors;
use core::arch::global_asm;
use guest_stub::abi::{APIC_IDS, MAX_VCPUS, PAGE_TABLES, VCPU_AREAS, VCPU_STRIDE, area};
use guest_stub::descriptors::KERNEL_CODE;
use guest_stub::long_mode::{CR0, CR4, EFER, IA32_EFER};

/// Extended topology: EDX is the x2APIC id (SDM Vol. 2A, CPUID).
const CPUID_TOPOLOGY: u32 = 0xB;

// vCPU 0: the VMM has set up long mode and a stack.
//
// The others: from real mode straight into long mode (SDM Vol. 3A 11.8.5: PAE, CR3, EFER.LME, then PG). They know
// themselves by the x2APIC id that CPUID shows: its place in the table of ids is their index, which finds their stack.
global_asm!(
    ".global _start",
    "_start:",
    "cld",
    "call {boot}",
    ".pushsection .trampoline, \"ax\", @progbits",
    ".code16",
    "cli",
    "cld",
    "xor eax, eax",
    "mov ds, ax",
    "lgdt [trampoline_gdtr]",
    "mov eax, {cr4}",
    "mov cr4, eax",
    "mov eax, {page_tables}",
    "mov cr3, eax",
    "mov ecx, {ia32_efer}",
    "xor edx, edx",
    "mov eax, {efer}",
    "wrmsr",
    "mov eax, {cr0}",
    "mov cr0, eax",
    ".byte 0x66, 0xea", // JMP ptr16:32
    ".long trampoline_long",
    ".word {kernel_code}",
    ".code64",
    "trampoline_long:",
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov eax, {topology}",
    "xor ecx, ecx",
    "cpuid",
    "mov ebx, {apic_ids}",
    "mov edi, edx",
    "cmp edi, {max_vcpus}",
    "jae 2f",
    "cmp [rbx + rdi * 4], edx",
    "je 4f",
    "2:",
    "xor edi, edi",
    "3:",
    "cmp [rbx + rdi * 4], edx",
    "je 4f",
    "inc edi",
    "cmp edi, {max_vcpus}",
    "jb 3b",
    "5:",
    "hlt",
    "jmp 5b",
    "4:",
    "mov rsp, rdi",
    "shl rsp, {stride_shift}",
    "add rsp, {stack}",
    "mov rax, offset {join}",
    "call rax",
    ".balign 8",
    "trampoline_gdt:",
    ".quad 0",
    ".quad 0x00AF9B000000FFFF",
    "trampoline_gdtr:",
    ".word 15",
    ".long trampoline_gdt",
    ".popsection",
    boot = sym boot,
    join = sym join,
    cr0 = const CR0,
    cr4 = const CR4,
    efer = const EFER,
    ia32_efer = const IA32_EFER,
    page_tables = const PAGE_TABLES,
    kernel_code = const KERNEL_CODE,
    topology = const CPUID_TOPOLOGY,
    apic_ids = const APIC_IDS,
    max_vcpus = const MAX_VCPUS,
    stride_shift = const VCPU_STRIDE.trailing_zeros(),
    stack = const VCPU_AREAS + area::KERNEL_STACK_TOP,
);

/// vCPU 0.
extern "sysv64" fn boot() -> ! {
    // SAFETY: the first thing on vCPU 0, before any other processor runs.
    let private = unsafe {
        vectors::initialise();
        processor::initialise(0)
    };
    // SAFETY: this is vCPU 0, and the IDT is filled in.
    unsafe { private.load_tables() };
    dispatch::run_commands(private)
}

/// Any other processor, by its index.
///
/// # Safety
/// The first thing on that processor, in long mode, on its kernel stack, after vCPU 0 has sent the SIPI.
pub(crate) unsafe extern "sysv64" fn join(index: usize) -> ! {
    if processor_tests::is_about(index) {
        processor_tests::take_part();
    }
    // SAFETY: the first thing on this processor; `index` is its own, from CPUID and the table of ids.
    let private = unsafe { processor::initialise(index) };
    // SAFETY: this is the processor; vCPU 0 has filled in the IDT before it sent the SIPI.
    unsafe { private.load_tables() };
    dispatch::take_part(private)
}
