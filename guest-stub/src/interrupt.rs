//! Interrupt and exception entries.
//!
//! The way from the broadcast vector to the worker is what the product measures and what each target pays: it is
//! kept short, and a test of the built image counts its instructions. The private page lies on top of the IPI
//! stack, so that the entry needs neither GS nor a table to find it.

use crate::apic;
use crate::bugcheck;
use crate::irql;
use crate::processor::{PACKET, Private};
use crate::state::{halt_instruction, halt_resume};
use crate::tsc;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use guest_stub::abi::{IPI_LEVEL, Sample, sample_flags};
use guest_stub::rendezvous::{Decision, Packet, Slot};

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
const SAVED: usize = 9 * 8;
/// From the stack pointer, with those saved, to the private page.
const PRIVATE: usize = SAVED + size_of::<Frame>();
/// As `PRIVATE`, while only the first six are saved.
const PRIVATE_EARLY: usize = 6 * 8 + size_of::<Frame>();

unsafe extern "C" {
    pub(crate) fn ipi_entry();
    pub(crate) fn wake_entry();
    pub(crate) fn spurious_entry();
    pub(crate) fn nmi_entry();
    /// #UD: CPL3's way out, or an exception like any other (`user`).
    pub(crate) fn invalid_opcode_entry();
}

// What every other processor waits for comes first: six registers saved, then `Slot::claim`, the raise to IPI_LEVEL and
// `Slot::arrive`, in their x86 form (a MOV load acquires, a MOV store releases). The rest is saved while the initiator
// takes notice. After the worker, `Slot::complete` goes before all else, too. The gate is polled for GO alone; whoever does not see that soon goes to `wait_at_gate`, which knows
// about ABORT and the deadline.
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
    "mov rcx, [rip + {packet} + {worker}]",
    "mov rdi, [rip + {packet} + {argument}]",
    "lea r8d, [rsi + {go}]",
    ".rept {polls}",
    "cmp [rip + {packet} + {gate}], r8d",
    "je 2f",
    ".endr",
    "lea rdi, [rsp + {private}]",
    "call {wait_at_gate}",
    "test eax, eax",
    "jz 4f",
    "mov rcx, [rip + {packet} + {worker}]",
    "mov rdi, [rip + {packet} + {argument}]",
    "2:",
    "lfence",
    "rdtsc",
    "mov [rsp + {private} + {w}], eax",
    "mov [rsp + {private} + {w} + 4], edx",
    ".global ipi_worker_call",
    "ipi_worker_call:",
    "call rcx",
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
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rcx",
    "pop rdx",
    "pop rax",
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
    packet = sym PACKET,
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

/// Waits at the gate for longer, and gives the call up when its deadline has passed. Returns whether to run the worker.
#[cold]
extern "sysv64" fn wait_at_gate(private: &'static Private) -> u32 {
    let generation = private.slot.served();
    let decided = || PACKET.decision(generation) != Decision::Pending;
    if !tsc::poll_until(PACKET.deadline(), decided) {
        PACKET.abort(generation);
    }
    if PACKET.decision(generation) == Decision::Go {
        return 1;
    }
    irql::set(private.interrupted_irql.load(Ordering::Relaxed));
    private.late.store(private.late.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    leave(private);
    0
}

/// Target, after its done bit: what nobody waits for.
extern "sysv64" fn ipi_completed(private: &'static Private, result: usize) {
    irql::set(private.interrupted_irql.load(Ordering::Relaxed));
    record(private, result, interrupted_flags(private));
    leave(private);
}

/// Stores a target's sample and counts the round as served.
pub(crate) fn record(private: &Private, result: usize, flags: u32) {
    let handled = private.handled.load(Ordering::Relaxed);
    private.record(
        handled,
        Sample {
            generation: private.slot.served().get(),
            flags,
            a: private.a.load(Ordering::Relaxed),
            w: private.w.load(Ordering::Relaxed),
            x: private.x.load(Ordering::Relaxed),
            result: result as u64,
            ..Sample::default()
        },
    );
    private.handled.store(handled + 1, Ordering::Relaxed);
    private.user_page().handled().store(handled + 1, Ordering::Relaxed);
}

/// The frame of the interrupt that is being served.
fn frame(private: &Private) -> *mut Frame {
    (&raw const *private).cast_mut().cast::<Frame>().wrapping_sub(1)
}

/// What the interrupt found this processor doing.
fn interrupted_flags(private: &Private) -> u32 {
    // SAFETY: during an interrupt the processor's own frame lies right below the private page, on the IPI stack.
    let (rip, cs) = unsafe { ((*frame(private)).rip, (*frame(private)).cs) };
    let mut flags = 0;
    if rip == halt_resume as *const () as u64 {
        flags |= sample_flags::FROM_HALT;
    }
    if cs & 3 == 3 {
        flags |= sample_flags::FROM_USER;
    }
    flags
}

/// Ends the interrupt: the last thing that its handler does.
///
/// An interrupt between STI and HLT returns behind the HLT, which would wait for what this interrupt has just brought. A
/// processor never takes one there; an emulated one may, that loses the shadow of STI on an exit between the two (QEMU
/// 7.2's SVM stores it in the VMCB on #VMEXIT, and does not load it on VMRUN).
fn leave(private: &'static Private) {
    let frame = frame(private);
    // SAFETY: as in `interrupted_flags`; the frame is this handler's own, and read by its IRETQ alone after this.
    unsafe {
        if (*frame).rip == halt_instruction as *const () as u64 {
            (*frame).rip = halt_resume as *const () as u64;
        }
    }
    apic::end_of_interrupt(private);
}

/// An interrupt without a request: the initiator's own in destination `all`, or a duplicate.
#[cold]
extern "sysv64" fn nothing_to_do(private: &'static Private) {
    if private.expects_self.load(Ordering::Relaxed) {
        private.expects_self.store(false, Ordering::Relaxed);
        private.slot.arrive(PACKET.generation());
    } else {
        private.duplicate.store(private.duplicate.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    leave(private);
}

// The wake-up interrupt only ends a HLT. A spurious one gets no EOI (SDM Vol. 3A 12.9). An NMI is counted by nobody
// yet; its IRET unblocks the next.
global_asm!(
    ".global wake_entry",
    "wake_entry:",
    "push rax",
    "push rdx",
    "push rcx",
    "push rsi",
    "push rdi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "lea rdi, [rsp + {private}]",
    "call {wake}",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdi",
    "pop rsi",
    "pop rcx",
    "pop rdx",
    "pop rax",
    ".global spurious_entry",
    "spurious_entry:",
    ".global nmi_entry",
    "nmi_entry:",
    "iretq",
    private = const PRIVATE,
    wake = sym wake,
);

extern "sysv64" fn wake(private: &'static Private) {
    leave(private);
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
