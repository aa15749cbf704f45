//! The clock exchange: two processors tell each other what their TSCs say. At CPL3, since some hypervisors emulate CPL0.

use crate::activity;
use crate::cpl3;
use crate::cpu::tsc;
use crate::processor::{Private, UserWords};
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;
use guest_stub::abi::command::ClockExchange;
use guest_stub::abi::{RING_SAMPLES, Report, Sample, Status, UserPage, VCPU_AREAS, area};

unsafe extern "C" {
    fn user_exchange();
    fn user_answer();
}

/// The ring is as large as its alignment: the address of its end has these low bits clear.
const RING_ALIGNMENT: u64 = 0x1_0000;
const _: () = assert!(RING_ALIGNMENT == (RING_SAMPLES * size_of::<Sample>()) as u64);
const _: () = assert!(area::RING.is_multiple_of(RING_ALIGNMENT) && VCPU_AREAS.is_multiple_of(RING_ALIGNMENT));

// The clock exchange (as NTP's: the answer's stamp lies between the request's two). RDI: the partner's user page,
// RSI: the ring, RDX: when to stop. Returns in R8 how many it made. LFENCE orders each stamp behind the load that it
// waits for.
global_asm!(
    ".pushsection .user_text, \"ax\", @progbits",
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

/// vCPU 0's side, until the ring is full or the time is over: `t0`, the partner's stamp as `w`, and `t2` of each sample. The
/// others look at the command and go back to sleep.
pub(crate) fn lead(private: &'static Private, processors: usize, exchange: &ClockExchange) -> Option<Report> {
    let partner = exchange.partner as usize;
    if !(1..processors).contains(&partner) {
        return None;
    }
    let words = UserWords::of(partner);
    words.stop().store(0, Ordering::Relaxed);
    words.ping().store(0, Ordering::Relaxed);
    words.pong().store(0, Ordering::Relaxed);
    private.touch_ring();
    let activity = activity::announce(private, processors);
    let until = tsc::now().wrapping_add(exchange.duration);
    // SAFETY: the function above, which touches the partner's user page and this processor's ring.
    let rounds = unsafe { cpl3::run(private, user_exchange, words, private.ring(), until) } as u32;
    Some(match activity::dismiss(private, processors, activity, exchange.deadline) {
        Ok(()) => Report { rounds, ..activity::report(Status::Done) },
        Err(missing) => Report { rounds, missing, ..activity::report(Status::NotResponding) },
    })
}

/// Another processor's side: the partner answers until it is told to stop.
pub(crate) fn follow(private: &'static Private, exchange: &ClockExchange) {
    if exchange.partner as usize == private.index {
        // SAFETY: the function above, which touches this processor's user page alone.
        unsafe { cpl3::run(private, user_answer, private.user_page(), null_mut(), 0) };
    }
}
