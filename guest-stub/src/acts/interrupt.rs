//! The interrupt that acts send to the processor that they run on.

use crate::cpu::frame::Frame;
use crate::interrupts::wake_entry;
use crate::processor::Private;
use crate::shared;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use guest_stub::abi::VECTOR_ACT;
use guest_stub::icr::{self, To};

unsafe extern "C" {
    /// The entry of [`VECTOR_ACT`].
    pub(crate) fn act_entry();
}

unsafe extern "sysv64" {
    /// Halts with interrupts on until one has come, and turns them off again.
    fn act_take();
}

// Stamped first, like every interrupt whose arrival is measured. Of the HLT below, the handler leaves the EOI to the act. On an
// emulated processor that loses the shadow of STI, the interrupt may come right before that HLT (see `halting::skip_halt`): the
// way back leads behind it. On its way from elsewhere the vector is as good as a wake-up: a hostile guest sends it, too.
global_asm!(
    "act_take:",
    "sti",
    "act_hlt:",
    "hlt",
    "act_resume:",
    "cli",
    "ret",
    ".global act_entry",
    "act_entry:",
    "push rax",
    "push rdx",
    "rdtsc",
    "mov [rsp + {early} + {a}], eax",
    "mov [rsp + {early} + {a} + 4], edx",
    "lea rdx, [rip + act_resume]",
    "mov rax, rdx",
    "sub rax, [rsp + 2 * 8]",
    "cmp rax, 1",
    "ja 2f",
    "mov [rsp + 2 * 8], rdx",
    "pop rdx",
    "pop rax",
    "iretq",
    "2:",
    "pop rdx",
    "pop rax",
    "jmp {elsewhere}",
    early = const 2 * 8 + size_of::<Frame>(),
    a = const offset_of!(Private, a),
    elsewhere = sym wake_entry,
);

/// The ICR's low half for this interrupt, to an APIC id.
pub(super) const COMMAND_TO_ITSELF: u32 = icr::fixed(VECTOR_ACT, To::One(0));

/// This processor's APIC id.
pub(super) fn own_id(private: &Private) -> u32 {
    shared::apic_id(private.index)
}

/// From here on, none has come.
pub(super) fn expect(private: &Private) {
    private.a.store(0, Ordering::Relaxed);
}

/// Sends it. It stays pending: interrupts are off.
pub(super) fn raise(private: &Private) {
    private.apic.send(COMMAND_TO_ITSELF, To::One(own_id(private)));
}

/// Takes it, and says when it came. It is in service afterwards.
pub(super) fn take(private: &Private) -> u64 {
    loop {
        // SAFETY: STI needs the interrupt tables, which are loaded, and handlers that may run here, which every vector has. The
        // callee keeps what its ABI asks it to keep, and leaves IF clear, as `super::run` had it: who acts holds nothing that a
        // handler needs.
        unsafe { act_take() };
        // Something else may have ended the HLT.
        match private.a.load(Ordering::Relaxed) {
            0 => {}
            came => return came,
        }
    }
}

/// Ends it.
pub(super) fn end(private: &Private) {
    private.apic.end_of_interrupt();
}

/// Takes it and ends it.
pub(super) fn take_and_end(private: &Private) {
    take(private);
    end(private);
}
