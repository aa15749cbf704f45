//! Hyper-V's interface, as a guest finds it on a machine that has it: a page that makes hypercalls, and virtual processors
//! (Hypervisor Top Level Functional Specification, Hypercall Interface).

use super::msr;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::MAX_VCPUS;
use guest_stub::hyperv::BANK;

/// Who the guest is: without it there are no hypercalls. Bit 63: not of Microsoft's.
const GUEST_OS_ID: u32 = 0x4000_0000;
const OPEN_SOURCE: u64 = 1 << 63;
/// Where the hypercall page is; bit 0 enables it.
const HYPERCALL: u32 = 0x4000_0001;
const ENABLE: u64 = 1;
/// The processor's VP index.
const VP_INDEX: u32 = 0x4000_0002;

unsafe extern "C" {
    static hypercall_page: u8;
}

// The hypervisor writes its instructions into the page: those of its processor's vendor. What is here stands for them.
global_asm!(
    ".pushsection .text.hypercall_page, \"ax\", @progbits",
    ".balign 4096",
    ".global hypercall_page",
    "hypercall_page:",
    "vmcall",
    "ret",
    ".fill 4092, 1, 0xCC",
    ".popsection",
);

static VP_INDICES: [AtomicU32; MAX_VCPUS] = [const { AtomicU32::new(0) }; MAX_VCPUS];
static HIGHEST: AtomicU32 = AtomicU32::new(0);

/// vCPU 0, before any hypercall.
pub(crate) fn enable() {
    msr::write(GUEST_OS_ID, OPEN_SOURCE);
    let page = &raw const hypercall_page as u64;
    msr::write(HYPERCALL, page | ENABLE);
}

/// Each processor, before anybody sends it an interrupt by its VP index.
pub(crate) fn introduce(index: usize) {
    let vp = msr::read(VP_INDEX) as u32;
    // Relaxed: that the processor has started is announced after it, by a Release store.
    VP_INDICES[index].store(vp, Ordering::Relaxed);
    HIGHEST.fetch_max(vp, Ordering::Relaxed);
}

/// The VP index of processor `index`.
#[inline]
pub(crate) fn vp_index(index: usize) -> u32 {
    VP_INDICES[index].load(Ordering::Relaxed)
}

/// Whether one bank has all virtual processors.
pub(crate) fn is_one_bank() -> bool {
    HIGHEST.load(Ordering::Relaxed) < BANK as u32
}

/// Makes a hypercall; what it answers, a status in the low 16 bits. On a machine that has them, after [`enable`].
#[inline]
pub(crate) fn call(control: u64, first: u64, second: u64) -> u64 {
    let answer;
    // SAFETY: the page returns, as the specification says, and changes no other register. Not `nomem`: it reads memory, and an
    // interrupt may follow.
    unsafe {
        asm!(
            "call {page}",
            page = sym hypercall_page,
            inout("rcx") control => _,
            inout("rdx") first => _,
            inout("r8") second => _,
            out("rax") answer,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    answer
}
