//! Interrupt and exception entries.
//!
//! The way from the broadcast vector to the worker is what the product measures and what each target pays: it is
//! kept short, and a test of the built image counts its instructions. The private page lies on top of the IPI
//! stack, so that the entry needs neither GS nor a table to find it.

use crate::apic;
use crate::bugcheck;
use crate::ipi;
use crate::irql;
use crate::mem;
use crate::processor::Private;
use crate::serve;
use crate::state;
use crate::tsc;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use guest_stub::abi::{IPI_LEVEL, Sample, VECTOR_WAKE, sample_flags};
use guest_stub::icr::{self, To};
use guest_stub::rendezvous::{Decision, Delivery, Packet, Served, Slot};

/// What the processor pushes on an interrupt without error code (SDM Vol. 3A 7.14.2).
#[repr(C)]
pub(crate) struct Frame {
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// The nine registers that a call may change: RAX, RDX, RCX, RSI, RDI, R8 to R11.
pub(crate) const SAVED: usize = 9 * 8;
/// From the stack pointer, with those saved, to the private page.
const PRIVATE: usize = SAVED + size_of::<Frame>();
/// As `PRIVATE`, while only the first six are saved.
const PRIVATE_EARLY: usize = 6 * 8 + size_of::<Frame>();

/// Saves the registers that a call may change ([`SAVED`] bytes).
macro_rules! push_caller_saved {
    () => {
        "push rax\npush rdx\npush rcx\npush rsi\npush rdi\npush r8\npush r9\npush r10\npush r11"
    };
}
/// Puts them back. Flags stay as they are.
macro_rules! pop_caller_saved {
    () => {
        "pop r11\npop r10\npop r9\npop r8\npop rdi\npop rsi\npop rcx\npop rdx\npop rax"
    };
}
pub(crate) use {pop_caller_saved, push_caller_saved};

unsafe extern "C" {
    pub(crate) fn ipi_entry();
    pub(crate) fn stepped_entry();
    pub(crate) fn wake_entry();
    pub(crate) fn device_entry();
    pub(crate) fn sender_entry();
    pub(crate) fn masker_entry();
    pub(crate) fn spurious_entry();
    /// #UD: CPL3's way out, or an exception like any other (`user`).
    pub(crate) fn invalid_opcode_entry();
}

// What every other processor waits for comes first: six registers saved, then `Slot::claim`, the raise to IPI_LEVEL and
// `Slot::arrive` of `rendezvous::serve`, in their x86 form (a MOV load acquires, a MOV store releases). The rest is saved
// while the initiator takes notice. After the worker, `Slot::complete` goes before all else, too. The gate is polled for GO
// alone; whoever does not see that soon goes to `wait_at_gate`, which knows about ABORT and the deadline. Worker and argument
// are read before it opens: an open gate says that they were this call's.
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
    "mov [rcx + {arrived}], esi",
    "mov [rcx + {served}], esi",
    "mov [rsp + {early} + {a}], eax",
    "mov [rsp + {early} + {a} + 4], edx",
    "mov [rsp + {early} + {irql}], rdi",
    "push r9",
    "push r10",
    "push r11",
    "mov rcx, [rcx + {packet}]",
    "lea r8d, [rsi + {go}]",
    "mov rdi, [rcx + {argument}]",
    "mov r9, [rcx + {worker}]",
    ".rept {polls}",
    "cmp [rcx + {gate}], r8d",
    "je 2f",
    ".endr",
    "lea rdi, [rsp + {private}]",
    "call {wait_at_gate}",
    "test rax, rax",
    "jz 4f",
    "mov rdi, [rax + {argument}]",
    "mov r9, [rax + {worker}]",
    "2:",
    "lfence",
    "rdtsc",
    "mov [rsp + {private} + {w}], eax",
    "mov [rsp + {private} + {w} + 4], edx",
    ".global ipi_worker_call",
    "ipi_worker_call:",
    "call r9",
    "mov rsi, rax",
    "lfence",
    "rdtsc",
    "mov rcx, [rsp + {private} + {slot}]",
    "mov edi, [rcx + {served}]",
    "mov [rcx + {result}], rsi",
    "mov [rcx + {done}], edi",
    "mov [rsp + {private} + {x}], eax",
    "mov [rsp + {private} + {x} + 4], edx",
    "lea rdi, [rsp + {private}]",
    "call {completed}",
    "4:",
    pop_caller_saved!(),
    "iretq",
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
    w = const offset_of!(Private, w),
    x = const offset_of!(Private, x),
    result = const Slot::RESULT,
    done = const Slot::DONE,
    packet = const Slot::PACKET,
    worker = const Packet::WORKER,
    argument = const Packet::ARGUMENT,
    gate = const Packet::GATE,
    go = const Packet::GO_MINUS_GENERATION,
    polls = const POLLS_BEFORE_CLOCK,
    wait_at_gate = sym wait_at_gate,
    completed = sym ipi_completed,
    nothing_to_do = sym nothing_to_do,
);

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
    if !tsc::poll_until(packet.deadline(), decided) {
        packet.abort(generation);
    }
    if packet.decision(generation) == Decision::Go {
        return Some(packet);
    }
    private.count_late();
    leave_and_lower(private, private.interrupted_irql.load(Ordering::Relaxed));
    None
}

