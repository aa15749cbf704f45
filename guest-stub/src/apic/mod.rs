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
const LVT_TIMER: u32 = 0x320;
const INITIAL_COUNT: u32 = 0x380;
const DIVIDE_CONFIGURATION: u32 = 0x3E0;
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
        x2apic::write_icr(command, to.field());
        return;
    }
    let flags: u64;
    // A handler that sends between the writes of the ICR's halves would change the destination.
    // SAFETY: IF is put back below.
    unsafe { asm!("pushfq", "pop {}", "cli", out(reg) flags) };
    xapic::wait_idle();
    xapic::write_icr(command, to.field());
    // SAFETY: the flags are those of above.
    unsafe { asm!("push {}", "popfq", in(reg) flags) };
}

/// LVT bit 16, and bits 17 and 18 (SDM Vol. 3A figure 12-8).
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_ONE: u32 = 0b1011;
const IA32_TSC_DEADLINE: u32 = 0x6E0;

#[inline]
fn write(private: &Private, register: u32, value: u32) {
    if private.x2apic.load(Ordering::Relaxed) {
        x2apic::write(register, value);
    } else {
        xapic::write(register, value);
    }
}

/// Starts this processor's timer, whose interrupt has `vector`, with a period of so many ticks.
pub(crate) fn start_timer(private: &Private, vector: u8, period: u32) {
    write(private, DIVIDE_CONFIGURATION, DIVIDE_BY_ONE);
    write(private, LVT_TIMER, PERIODIC | u32::from(vector));
    write(private, INITIAL_COUNT, period);
}

/// Brings this processor's timer, whose interrupt has `vector`, into TSC deadline mode, and arms it.
pub(crate) fn start_deadline_timer(private: &Private, vector: u8, deadline: u64) {
    write(private, LVT_TIMER, TSC_DEADLINE | u32::from(vector));
    // The mode comes first: 12.5.4.1 asks for a fence in xAPIC mode.
    publish();
    arm_timer(deadline);
}

/// Arms the timer in TSC deadline mode.
pub(crate) fn arm_timer(deadline: u64) {
    msr::write(IA32_TSC_DEADLINE, deadline);
}

/// Stops this processor's timer.
pub(crate) fn stop_timer(private: &Private) {
    write(private, LVT_TIMER, MASKED);
    write(private, INITIAL_COUNT, 0);
}

/// Signals the end of the interrupt in service.
#[inline]
pub(crate) fn end_of_interrupt(private: &Private) {
    write(private, EOI, 0);
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
