//! The doors: from what a boot loader leaves to Rust, in long mode, at the image's own addresses.

use crate::land;
use core::arch::global_asm;
use guest_stub::long_mode::{CR0, CR4, EFER, IA32_EFER};

/// Which door the image came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Door {
    /// Xen's PVH boot ABI: QEMU, Firecracker, cloud-hypervisor, crosvm.
    Pvh = 1,
    /// Multiboot2: GRUB.
    Multiboot2 = 2,
    /// UEFI.
    Efi = 3,
}

impl Door {
    /// The name in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pvh => "pvh",
            Self::Multiboot2 => "multiboot2",
            Self::Efi => "efi",
        }
    }
}

/// What Multiboot2's loader leaves in EAX (Multiboot2 specification 3.3).
const LEFT_BY_MULTIBOOT2: u32 = 0x36D7_6289;
/// The header's own (3.1.1).
const MULTIBOOT2_MAGIC: u32 = 0xE852_50D6;
/// XEN_ELFNOTE_PHYS32_ENTRY (xen/include/public/elfnote.h).
const PHYS32_ENTRY: u32 = 18;

pub(crate) const PRESENT_WRITABLE: u32 = 0x3;
pub(crate) const PRESENT_WRITABLE_LARGE: u32 = 0x83;

/// Bytes of the stack.
pub(crate) const STACK: usize = 0x1_0000;

// Both doors leave 32-bit protected mode with flat segments and without paging, at the address that the image is linked to
// be loaded at. PVH: EBX is the start info's address. Multiboot2: EBX is that of the information.
//
// The tables map the low 4 GiB to themselves by pages of 2 MiB, and the image's 2 MiB at its virtual address.
global_asm!(
    ".pushsection .multiboot2, \"a\", @progbits",
    ".balign 8",
    "multiboot2_header:",
    ".long {magic}",
    ".long 0",
    ".long multiboot2_header_end - multiboot2_header",
    ".long -({magic} + (multiboot2_header_end - multiboot2_header))",
    // The entry's address: that of the ELF header is the virtual one.
    ".word 3",
    ".word 0",
    ".long 12",
    ".long multiboot2_start_physical",
    ".balign 8",
    ".word 0",
    ".word 0",
    ".long 8",
    "multiboot2_header_end:",
    ".popsection",
    ".pushsection .note.Xen, \"a\", @note",
    ".balign 4",
    ".long 4",
    ".long 8",
    ".long {phys32_entry}",
    ".asciz \"Xen\"",
    ".balign 4",
    ".quad pvh_start_physical",
    ".popsection",
    ".pushsection .bss.start, \"aw\", @nobits",
    ".balign 4096",
    ".global start_tables",
    "start_tables:",
    ".skip 9 * 4096",

    ".skip {stack}",
    ".global start_stack_top",
    "start_stack_top:",
    ".popsection",
    ".pushsection .start, \"ax\", @progbits",
    ".code32",
    ".global pvh_start",
    "pvh_start:",
    "mov edi, {pvh}",
    "jmp 2f",
    ".global multiboot2_start",
    "multiboot2_start:",
    "cmp eax, {left_by_multiboot2}",
    "jne 9f",
    "mov edi, {multiboot2}",
    "2:",
    "cli",
    "cld",
    "mov esi, ebx",
    // PML4: 0 the low 4 GiB, 1 the image.
    "mov ebp, offset start_tables_physical",
    "lea eax, [ebp + 0x1000 + {present_writable}]",
    "mov [ebp], eax",
    "lea eax, [ebp + 0x6000 + {present_writable}]",
    "mov [ebp + 8], eax",
    // The low page-directory-pointer table, and its four page directories.
    "lea eax, [ebp + 0x2000 + {present_writable}]",
    "xor ecx, ecx",
    "3:",
    "mov [ebp + 0x1000 + ecx * 8], eax",
    "add eax, 0x1000",
    "inc ecx",
    "cmp ecx, 4",
    "jb 3b",
    "mov eax, {present_writable_large}",
    "xor ecx, ecx",
    "4:",
    "mov [ebp + 0x2000 + ecx * 8], eax",
    "add eax, 0x200000",
    "inc ecx",
    "cmp ecx, 2048",
    "jb 4b",
    // The image's.
    "lea eax, [ebp + 0x7000 + {present_writable}]",
    "mov [ebp + 0x6000], eax",
    "lea eax, [ebp + 0x8000 + {present_writable}]",
    "mov [ebp + 0x7000], eax",
    "mov eax, {present_writable} + 0x200000",
    "xor ecx, ecx",
    "5:",
    "mov [ebp + 0x8000 + ecx * 8], eax",
    "add eax, 0x1000",
    "inc ecx",
    "cmp ecx, 512",
    "jb 5b",
    "mov eax, {cr4}",
    "mov cr4, eax",
    "mov cr3, ebp",
    "mov ecx, {ia32_efer}",
    "xor edx, edx",
    "mov eax, {efer}",
    "wrmsr",
    "mov eax, {cr0}",
    "mov cr0, eax",
    "mov eax, offset start_gdtr_physical",
    "lgdt [eax]",
    ".byte 0xea", // JMP ptr16:32
    ".long start64_physical",
    ".word 8",
    "9:",
    "hlt",
    "jmp 9b",
    ".code64",
    ".global start64",
    "start64:",
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov fs, eax",
    "mov gs, eax",
    "movabs rsp, offset start_stack_top",
    "movabs rax, offset start_gdtr64",
    "lgdt [rax]",
    "movabs rax, offset {enter}",
    // The upper halves of EDI and ESI are not defined after the change of mode.
    "mov edi, edi",
    "mov esi, esi",
    "call rax",
    ".balign 8",
    ".global start_gdt",
    "start_gdt:",
    ".quad 0",
    ".quad 0x00AF9B000000FFFF",
    ".quad 0x00CF93000000FFFF",
    ".global start_gdtr",
    "start_gdtr:",
    ".word 23",
    ".long start_gdt_physical",
    ".balign 8",
    ".global start_gdtr64",
    "start_gdtr64:",
    ".word 23",
    ".quad start_gdt",
    ".popsection",
    magic = const MULTIBOOT2_MAGIC,
    phys32_entry = const PHYS32_ENTRY,
    left_by_multiboot2 = const LEFT_BY_MULTIBOOT2,
    pvh = const Door::Pvh as u32,
    multiboot2 = const Door::Multiboot2 as u32,
    stack = const STACK,
    present_writable = const PRESENT_WRITABLE,
    present_writable_large = const PRESENT_WRITABLE_LARGE,
    cr4 = const CR4,
    cr0 = const CR0,
    efer = const EFER,
    ia32_efer = const IA32_EFER,
    enter = sym enter,
);

/// The first of Rust: on the image's own stack.
extern "sysv64" fn enter(door: u32, information: u64) -> ! {
    let door = if door == Door::Pvh as u32 {
        Door::Pvh
    } else if door == Door::Multiboot2 as u32 {
        Door::Multiboot2
    } else {
        Door::Efi
    };
    land::run(door, information)
}
