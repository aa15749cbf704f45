//! CPL3: the busy loop of target state `user`, and the clock exchange, which runs there since some hypervisors
//! emulate CPL0.
//!
//! All of it is assembly in one page that CPL3 may execute; a compiler's code might reach for what CPL3 may not see.

use crate::interrupt::{self, Frame};
use crate::processor::{Private, UserWords};
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;
use guest_stub::abi::{PAGE, RING_SAMPLES, Sample, UserPage, VCPU_AREAS, VCPU_STRIDE, area};
use guest_stub::descriptors::{USER_CODE, USER_DATA};

unsafe extern "sysv64" {
    /// Runs `code(first, second, third)` at CPL3 until it executes UD2, and returns its R8. `kernel_stack` is where
    /// the stack pointer is kept meanwhile: [`Private::kernel_rsp`] of this processor.
    fn enter_user(
        code: unsafe extern "C" fn(),
        stack: u64,
        kernel_stack: *const AtomicU64,
        first: u64,
        second: u64,
        third: u64,
    ) -> u64;
}

unsafe extern "C" {
    fn user_spin();
    fn user_exchange();
    fn user_answer();
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
    exception = sym interrupt::exception_6,
    stride = const VCPU_STRIDE,
    kernel_rsp = const area::PRIVATE as usize + offset_of!(Private, kernel_rsp),
);

/// The ring is as large as its alignment: the address of its end has these low bits clear.
const RING_ALIGNMENT: u64 = 0x1_0000;
const _: () = assert!(RING_ALIGNMENT == (RING_SAMPLES * size_of::<Sample>()) as u64);
const _: () = assert!(area::RING.is_multiple_of(RING_ALIGNMENT) && VCPU_AREAS.is_multiple_of(RING_ALIGNMENT));

// The clock exchange (as NTP's: the answer's stamp lies between the request's two). RDI: the partner's user page,
// RSI: the ring, RDX: when to stop. Returns in R8 how many it made. LFENCE orders each stamp behind the load that it
// waits for.
global_asm!(
    ".pushsection .user_text, \"ax\", @progbits",
    "user_spin:",
    "mov eax, [rdi + {handled}]",
    "mov [rdi + {ready}], eax",
    "cmp dword ptr [rdi + {stop}], 0",
    "je user_spin",
    "ud2",
    "user_exchange:",
    "mov r9, rdx",
    "xor r8d, r8d",
    "2:",
    "inc r8",
    "lfence",
    "rdtsc",
    "mov [rsi + {t0}], eax",
    "mov [rsi + {t0} + 4], edx",
    "mov [rdi + {ping}], r8",
    "3:",
    "mov ecx, 0x10000",
    "4:",
    "cmp [rdi + {pong}], r8",
    "je 5f",
    "dec ecx",
    "jnz 4b",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "cmp rax, r9",
    "jb 3b",
    "dec r8",
    "ud2",
    "5:",
    "lfence",
    "rdtsc",
    "mov [rsi + {t2}], eax",
    "mov [rsi + {t2} + 4], edx",
    "shl rdx, 32",
    "or rax, rdx",
    "mov rcx, [rdi + {stamp}]",
    "mov [rsi + {w}], rcx",
    "add rsi, {sample}",
    "test esi, {ring_end}",
    "jz 6f",
    "cmp rax, r9",
    "jb 2b",
    "6:",
    "ud2",
    "user_answer:",
    "xor r8d, r8d",
    "7:",
    "inc r8",
    "8:",
    "cmp dword ptr [rdi + {stop}], 0",
    "jne 9f",
    "cmp [rdi + {ping}], r8",
    "jne 8b",
    "lfence",
    "rdtsc",
    "mov [rdi + {stamp}], eax",
    "mov [rdi + {stamp} + 4], edx",
    "mov [rdi + {pong}], r8",
    "jmp 7b",
    "9:",
    "ud2",
    ".popsection",
    handled = const offset_of!(UserPage, handled),
    ready = const offset_of!(UserPage, ready),
    stop = const offset_of!(UserPage, stop),
    ping = const offset_of!(UserPage, ping),
    pong = const offset_of!(UserPage, pong),
    stamp = const offset_of!(UserPage, stamp),
    t0 = const offset_of!(Sample, t0),
    t2 = const offset_of!(Sample, t2),
    w = const offset_of!(Sample, w),
    sample = const size_of::<Sample>(),
    ring_end = const RING_ALIGNMENT - 1,
);

fn run(private: &'static Private, code: unsafe extern "C" fn(), page: UserWords, ring: *mut Sample, until: u64) -> u64 {
    // Not the page's end: the stack pointer must lie within the area.
    let stack = private.user_page().address() as u64 + PAGE - 16;
    // SAFETY: `code` lies in the user text; what it touches (the user pages and the ring) is mapped for CPL3.
    unsafe { enter_user(code, stack, &raw const private.kernel_rsp, page.address() as u64, ring as u64, until) }
}

/// The busy loop of target state `user`.
pub(crate) fn spin(private: &'static Private) {
    run(private, user_spin, private.user_page(), core::ptr::null_mut(), 0);
}

/// vCPU 0's side of the exchange, until the ring is full or the TSC has passed `until`: `t0`, the partner's stamp as
/// `w`, and `t2` of each sample. Returns how many there are.
pub(crate) fn exchange(private: &'static Private, partner: UserWords, until: u64) -> u32 {
    run(private, user_exchange, partner, private.ring, until) as u32
}

/// The partner's side, until it is told to stop.
pub(crate) fn answer(private: &'static Private) {
    run(private, user_answer, private.user_page(), core::ptr::null_mut(), 0);
}
