//! The entry of the broadcast vector: a target's side of a call, from its interrupt to the worker and back.
//!
//! The way from the entry to the worker is what the product measures and what each target pays: it is kept short, and a test
//! of the built image counts its instructions. The private page lies on top of the IPI stack, so that the entry needs neither
//! GS nor a table to find it.

use super::check_restored;
use crate::cpu::apic::{EOI, LocalApic, x2apic};
use crate::cpu::flags::RFLAGS_IF;
use crate::cpu::frame::{Frame, SAVED, pop_caller_saved};
use crate::interrupts;
use crate::polling;
use crate::processor::Private;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use guest_stub::abi::{IPI_LEVEL, RING_SAMPLES, Sample, UserPage, XAPIC_BASE, area, sample_flags};
use guest_stub::rendezvous::{Decision, Delivery, Packet, Slot};

unsafe extern "C" {
    pub(crate) fn ipi_entry();
}

/// From the stack pointer, with all registers saved that a call may change, to the private page.
const PRIVATE: usize = interrupts::PRIVATE;
/// As `PRIVATE`, while only the first six are saved.
const PRIVATE_EARLY: usize = 6 * 8 + size_of::<Frame>();

// These are the steps of `rendezvous::serve` in their x86 form (a MOV load acquires, a MOV store releases): `Slot::claim`, the
// raise to IPI_LEVEL, `Slot::arrive`, the gate, the worker, `Slot::complete`. What nobody waits for comes after the EOI: whether the
// worker has kept the rules, the evidence of the target's state, the count of rounds. The next call on this vector cannot come
// before IRQL is lowered, which is the last of it. Stamps go straight into the ring, which lies at a fixed distance from the
// private page; R8, and RSI after the worker, hold the sample's place in it.
//
// From its arrival to its first look at the gate, a target executes fewer instructions than the initiator needs to see the arrival
// and to open the gate. So it waits at the gate when that opens, and starts when it sees that. Were it late, by the rest of the
// registers or by its stamp, the initiator's worker would start before the target's. A test counts both ways.
//
// The gate is polled for GO alone; whoever does not see that soon goes to `wait_at_gate`, which knows about ABORT and the
// deadline. The argument is read before it opens: an open gate says that it was this call's.
//
// No vector registers are saved: nothing in the image uses any (a test looks).
//
// The stack is 16-byte aligned at the calls: the processor aligns it before it pushes five words (SDM Vol. 3A 7.14.2),
// and nine more make fourteen.
global_asm!(
    ".global ipi_entry",
    "ipi_entry:",
    "push rax",
    "push rdx",
    "rdtsc",
    "push rcx",
    "push rsi",
    "push rdi",
    "push r8",
    "mov rcx, [rsp + {early} + {slot}]",
    "mov esi, [rcx + {request}]",
    "cmp esi, [rcx + {served}]",
    "je 5f",
    "mov rdi, cr8",
    "mov r8d, {ipi_level}",
    "mov cr8, r8",
    "mov [rcx + {served}], esi",
    "mov [rsp + {early} + {irql}], rdi",
    "mov r8d, [rsp + {early} + {sample}]",
    "mov [rsp + r8 + {early} + {ring} + {sample_a}], eax",
    "mov [rsp + r8 + {early} + {ring} + {sample_a} + 4], edx",
    "mov [rcx + {arrived}], esi",
    "push r9",
    "push r10",
    "push r11",
    "mov rcx, [rcx + {packet}]",
    "mov rdi, [rcx + {argument}]",
    ".rept {polls}",
    "cmp [rcx + {gate}], esi",
    "je 2f",
    ".endr",
    "lea rdi, [rsp + {private}]",
    "call {wait_at_gate}",
    "test rax, rax",
    "jz 4f",
    "mov rcx, rax",
    "mov rdi, [rcx + {argument}]",
    "mov r8d, [rsp + {private} + {sample}]",
    "2:",
    "lfence",
    "rdtsc",
    "mov [rsp + r8 + {private} + {ring} + {sample_w}], eax",
    "mov [rsp + r8 + {private} + {ring} + {sample_w} + 4], edx",
    ".global ipi_worker_call",
    "ipi_worker_call:",
    "call [rcx + {worker}]",
    "mov r8, rax",
    "lfence",
    "rdtsc",
    "mov rcx, [rsp + {private} + {slot}]",
    "mov edi, [rcx + {served}]",
    "mov [rcx + {result}], r8",
    "mov [rcx + {done}], edi",
    "mov esi, [rsp + {private} + {sample}]",
    "mov [rsp + rsi + {private} + {ring} + {sample_x}], eax",
    "mov [rsp + rsi + {private} + {ring} + {sample_x} + 4], edx",
    "cmp byte ptr [rsp + {private} + {in_x2apic_mode}], 0",
    "je 6f",
    "mov ecx, {eoi_msr}",
    "xor eax, eax",
    "xor edx, edx",
    ".global ipi_eoi_x2apic",
    "ipi_eoi_x2apic:",
    "wrmsr",
    "3:",
    "mov [rsp + rsi + {private} + {ring} + {sample_generation}], edi",
    "mov [rsp + rsi + {private} + {ring} + {sample_result}], r8",
    "pushfq",
    "pop rax",
    "test eax, {interrupt_flag}",
    "jnz 7f",
    "mov rax, cr8",
    "cmp eax, {ipi_level}",
    "jne 7f",
    "8:",
    "movzx eax, word ptr [rsp + {cs}]",
    "mov [rsp + rsi + {private} + {ring} + {sample_flags}], eax",
    "cmp qword ptr [rsp + {rip}], offset halt_resume",
    "je 9f",
    "cmp qword ptr [rsp + {rip}], offset halt_instruction",
    "je 10f",
    "11:",
    "add word ptr [rsp + {private} + {sample}], {sample_size}",
    "inc dword ptr [rsp + {private} + {user} + {handled}]",
    "mov rax, [rsp + {private} + {irql}]",
    "mov cr8, rax",
    "4:",
    pop_caller_saved!(),
    "iretq",
    "6:",
    "mov ecx, {eoi_address}",
    "xor eax, eax",
    ".global ipi_eoi_xapic",
    "ipi_eoi_xapic:",
    "mov [rcx], eax",
    "jmp 3b",
    "7:",
    "call {not_restored}",
    "mov esi, [rsp + {private} + {sample}]",
    "jmp 8b",
    // It has ended a HLT.
    "9:",
    "or dword ptr [rsp + rsi + {private} + {ring} + {sample_flags}], {from_halt}",
    "mov rax, [rsp + {private} + {user} + {halted}]",
    "mov [rsp + rsi + {private} + {ring} + {sample_t0}], rax",
    "jmp 11b",
    // It came right before one: see `halting::skip_halt`.
    "10:",
    "mov qword ptr [rsp + {rip}], offset halt_resume",
    "jmp 11b",
    // Nobody has asked: the initiator's own interrupt, or a duplicate.
    "5:",
    "mov [rsp + {early} + {a}], eax",
    "mov [rsp + {early} + {a} + 4], edx",
    "push r9",
    "push r10",
    "push r11",
    "lea rdi, [rsp + {private}]",
    "call {nothing_to_do}",
    "jmp 4b",
    early = const PRIVATE_EARLY,
    private = const PRIVATE,
    slot = const offset_of!(Private, slot),
    request = const Slot::REQUEST,
    served = const Slot::SERVED,
    arrived = const Slot::ARRIVED,
    ipi_level = const IPI_LEVEL,
    a = const offset_of!(Private, a),
    irql = const offset_of!(Private, interrupted_irql),
    sample = const offset_of!(Private, sample),
    ring = const area::RING - area::PRIVATE,
    sample_size = const size_of::<Sample>(),
    sample_flags = const offset_of!(Sample, flags),
    sample_t0 = const offset_of!(Sample, t0),
    sample_generation = const offset_of!(Sample, generation),
    sample_a = const offset_of!(Sample, a),
    sample_w = const offset_of!(Sample, w),
    sample_x = const offset_of!(Sample, x),
    sample_result = const offset_of!(Sample, result),
    result = const Slot::RESULT,
    done = const Slot::DONE,
    in_x2apic_mode = const offset_of!(Private, apic) + LocalApic::IN_X2APIC_MODE,
    eoi_msr = const x2apic::number(EOI),
    eoi_address = const XAPIC_BASE + EOI as u64,
    packet = const Slot::PACKET,
    worker = const Packet::WORKER,
    argument = const Packet::ARGUMENT,
    gate = const Packet::GATE,
    polls = const POLLS_BEFORE_CLOCK,
    user = const area::USER - area::PRIVATE,
    handled = const offset_of!(UserPage, handled),
    halted = const offset_of!(UserPage, halted),
    interrupt_flag = const RFLAGS_IF,
    cs = const SAVED + offset_of!(Frame, cs),
    rip = const SAVED + offset_of!(Frame, rip),
    from_halt = const sample_flags::FROM_HALT,
    wait_at_gate = sym wait_at_gate,
    not_restored = sym not_restored,
    nothing_to_do = sym nothing_to_do,
);

