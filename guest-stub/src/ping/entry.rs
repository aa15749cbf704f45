//! The entry of the pings' vector: the target's side, from the interrupt to the mark, and what waits until after the EOI.

use super::Line;
use crate::cpu::frame::{Frame, pop_caller_saved};
use crate::halting;
use crate::interrupts;
use crate::processor::Private;
use crate::states;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use guest_stub::abi::Sample;

unsafe extern "C" {
    pub(crate) fn ping_entry();
}

// The sender waits for the mark: two registers saved, the stamp, and the generation from one word to the other. All else comes
// after it, in the order of `push_caller_saved`.
global_asm!(
    ".global ping_entry",
    ".global ping_mark",
    "ping_entry:",
    "push rax",
    "push rdx",
    "rdtsc",
    "mov [rsp + {early} + {a}], eax",
    "mov [rsp + {early} + {a} + 4], edx",
    "mov rdx, [rsp + {early} + {line}]",
    "mov eax, [rdx + {asked}]",
    "ping_mark:",
    "mov [rdx + {arrived}], eax",
    "push rcx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "mov esi, eax",
    "lea rdi, [rsp + {private}]",
    "call {marked}",
    pop_caller_saved!(),
    "iretq",
    early = const 2 * 8 + size_of::<Frame>(),
    private = const interrupts::PRIVATE,
    a = const offset_of!(Private, a),
    line = const offset_of!(Private, line),
    asked = const Line::ASKED,
    arrived = const Line::ARRIVED,
    marked = sym marked,
);

/// Ends the interrupt that has marked the ping `generation`, then books it.
extern "sysv64" fn marked(private: &'static Private, generation: u32) {
    private.apic.end_of_interrupt();
    let frame = interrupts::frame(private);
    if private.pinged.load(Ordering::Relaxed) == generation {
        private.count_duplicate();
    } else {
        private.pinged.store(generation, Ordering::Relaxed);
        let sample = Sample {
            flags: states::evidence(frame),
            // As of a call's target, unless this processor pings, too, and stores its own.
            t0: private.user_page().halted().load(Ordering::Relaxed),
            a: private.a.load(Ordering::Relaxed),
            result: generation.into(),
            ..Sample::default()
        };
        private.record_handled(sample);
    }
    halting::skip_halt(frame);
}
