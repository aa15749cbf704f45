//! What handlers of interrupts have in common: their entry, their frame, and their end.

use crate::cpu::frame::{Frame, SAVED};
use crate::cpu::irql;
use crate::halting;
use crate::processor::Private;

/// From the stack pointer, with all registers saved that a call may change, to the private page.
///
/// The stack is 16-byte aligned at the calls: the processor aligns it before it pushes five words (SDM Vol. 3A 7.14.2), and
/// nine more make fourteen.
pub(crate) const PRIVATE: usize = SAVED + size_of::<Frame>();
const _: () = assert!(PRIVATE.is_multiple_of(16));

/// Defines entries, each with a handler that gets what lies so many bytes above the saved registers' lowest.
macro_rules! entries_with {
    ($above:path: $($entry:ident => $handler:path),+ $(,)?) => {
        unsafe extern "C" { $(pub(crate) fn $entry();)+ }
        $(
            core::arch::global_asm!(
                concat!(".global ", stringify!($entry)),
                concat!(stringify!($entry), ":"),
                $crate::cpu::frame::push_caller_saved!(),
                "lea rdi, [rsp + {above}]",
                "call {handler}",
                $crate::cpu::frame::pop_caller_saved!(),
                "iretq",
                above = const $above,
                handler = sym $handler,
            );
        )+
    };
}
pub(crate) use entries_with;

/// Defines entries on the IPI stack, each with a handler that gets the private page.
macro_rules! entries {
    ($($entries:tt)+) => { $crate::interrupts::entries_with! { $crate::interrupts::PRIVATE: $($entries)+ } };
}
pub(crate) use entries;

/// Defines entries of NMIs, each with a handler that gets the processor's frame. NMIs are blocked until the IRETQ (SDM Vol. 3A
/// 7.7.1); an exception before it would end in a bug check.
macro_rules! nmi_entries {
    ($($entries:tt)+) => { $crate::interrupts::entries_with! { $crate::cpu::frame::SAVED: $($entries)+ } };
}
pub(crate) use nmi_entries;

/// The frame of the interrupt that is being served.
pub(crate) fn frame(private: &Private) -> &'static mut Frame {
    // SAFETY: during an interrupt the processor's own frame lies right below the private page, on the IPI stack, and
    // only the handler that asks, once at a time, looks at it before its IRETQ.
    unsafe { &mut *(&raw const *private).cast_mut().cast::<Frame>().sub(1) }
}

/// Ends the interrupt: the last thing that its handler does.
pub(crate) fn leave(private: &'static Private) {
    halting::skip_halt(frame(private));
    private.apic.end_of_interrupt();
}

/// Ends the interrupt, then lowers the IRQL to `irql`. In the other order, with a lower interrupt pending, kvm_intel without
/// APIC virtualisation may refuse to enter the guest again, or not get beyond that instruction: it keeps a TPR threshold
/// that is above the TPR (fixed in Linux by "KVM: VMX: Raise KVM_REQ_EVENT on TPR below threshold exit", 2026).
/// [`crate::conformance::devices`] looks for that.
pub(crate) fn leave_and_lower(private: &'static Private, irql: u64) {
    leave(private);
    irql::set(irql);
}

entries! { wake_entry => wake }

/// Only ends a HLT.
extern "sysv64" fn wake(private: &'static Private) {
    leave(private);
}

unsafe extern "C" {
    pub(crate) fn spurious_entry();
}

// A spurious interrupt gets no EOI (SDM Vol. 3A 12.9).
core::arch::global_asm!(".global spurious_entry", "spurious_entry:", "iretq");
