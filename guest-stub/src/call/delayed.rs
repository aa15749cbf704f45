//! Workers that begin some instructions late: a slowdown of known size, for whoever asks whether a comparison finds it.
//!
//! A stamp or a branch in the measured window would cost every call something, and on a KVM that emulates CPL0 more than the
//! slowdown that is wanted. A worker is called by its address anyway; a delayed one begins elsewhere. Every participant executes the
//! same instructions at the same time, so that the call takes longer by what they take.

use super::worker::WorkerFn;
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// NOPs before the jump to the worker.
const NOPS: u32 = 64;

/// The worker that is delayed.
static WORKER: AtomicUsize = AtomicUsize::new(0);
/// How often [`by_loop`] counts down.
static LOOPS: AtomicU32 = AtomicU32::new(0);

/// `worker`, delayed by so many instructions; by one less, where they are many and an odd number. For one block at a time.
pub(crate) fn delay(worker: WorkerFn, instructions: u32) -> WorkerFn {
    // Relaxed: targets get the address of the code that reads these from a packet that is opened afterwards, with Release.
    WORKER.store(worker as usize, Ordering::Relaxed);
    match instructions {
        0 => worker,
        1..=NOPS => {
            let skipped = (NOPS + 1 - instructions) as usize;
            // SAFETY: each of the NOPs is one byte, and so this is the address of one of them: a function of that type begins there,
            // as it does at the first.
            unsafe { core::mem::transmute::<usize, WorkerFn>(by_nops as *const () as usize + skipped) }
        }
        _ => {
            LOOPS.store((instructions - 2) / 2, Ordering::Relaxed);
            by_loop
        }
    }
}

/// Each NOP is an instruction, and so is the jump.
#[unsafe(naked)]
extern "sysv64" fn by_nops(_: usize) -> usize {
    naked_asm!(".rept {nops}", "nop", ".endr", "jmp [rip + {worker}]", nops = const NOPS, worker = sym WORKER)
}

/// Two instructions for each time that it counts down, and two besides.
#[unsafe(naked)]
extern "sysv64" fn by_loop(_: usize) -> usize {
    naked_asm!(
        "mov eax, [rip + {loops}]",
        "2:",
        "dec eax",
        "jnz 2b",
        "jmp [rip + {worker}]",
        loops = sym LOOPS,
        worker = sym WORKER,
    )
}
