//! What vCPU 1 does on an NMI, and on the fixed interrupt of the tests.

use crate::cpu::frame::{Frame, pop_caller_saved, push_caller_saved};
use crate::cpu::msr::{self, IA32_TSC};
use crate::cpu::port;
use crate::cpu::tables::{self, IST_IPI, IST_NMI};
use crate::interrupts;
use crate::processor::Private;
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use guest_stub::abi;

/// The vector of the tests' fixed interrupt: class 7.
pub(super) const VECTOR: u8 = 0x71;
const NMI: u8 = 2;

/// What the handlers are told, and what they say.
pub(super) struct Handlers {
    /// NMIs taken since it was last zero.
    pub(super) nmis: AtomicU32,
    /// What the first of these NMIs' handlers does: [`RETURN`], [`WAIT`] or [`HALT`].
    pub(super) first: AtomicU32,
    /// The first of these NMIs' handlers has woken up from its HLT.
    pub(super) woken: AtomicU32,
    /// Fixed interrupts that have been served.
    pub(super) interrupts: AtomicU32,
    /// The same, by vCPU.
    pub(super) by: [AtomicU32; 2],
    /// The TSC when the last one was served, as RDMSR sees it.
    pub(super) tsc: AtomicU64,
    /// Fixed interrupts whose handler has executed an instruction.
    begun: AtomicU32,
    /// NMIs that found a fixed interrupt's handler begun, or about to begin, since the NMIs were counted anew.
    pub(super) overtaken: AtomicU32,
    /// Turns of the loop in which the first NMI's handler waits.
    pub(super) turns: AtomicU32,
}

pub(super) static HANDLERS: Handlers = Handlers {
    nmis: AtomicU32::new(0),
    first: AtomicU32::new(RETURN),
    woken: AtomicU32::new(0),
    interrupts: AtomicU32::new(0),
    by: [const { AtomicU32::new(0) }; 2],
    tsc: AtomicU64::new(0),
    begun: AtomicU32::new(0),
    overtaken: AtomicU32::new(0),
    turns: AtomicU32::new(0),
};

/// It returns.
pub(super) const RETURN: u32 = 0;
/// It waits until it is told to [`RETURN`].
pub(super) const WAIT: u32 = 1;
/// It halts, with IF set, until an interrupt ends that. The NMI that comes then ends in a loop, on top of this one's stack.
pub(super) const HALT: u32 = 2;

interrupts::nmi_entries! { tested_nmi_entry => nmi }

unsafe extern "C" {
    fn tested_interrupt_entry();
}

// The fixed interrupt's entry counts before all else. CF and the like are the interrupted code's, and come back with IRETQ.
global_asm!(
    "tested_interrupt_entry:",
    "inc dword ptr [rip + {handlers} + {begun}]",
    push_caller_saved!(),
    "lea rdi, [rsp + {private}]",
    "call {interrupt}",
    pop_caller_saved!(),
    "iretq",
    handlers = sym HANDLERS,
    begun = const offset_of!(Handlers, begun),
    private = const interrupts::PRIVATE,
    interrupt = sym interrupt,
);

impl Handlers {
    /// Counts NMIs from zero again. What the first one's handler does is told.
    pub(super) fn count_anew(&self, first: u32) {
        self.first.store(first, Ordering::Relaxed);
        for count in [&self.woken, &self.begun, &self.overtaken, &self.nmis] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Gives NMI and [`VECTOR`] these handlers.
///
/// # Safety
/// No other processor takes an NMI meanwhile, or an interrupt on [`VECTOR`].
pub(super) unsafe fn install() {
    // SAFETY: the caller's promise; each entry is made for its vector.
    unsafe {
        tables::set_gate(NMI, tested_nmi_entry, IST_NMI);
        tables::set_gate(VECTOR, tested_interrupt_entry, IST_IPI);
    }
}

extern "sysv64" fn nmi(frame: &Frame) {
    let number = HANDLERS.nmis.fetch_add(1, Ordering::Release);
    let is_about_to = frame.rip == tested_interrupt_entry as *const () as u64;
    if is_about_to || HANDLERS.begun.load(Ordering::Relaxed) != 0 {
        HANDLERS.overtaken.fetch_add(1, Ordering::Relaxed);
    }
    let told = || HANDLERS.first.load(Ordering::Relaxed);
    if told() == HALT {
        if number == 0 {
            // SAFETY: the tables are loaded.
            unsafe { asm!("sti", "hlt", options(nostack)) };
            HANDLERS.woken.store(1, Ordering::Relaxed);
        }
        loop {
            leave();
        }
    }
    while number == 0 && told() == WAIT {
        HANDLERS.turns.fetch_add(1, Ordering::Relaxed);
        leave();
    }
}

/// An exit: Bochs keeps its host's interrupts out of a guest that has them off, and so what its hypervisor has for it.
fn leave() {
    port::write(abi::PORT_YIELD, 0);
}

extern "sysv64" fn interrupt(private: &'static Private) {
    HANDLERS.tsc.store(msr::read(IA32_TSC), Ordering::Relaxed);
    if let Some(count) = HANDLERS.by.get(private.index) {
        count.fetch_add(1, Ordering::Release);
    }
    HANDLERS.interrupts.fetch_add(1, Ordering::Release);
    interrupts::leave(private);
}