/// Target, after its done bit: what nobody waits for.
extern "sysv64" fn ipi_completed(private: &'static Private, result: usize) {
    ipi::check_restored(private);
    let stamps = [&private.a, &private.w, &private.x].map(|stamp| stamp.load(Ordering::Relaxed));
    record(private, Delivery::Interrupt, stamps, result, interrupted_flags(frame(private)));
    leave_and_lower(private, private.interrupted_irql.load(Ordering::Relaxed));
}

/// Stores a target's sample, with its stamps `a`, `w` and `x`, and counts the round as served.
pub(crate) fn record(private: &Private, by: Delivery, [a, w, x]: [u64; 3], result: usize, flags: u32) {
    let handled = private.handled.load(Ordering::Relaxed);
    private.record(
        handled,
        Sample {
            generation: private.slot.served(by).get(),
            flags,
            a,
            w,
            x,
            result: result as u64,
            ..Sample::default()
        },
    );
    private.handled.store(handled + 1, Ordering::Relaxed);
    private.user_page().handled().store(handled + 1, Ordering::Relaxed);
}

/// The frame of the interrupt that is being served.
fn frame(private: &Private) -> &'static mut Frame {
    // SAFETY: during an interrupt the processor's own frame lies right below the private page, on the IPI stack, and
    // only the handler that asks, once at a time, looks at it before its IRETQ.
    unsafe { &mut *(&raw const *private).cast_mut().cast::<Frame>().sub(1) }
}

/// What the interrupt found this processor doing.
pub(crate) fn interrupted_flags(frame: &Frame) -> u32 {
    let mut flags = 0;
    if state::is_halt(frame.rip) {
        flags |= sample_flags::FROM_HALT;
    }
    if frame.cs & 3 == 3 {
        flags |= sample_flags::FROM_USER;
    }
    if frame.rflags & ipi::RFLAGS_IF == 0 {
        flags |= sample_flags::FROM_MASKED;
    }
    flags
}

/// Ends the interrupt: the last thing that its handler does.
fn leave(private: &'static Private) {
    state::skip_halt(frame(private));
    apic::end_of_interrupt(private);
}

/// Ends the interrupt, then lowers the IRQL to `irql`. In the other order, with a lower interrupt pending, kvm_intel without
/// APIC virtualisation may refuse to enter the guest again, or not get beyond that instruction: it keeps a TPR threshold
/// that is above the TPR (fixed in Linux by "KVM: VMX: Raise KVM_REQ_EVENT on TPR below threshold exit", 2026). [`masker`]
/// looks for that.
fn leave_and_lower(private: &'static Private, irql: u64) {
    leave(private);
    irql::set(irql);
}

/// An interrupt without a request: the initiator's own in destination `all`, or a duplicate.
#[cold]
extern "sysv64" fn nothing_to_do(private: &'static Private) {
    if private.expects_self.load(Ordering::Relaxed) {
        private.expects_self.store(false, Ordering::Relaxed);
        private.slot.arrive(private.packet.generation());
    } else {
        private.count_duplicate();
    }
    leave(private);
}

/// An entry on the IPI stack whose handler gets the private page.
macro_rules! entries {
    ($($entry:literal $handler:path),+ $(,)?) => {
        $(
            global_asm!(
                concat!(".global ", $entry),
                concat!($entry, ":"),
                push_caller_saved!(),
                "lea rdi, [rsp + {private}]",
                "call {handler}",
                pop_caller_saved!(),
                "iretq",
                private = const PRIVATE,
                handler = sym $handler,
            );
        )+
    };
}

