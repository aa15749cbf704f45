//! Where the other processors start: from real mode to the guest's address space, wherever below 1 MiB there was room.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ptr::copy_nonoverlapping;
use guest_stub::abi::{APIC_IDS, ImageHeader, MAX_VCPUS, PAGE, VCPU_AREAS, VCPU_STRIDE, area};
use guest_stub::long_mode::{CR0, CR4, EFER, IA32_EFER};

const TOPOLOGY: u32 = 0xB;

unsafe extern "C" {
    static trampoline: u8;
    static trampoline_gdtr_base: u8;
    static trampoline_long_target: u8;
    static trampoline_root: u8;
    static trampoline_idt: u8;
    static trampoline_idtr_base: u8;
    static trampoline_gate: u8;
    static trampoline_nmi: u8;
    static trampoline_stack: u8;
    static trampoline_join: u8;
    static trampoline_long: u8;
    static trampoline_gdt: u8;
    static trampoline_end: u8;
}

// CS is the page's number, and IP is zero (SDM Vol. 3A 10.4.3). What is absolute in it is filled in when it is copied. A processor
// knows itself by its x2APIC id, or, before there was one, by its initial APIC id. One that is not in the table of ids stays here: what is
// sent to all but the sender reaches it, too. Its local APIC, which INIT has disabled, takes no interrupt, but an NMI.
global_asm!(
    ".pushsection .rodata.trampoline, \"a\", @progbits",
    ".balign 16",
    ".global trampoline",
    "trampoline:",
    ".code16",
    "cli",
    "cld",
    "mov ax, cs",
    "mov ds, ax",
    "lgdt [trampoline_gdtr_offset]",
    "mov eax, {cr4}",
    "mov cr4, eax",
    "mov eax, dword ptr [trampoline_root_offset]",
    "mov cr3, eax",
    "mov ecx, {ia32_efer}",
    "xor edx, edx",
    "mov eax, {efer}",
    "wrmsr",
    "mov eax, {cr0}",
    "mov cr0, eax",
    ".byte 0x66, 0xea", // JMP ptr16:32
    ".global trampoline_long_target",
    "trampoline_long_target:",
    ".long 0",
    ".word 8",
    ".code64",
    ".global trampoline_long",
    "trampoline_long:",
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov fs, eax",
    "mov gs, eax",
    "cpuid",
    "cmp eax, {topology}",
    "jb 2f",
    "mov eax, {topology}",
    "xor ecx, ecx",
    "cpuid",
    "test ebx, ebx",
    "jnz 3f",
    "2:",
    "mov eax, 1",
    "cpuid",
    "mov edx, ebx",
    "shr edx, 24",
    "3:",
    "mov ebx, {apic_ids}",
    "xor edi, edi",
    "4:",
    "cmp [rbx + rdi * 4], edx",
    "je 6f",
    "inc edi",
    "cmp edi, {max_vcpus}",
    "jb 4b",
    "5:",
    "mov rsp, [rip + trampoline_stack]",
    "lidt [rip + trampoline_idtr]",
    "8:",
    "hlt",
    "jmp 8b",
    ".global trampoline_nmi",
    "trampoline_nmi:",
    "iretq",
    "6:",
    "mov rsp, rdi",
    "shl rsp, {stride_shift}",
    "add rsp, {stack}",
    "mov rax, [rip + trampoline_join]",
    "call rax",
    ".balign 8",
    ".global trampoline_gdt",
    "trampoline_gdt:",
    ".quad 0",
    ".quad 0x00AF9B000000FFFF",
    "trampoline_gdtr:",
    ".word 15",
    ".global trampoline_gdtr_base",
    "trampoline_gdtr_base:",
    ".long 0",
    ".balign 8",
    // Vectors 0 to 2 (SDM Vol. 3A 6.14.1): a present interrupt gate of DPL 0 for NMIs.
    ".global trampoline_idt",
    "trampoline_idt:",
    ".skip 32",
    ".global trampoline_gate",
    "trampoline_gate:",
    ".word 0",
    ".word 8",
    ".byte 0, 0x8E",
    ".word 0",
    ".quad 0",
    "trampoline_idtr:",
    ".word 47",
    ".global trampoline_idtr_base",
    "trampoline_idtr_base:",
    ".quad 0",
    ".balign 8",
    ".global trampoline_stack",
    "trampoline_stack:",
    ".quad 0",
    ".global trampoline_root",
    "trampoline_root:",
    ".quad 0",
    ".global trampoline_join",
    "trampoline_join:",
    ".quad 0",
    ".global trampoline_end",
    "trampoline_end:",
    ".set trampoline_gdtr_offset, trampoline_gdtr - trampoline",
    ".set trampoline_root_offset, trampoline_root - trampoline",
    ".popsection",
    cr4 = const CR4,
    cr0 = const CR0,
    efer = const EFER,
    ia32_efer = const IA32_EFER,
    topology = const TOPOLOGY,
    apic_ids = const APIC_IDS,
    max_vcpus = const MAX_VCPUS,
    stride_shift = const VCPU_STRIDE.trailing_zeros(),
    stack = const VCPU_AREAS + area::KERNEL_STACK_TOP,
);

const PARKED_BYTES: usize = 64;

/// The stack of all processors that stay: each pushes the same frame, since all are interrupted behind the same HLT.
#[repr(C, align(64))]
struct Parked(UnsafeCell<[u8; PARKED_BYTES]>);

// SAFETY: Rust code does not touch it.
unsafe impl Sync for Parked {}

static PARKED: Parked = Parked(UnsafeCell::new([0; PARKED_BYTES]));

/// Writes it to the page at `place`, for a guest with this PML4.
///
/// # Safety
/// The page is below 1 MiB, nobody else's, mapped to itself here and in the guest's address space.
pub(crate) unsafe fn write(place: u64, root: u64, header: &ImageHeader) {
    let start = &raw const trampoline;
    let offset = |symbol: *const u8| symbol as u64 - start as u64;
    let length = offset(&raw const trampoline_end);
    assert!(length <= PAGE && place < 1 << 20 && root < 1 << 32);
    let at = |symbol: *const u8| (place + offset(symbol)) as *mut u8;
    let word = |value: u64| u32::try_from(value).unwrap_or_default();
    // SAFETY: the caller's promise about the page; the symbols are those of the code above, within its length.
    unsafe {
        copy_nonoverlapping(start, place as *mut u8, length as usize);
        at(&raw const trampoline_gdtr_base)
            .cast::<u32>()
            .write_unaligned(word(place + offset(&raw const trampoline_gdt)));
        at(&raw const trampoline_long_target)
            .cast::<u32>()
            .write_unaligned(word(place + offset(&raw const trampoline_long)));
        at(&raw const trampoline_idtr_base).cast::<u64>().write_unaligned(place + offset(&raw const trampoline_idt));
        let nmi = place + offset(&raw const trampoline_nmi);
        at(&raw const trampoline_gate).cast::<u16>().write_unaligned(nmi as u16);
        at(&raw const trampoline_gate).add(6).cast::<u16>().write_unaligned((nmi >> 16) as u16);
        at(&raw const trampoline_stack).cast::<u64>().write_unaligned(PARKED.0.get() as u64 + PARKED_BYTES as u64);
        at(&raw const trampoline_root).cast::<u64>().write_unaligned(root);
        at(&raw const trampoline_join).cast::<u64>().write_unaligned(header.join);
    }
}
