//! The example boots an image without an irqchip in the kernel: two processors, a serial port, a debug exit.

use std::arch::global_asm;
use std::process::Command;

/// Where the image is loaded, and so runs.
const LOADED: u32 = 0x10_0000;

unsafe extern "C" {
    static image_start: u8;
    static image_end: u8;
}

// The bootstrap processor, by its local APIC's page: software enable, INIT and SIPI to the others. The other: says so on the
// serial port, and halts.
global_asm!(
    ".pushsection .rodata",
    ".code32",
    ".balign 16",
    "image_start:",
    ".long 0x1BADB002, 0, -0x1BADB002",
    "image_entry:",
    "cmp eax, 0x2BADB002",
    "jne 9f",
    "mov esp, 0x7000",
    // The SIPI's page.
    "mov esi, 0x100100",
    "mov edi, 0x8000",
    "mov ecx, 0x40",
    "cld",
    "rep movsb",
    "mov dx, 0x3F8",
    "mov al, 'B'",
    "out dx, al",
    "mov dword ptr [0xFEE000F0], 0x1FF",
    "mov dword ptr [0xFEE00300], 0xC4500",
    "mov dword ptr [0xFEE00300], 0xC4608",
    "2: cmp dword ptr [0x9000], 1",
    "jne 2b",
    "mov al, 10",
    "out dx, al",
    "mov al, 16",
    "9: out 0xF4, al",
    "3: hlt",
    "jmp 3b",
    ".org image_start + 0x100, 0x90",
    ".code16",
    "mov dx, 0x3F8",
    "mov al, 'A'",
    "out dx, al",
    "mov bx, 0x9000",
    "mov dword ptr [bx], 1",
    "4: hlt",
    "jmp 4b",
    ".org image_start + 0x140, 0x90",
    "image_end:",
    ".code64",
    ".popsection",
);

/// An ELF file of one segment (System V ABI, Intel386 supplement).
fn elf() -> Vec<u8> {
    const HEADER: u16 = 52;
    const PROGRAM_HEADER: u16 = 32;
    const AT: u32 = (HEADER + PROGRAM_HEADER) as u32;
    // SAFETY: the labels are the ends of the image above.
    let image = unsafe {
        let start = &raw const image_start;
        std::slice::from_raw_parts(start, (&raw const image_end).offset_from_unsigned(start))
    };
    let size = u32::try_from(image.len()).expect("small");
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let entry = LOADED + 12;
    [
        b"\x7FELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        halves(&[2, 3]),
        words(&[1, entry, HEADER.into(), 0, 0]),
        halves(&[HEADER, PROGRAM_HEADER, 1, 0, 0, 0]),
        words(&[1, AT, LOADED, LOADED, size, size, 7, 4]),
        image.to_vec(),
    ]
    .concat()
}

#[test]
fn two_processors_speak_and_the_image_ends_the_machine() {
    if let Err(error) = kvm_ioctls::Kvm::new() {
        eprintln!("skipped: {error}");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("image");
    std::fs::write(&file, elf()).expect("an image");
    let run = ["run", "--quiet", "--package", "kipi-kvm-apic", "--example", "multiboot", "--"];
    let output = Command::new(env!("CARGO")).args(run).arg(&file).arg("2").output().expect("cargo");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), &*said), (Some(33), "BA\n"), "{}", String::from_utf8_lossy(&output.stderr));
}