entries! {
    "stepped_entry" stepped,
    "wake_entry" wake,
    "device_entry" device,
    "sender_entry" sender,
    "masker_entry" masker,
}

// A spurious interrupt gets no EOI (SDM Vol. 3A 12.9).
global_asm!(".global spurious_entry", "spurious_entry:", "iretq");

/// Only ends a HLT.
extern "sysv64" fn wake(private: &'static Private) {
    leave(private);
}

/// A device's: counts. It comes between workers, never within one.
extern "sysv64" fn device(private: &'static Private) {
    private.count(|tally| &mut tally.device);
    if let Some(cycles) = mem::timer_deadline() {
        apic::arm_timer(tsc::now().wrapping_add(cycles));
    }
    if private.in_worker() {
        private.count(|tally| &mut tally.device_in_worker);
    }
    leave(private);
}

/// One above IPI_LEVEL, whose handler sends: whatever this processor was sending must still go where it was meant to.
extern "sysv64" fn sender(private: &'static Private) {
    private.count(|tally| &mut tally.sender);
    let to = To::One(mem::apic_id(private.index));
    apic::send(private, icr::fixed(VECTOR_WAKE, to), to);
    leave(private);
}

/// Lets a lower interrupt wait for its TPR, and lowers that while it is still in service itself: the lower one has to wait
/// on, for the EOI.
extern "sysv64" fn masker(private: &'static Private) {
    private.count(|tally| &mut tally.masker);
    let before = irql::current();
    irql::set(irql::IPI);
    let to = To::One(mem::apic_id(private.index));
    apic::send(private, icr::fixed(VECTOR_WAKE, to), to);
    irql::set(before);
    leave(private);
}

/// A broadcast call in steps: as [`ipi_entry`], with an exit after each.
extern "sysv64" fn stepped(private: &'static Private) {
    let before = irql::current();
    // So that it is not lowered before the EOI.
    irql::set(irql::IPI);
    let (served, _) = serve::serve(private, Delivery::Interrupt, true);
    if served == Served::Nothing {
        private.count_duplicate();
    }
    leave_and_lower(private, before);
}

/// An exception's stack: what the stubs push, then what the processor did.
#[repr(C)]
pub(crate) struct ExceptionFrame {
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) frame: Frame,
}

macro_rules! exceptions {
    ($($vector:literal $name:ident $push:literal),+ $(,)?) => {
        unsafe extern "C" { $(pub(crate) fn $name();)+ }
        /// The entries of vectors 0 to 31.
        pub(crate) static EXCEPTIONS: [unsafe extern "C" fn(); 32] = [$($name),+];
        $(
            global_asm!(
                concat!(".global ", stringify!($name)),
                concat!(stringify!($name), ":"),
                $push,
                concat!("push ", stringify!($vector)),
                "mov rdi, rsp",
                "and rsp, -16",
                "cld",
                "call {exception}",
                exception = sym exception,
            );
        )+
    };
}

// Vectors 8, 10 to 14, 17, 21, 29 and 30 bring an error code (SDM Vol. 3A table 7-1, APM Vol. 2 table 8-1).
exceptions! {
    0 exception_0 "push 0", 1 exception_1 "push 0", 2 exception_2 "push 0", 3 exception_3 "push 0",
    4 exception_4 "push 0", 5 exception_5 "push 0", 6 exception_6 "push 0", 7 exception_7 "push 0",
    8 exception_8 "", 9 exception_9 "push 0", 10 exception_10 "", 11 exception_11 "",
    12 exception_12 "", 13 exception_13 "", 14 exception_14 "", 15 exception_15 "push 0",
    16 exception_16 "push 0", 17 exception_17 "", 18 exception_18 "push 0", 19 exception_19 "push 0",
    20 exception_20 "push 0", 21 exception_21 "", 22 exception_22 "push 0", 23 exception_23 "push 0",
    24 exception_24 "push 0", 25 exception_25 "push 0", 26 exception_26 "push 0", 27 exception_27 "push 0",
    28 exception_28 "push 0", 29 exception_29 "", 30 exception_30 "", 31 exception_31 "push 0",
}

extern "sysv64" fn exception(frame: &ExceptionFrame) -> ! {
    bugcheck::exception(frame)
}

const _: () = assert!(PRIVATE.is_multiple_of(16));
