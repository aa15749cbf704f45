//! Hypercalls of KVM's own interface (Linux, Documentation/virt/kvm/x86/hypercalls.rst): the number is in RAX, arguments are in
//! RBX, RCX, RDX and RSI, and the answer is in RAX.

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU32, Ordering};

/// The instruction that a processor's vendor has for it. The other vendor's raises #UD, and KVM then writes the right one over it,
/// if it may (KVM_X86_QUIRK_FIX_HYPERCALL_INSN): not where code is read-only, as here.
pub(crate) trait Instruction: Copy {
    /// Makes a hypercall of four arguments.
    fn call(number: u64, arguments: [u64; 4]) -> u64;
}

/// Intel's (SDM Vol. 3C 31.3).
#[derive(Clone, Copy)]
pub(crate) struct Vmcall;

/// AMD's (APM Vol. 3, VMMCALL).
#[derive(Clone, Copy)]
pub(crate) struct Vmmcall;

macro_rules! instruction {
    ($name:ident, $mnemonic:literal) => {
        impl Instruction for $name {
            #[inline]
            fn call(number: u64, [rbx, rcx, rdx, rsi]: [u64; 4]) -> u64 {
                let answer;
                // The compiler keeps RBX to itself.
                // SAFETY: KVM changes RAX alone. Not `nomem`: an interrupt may follow, and the hypercall may read memory.
                unsafe {
                    asm!(
                        "xchg {rbx}, rbx",
                        $mnemonic,
                        "xchg {rbx}, rbx",
                        rbx = inout(reg) rbx => _,
                        inout("rax") number => answer,
                        in("rcx") rcx,
                        in("rdx") rdx,
                        in("rsi") rsi,
                        options(nostack, preserves_flags),
                    );
                }
                answer
            }
        }
    };
}

instruction!(Vmcall, "vmcall");
instruction!(Vmmcall, "vmmcall");

/// Whether it is [`Vmmcall`]: on processors of AMD and Hygon, which CPUID.0 tells by their names.
pub(crate) fn is_vmmcall() -> bool {
    const UNKNOWN: u32 = 0;
    const VMCALL: u32 = 1;
    const VMMCALL: u32 = 2;
    // CPUID is an exit, and its answer the same on every processor.
    static KNOWN: AtomicU32 = AtomicU32::new(UNKNOWN);
    if KNOWN.load(Ordering::Relaxed) == UNKNOWN {
        let vendor = __cpuid(0);
        let is = |name: &[u8; 12]| {
            let word = |at| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
            (vendor.ebx, vendor.edx, vendor.ecx) == (word(0), word(4), word(8))
        };
        let known = if is(b"AuthenticAMD") || is(b"HygonGenuine") { VMMCALL } else { VMCALL };
        KNOWN.store(known, Ordering::Relaxed);
    }
    KNOWN.load(Ordering::Relaxed) == VMMCALL
}
