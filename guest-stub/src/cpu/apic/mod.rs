//! The local APIC: its modes, what both modes share, and one file for how each is written.
//!
//! Register numbers are the xAPIC's offsets; the x2APIC's MSR is `0x800 + (offset >> 4)` (SDM Vol. 3A 12.12.1.2).

pub(crate) mod x2apic;
pub(crate) mod xapic;

use super::{flags, msr};
use crate::cpu::msr::{IA32_APIC_BASE, IA32_TSC_DEADLINE};
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, Ordering};
use guest_stub::abi;
use guest_stub::icr::To;
use guest_stub::logical_ids::LogicalIds;

pub(crate) const TASK_PRIORITY: u32 = 0x080;
pub(crate) const EOI: u32 = 0x0B0;
pub(crate) const LOGICAL_DESTINATION: u32 = 0x0D0;
pub(crate) const DESTINATION_FORMAT: u32 = 0x0E0;
pub(crate) const SPURIOUS_INTERRUPT_VECTOR: u32 = 0x0F0;
pub(crate) const LVT_TIMER: u32 = 0x320;
pub(crate) const LVT_LINT0: u32 = 0x350;
const INITIAL_COUNT: u32 = 0x380;
const DIVIDE_CONFIGURATION: u32 = 0x3E0;
pub(crate) const INTERRUPT_COMMAND: u32 = 0x300;
const INTERRUPT_COMMAND_HIGH: u32 = 0x310;
const SELF_IPI: u32 = 0x3F0;

/// SVR bit 8: the APIC accepts interrupts (SDM Vol. 3A figure 12-23).
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// IA32_APIC_BASE bit 10 (SDM Vol. 3A table 12-5).
pub(crate) const X2APIC_ENABLE: u64 = 1 << 10;
/// IA32_APIC_BASE bit 11.
pub(crate) const GLOBAL_ENABLE: u64 = 1 << 11;

/// Makes earlier stores visible before the ICR write: a WRMSR to an x2APIC register does not wait for them (SDM
/// Vol. 3A 12.12.3).
#[inline]
pub(crate) fn publish() {
    // SAFETY: fences have no effect but order.
    unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
}

/// A processor's local APIC. Zeroed, it is in xAPIC mode.
pub(crate) struct LocalApic {
    in_x2apic_mode: AtomicBool,
    has_logical_id: AtomicBool,
}

/// LVT bit 16, and bits 17 and 18 (SDM Vol. 3A figure 12-8).
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
pub(crate) const TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_ONE: u32 = 0b1011;

impl LocalApic {
    /// Byte offset, for an interrupt entry in assembly, of a byte that is 1 in x2APIC mode.
    pub(crate) const IN_X2APIC_MODE: usize = offset_of!(Self, in_x2apic_mode);

    /// Sends `command`, an ICR's low word, to `to` in the mode that the APIC is in, with all the care that the mode needs.
    /// For what is not measured.
    pub(crate) fn send(&self, command: u32, to: To) {
        publish();
        if self.is_in_x2apic_mode() {
            x2apic::write_icr(command, to.field());
        } else {
            xapic::send_undisturbed(command, to.field());
        }
    }

    #[inline]
    pub(crate) fn is_in_x2apic_mode(&self) -> bool {
        self.in_x2apic_mode.load(Ordering::Relaxed)
    }

    /// Writes a register.
    #[inline]
    pub(crate) fn write(&self, register: u32, value: u32) {
        if self.is_in_x2apic_mode() {
            x2apic::write(register, value);
        } else {
            xapic::write(register, value);
        }
    }

    /// Reads a register.
    pub(crate) fn read(&self, register: u32) -> u32 {
        if self.is_in_x2apic_mode() { x2apic::read(register) } else { xapic::read(register) }
    }

    /// Gives the local APIC, that of processor `index` of so many, its logical id, unless it has it. In x2APIC mode it has one
    /// by itself.
    pub(crate) fn set_logical_id(&self, index: usize, processors: usize) {
        if self.is_in_x2apic_mode() || self.has_logical_id.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(ids) = LogicalIds::of(false, processors) else { return };
        xapic::write(DESTINATION_FORMAT, ids.format());
        xapic::write(LOGICAL_DESTINATION, ids.id(index, 0) << 24);
    }

    /// Starts the timer, whose interrupt has `vector`, with a period of so many ticks.
    pub(crate) fn start_timer(&self, vector: u8, period: u32) {
        self.write(DIVIDE_CONFIGURATION, DIVIDE_BY_ONE);
        self.write(LVT_TIMER, PERIODIC | u32::from(vector));
        self.write(INITIAL_COUNT, period);
    }

    /// Brings the timer, whose interrupt has `vector`, into TSC deadline mode, and arms it.
    pub(crate) fn start_deadline_timer(&self, vector: u8, deadline: u64) {
        self.write(LVT_TIMER, TSC_DEADLINE | u32::from(vector));
        // The mode comes first: 12.5.4.1 asks for a fence in xAPIC mode.
        publish();
        arm_timer(deadline);
    }

    pub(crate) fn stop_timer(&self) {
        self.write(LVT_TIMER, MASKED);
        self.write(INITIAL_COUNT, 0);
    }

    /// Signals the end of the interrupt in service.
    #[inline]
    pub(crate) fn end_of_interrupt(&self) {
        self.write(EOI, 0);
    }

    /// Brings the APIC into the given mode and enables it. From x2APIC to xAPIC leads through the disabled state, which
    /// forgets everything that is pending (SDM Vol. 3A 12.12.5): nothing may be that is still needed.
    ///
    /// Interrupts are on afterwards. They wait while the mode and this processor's word for it differ: a handler in between
    /// would end its interrupt in the wrong mode, and the vector's class would stay in service for ever.
    pub(crate) fn set_mode(&self, x2apic: bool) {
        flags::disable_interrupts();
        let base = msr::read(IA32_APIC_BASE);
        let in_x2apic = base & X2APIC_ENABLE != 0;
        if x2apic && !in_x2apic {
            msr::write(IA32_APIC_BASE, base | GLOBAL_ENABLE | X2APIC_ENABLE);
        } else if !x2apic && in_x2apic {
            msr::write(IA32_APIC_BASE, base & !(GLOBAL_ENABLE | X2APIC_ENABLE));
            msr::write(IA32_APIC_BASE, base & !X2APIC_ENABLE | GLOBAL_ENABLE);
        }
        self.in_x2apic_mode.store(x2apic, Ordering::Relaxed);
        if x2apic {
            self.has_logical_id.store(false, Ordering::Relaxed);
        }
        self.write(SPURIOUS_INTERRUPT_VECTOR, SOFTWARE_ENABLE | u32::from(abi::VECTOR_SPURIOUS));
        // SAFETY: the tables are loaded on every processor that has a local APIC of this type.
        unsafe { flags::enable_interrupts() };
    }
}

/// Arms this processor's timer, which is in TSC deadline mode.
pub(crate) fn arm_timer(deadline: u64) {
    msr::write(IA32_TSC_DEADLINE, deadline);
}
