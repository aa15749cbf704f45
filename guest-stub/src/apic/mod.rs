//! The local APIC: its modes, what both modes share, and one file for how each is written.
//!
//! Register numbers are the xAPIC's offsets; the x2APIC's MSR is `0x800 + (offset >> 4)` (SDM Vol. 3A 12.12.1.2).

pub(crate) mod x2apic;
pub(crate) mod xapic;

use crate::msr;
use crate::processor::Private;
use core::arch::asm;
use core::sync::atomic::Ordering;
use guest_stub::abi;
use guest_stub::icr::To;

const EOI: u32 = 0x0B0;
const SPURIOUS_INTERRUPT_VECTOR: u32 = 0x0F0;
const INTERRUPT_COMMAND: u32 = 0x300;
const INTERRUPT_COMMAND_HIGH: u32 = 0x310;

/// SVR bit 8: the APIC accepts interrupts (SDM Vol. 3A figure 12-23).
const SOFTWARE_ENABLE: u32 = 1 << 8;

const IA32_APIC_BASE: u32 = 0x1B;
/// IA32_APIC_BASE bit 10 (SDM Vol. 3A table 12-5).
const X2APIC_ENABLE: u64 = 1 << 10;
/// IA32_APIC_BASE bit 11.
const GLOBAL_ENABLE: u64 = 1 << 11;

/// Makes earlier stores visible before the ICR write: a WRMSR to an x2APIC register does not wait for them (SDM
/// Vol. 3A 12.12.3).
#[inline]
pub(crate) fn publish() {
    // SAFETY: fences have no effect but order.
    unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
}

/// Sends `command`, an ICR's low word, to `to` in the mode that this processor's APIC is in, with all the care that
/// the mode needs. For what is not measured.
pub(crate) fn send(private: &Private, command: u32, to: To) {
    publish();
    send_raw(private, command, to);
}

/// As [`send`], behind a [`publish`] of the caller's.
pub(crate) fn send_raw(private: &Private, command: u32, to: To) {
    if private.x2apic.load(Ordering::Relaxed) {
        x2apic::write_icr(command, to.apic_id());
        return;
    }
    let flags: u64;
    // A handler that sends between the writes of the ICR's halves would change the destination.
    // SAFETY: IF is put back below.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    xapic::wait_idle();
    xapic::write_icr(command, to.apic_id());
    // SAFETY: the flags are those of above.
    unsafe { asm!("push {}", "popfq", in(reg) flags) };
}

/// Signals the end of the interrupt in service.
#[inline]
pub(crate) fn end_of_interrupt(private: &Private) {
    if private.x2apic.load(Ordering::Relaxed) {
        x2apic::write(EOI, 0);
    } else {
        xapic::write(EOI, 0);
    }
}

/// Brings this processor's APIC into the given mode and enables it. From x2APIC to xAPIC leads through the disabled
/// state, which forgets everything that is pending (SDM Vol. 3A 12.12.5): nothing may be that is still needed.
///
/// Interrupts are on afterwards. They wait while the mode and this processor's word for it differ: a handler in between
/// would end its interrupt in the wrong mode, and the vector's class would stay in service for ever.
pub(crate) fn set_mode(private: &Private, x2apic: bool) {
    // SAFETY: the stack is untouched, and IF is set again below.
    unsafe { asm!("cli", options(nostack)) };
    let base = msr::read(IA32_APIC_BASE);
    let in_x2apic = base & X2APIC_ENABLE != 0;
    if x2apic && !in_x2apic {
        msr::write(IA32_APIC_BASE, base | GLOBAL_ENABLE | X2APIC_ENABLE);
    } else if !x2apic && in_x2apic {
        msr::write(IA32_APIC_BASE, base & !(GLOBAL_ENABLE | X2APIC_ENABLE));
        msr::write(IA32_APIC_BASE, base & !X2APIC_ENABLE | GLOBAL_ENABLE);
    }
    private.x2apic.store(x2apic, Ordering::Relaxed);
    let spurious = SOFTWARE_ENABLE | u32::from(abi::VECTOR_SPURIOUS);
    if x2apic {
        x2apic::write(SPURIOUS_INTERRUPT_VECTOR, spurious);
    } else {
        xapic::write(SPURIOUS_INTERRUPT_VECTOR, spurious);
    }
    // SAFETY: the tables are loaded on every processor that has a `Private`.
    unsafe { asm!("sti", options(nostack)) };
}