// The place of a sample wraps with the ring, as a 16-bit number does.
const _: () = assert!(RING_SAMPLES * size_of::<Sample>() == 1 << 16);

/// Polls of the gate before a target looks at the clock.
const POLLS_BEFORE_CLOCK: usize = 64;

/// Waits at the gate for longer, and gives the call up when its deadline has passed. Returns the packet whose worker is
/// to run, or `None`.
#[cold]
extern "sysv64" fn wait_at_gate(private: &'static Private) -> Option<&'static Packet> {
    let generation = private.slot.served(Delivery::Interrupt);
    // There is one: the entry has read it.
    let packet = private.slot.packet()?;
    let decided = || packet.decision(generation) != Decision::Pending;
    if !polling::poll_until(packet.deadline(), decided) {
        packet.abort(generation);
    }
    if packet.decision(generation) == Decision::Go {
        return Some(packet);
    }
    private.count_late();
    interrupts::leave_and_lower(private, private.interrupted_irql.load(Ordering::Relaxed));
    None
}

/// The worker has left IRQL or IF otherwise than it found them.
#[cold]
extern "sysv64" fn not_restored() {
    check_restored();
}

/// An interrupt without a request: the initiator's own in destination `all`, or a duplicate.
#[cold]
pub(super) extern "sysv64" fn nothing_to_do(private: &'static Private) {
    let generation = private.packet.generation();
    // While this processor owns its participants, nobody else's call moves its arrival. Between two of its calls the gate is closed.
    let is_expected = private.calling.load(Ordering::Relaxed) && private.expects_self.load(Ordering::Relaxed);
    let is_open = private.packet.decision(generation) == Decision::Pending;
    if is_expected && is_open && !private.slot.has_arrived(generation) {
        private.slot.arrive(generation);
    } else {
        private.count_duplicate();
    }
    interrupts::leave(private);
}
