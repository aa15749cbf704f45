//! IA32_APIC_BASE (SDM Vol. 3A 12.4.4, 12.12.5): what a write of it does, at once.

use super::Stuck;
use super::bsp::Bsp;
use super::handlers::HANDLERS;
use super::puppet::Access;
use crate::cpu::apic::{
    GLOBAL_ENABLE, LOGICAL_DESTINATION, LVT_LINT0, SPURIOUS_INTERRUPT_VECTOR, TASK_PRIORITY, X2APIC_ENABLE,
};
use crate::cpu::msr::IA32_APIC_BASE;
use core::sync::atomic::Ordering;
use guest_stub::abi::{Observation, XAPIC_BASE};
use guest_stub::icr::To;

const OFF: u64 = XAPIC_BASE;
const IN_XAPIC_MODE: u64 = XAPIC_BASE | GLOBAL_ENABLE;
const IN_X2APIC_MODE: u64 = XAPIC_BASE | GLOBAL_ENABLE | X2APIC_ENABLE;
/// CPUID.01H:EDX bit 9, APIC.
const FEATURE: u64 = 1 << 9;
/// An absent device's value.
const ALL_ONES: u32 = u32::MAX;

fn write_base(bsp: &mut Bsp<'_>, base: u64) -> Result<(), Stuck> {
    bsp.ask_value(Access::WriteMsr(IA32_APIC_BASE, base)).map(|_| ())
}

fn expect_feature(bsp: &mut Bsp<'_>, expected: u64) -> Result<(), Stuck> {
    let features = bsp.ask_value(Access::Features)?;
    bsp.expect(Observation::ApicFeature, expected, features & FEATURE);
    Ok(())
}

/// A read of the page where no local APIC answers, and a write that is lost.
fn expect_no_page(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    let seen = bsp.ask_value(Access::ReadPage(SPURIOUS_INTERRUPT_VECTOR))?;
    bsp.expect(Observation::AbsentPage, ALL_ONES, seen);
    bsp.ask_value(Access::WritePage(TASK_PRIORITY, 0xF0)).map(|_| ())
}

/// Off and on again, with no other exit in between but those that show that it is off.
pub(super) fn off_and_on(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    const VALUES: [(u32, u32, Observation); 3] = [
        (TASK_PRIORITY, 0x21, Observation::KeptTaskPriority),
        (LVT_LINT0, 0x1_00C2, Observation::KeptLvtLint0),
        (SPURIOUS_INTERRUPT_VECTOR, 0x1EF, Observation::KeptSpuriousVector),
    ];
    while let Some(vector) = bsp.next_round() {
        bsp.start_puppet(vector)?;
        for (register, value, _) in VALUES {
            bsp.write_register(register, value)?;
        }
        write_base(bsp, OFF)?;
        expect_feature(bsp, 0)?;
        let taken = HANDLERS.interrupts.load(Ordering::Relaxed);
        bsp.interrupt();
        bsp.quiet();
        expect_no_page(bsp)?;
        write_base(bsp, IN_XAPIC_MODE)?;
        if bsp.is_x2apic() {
            write_base(bsp, IN_X2APIC_MODE)?;
            expect_no_page(bsp)?;
        }
        expect_feature(bsp, FEATURE)?;
        for (register, value, observation) in VALUES {
            let seen = bsp.read_register(register)?;
            bsp.expect(observation, value, seen);
        }
        // The message of above is lost, the next one is not.
        bsp.expect(Observation::InterruptsWhileOff, taken, HANDLERS.interrupts.load(Ordering::Relaxed));
        bsp.fence()?;
        bsp.expect(Observation::InterruptsTaken, taken + 1, HANDLERS.interrupts.load(Ordering::Relaxed));
    }
    Ok(())
}

/// Off, a message, and on, with no exit in between at all.
pub(super) fn briefly_off(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    while let Some(vector) = bsp.next_round() {
        bsp.start_puppet(vector)?;
        let taken = HANDLERS.interrupts.load(Ordering::Relaxed);
        bsp.ask_value(Access::Mask)?;
        write_base(bsp, OFF)?;
        bsp.interrupt();
        bsp.quiet();
        write_base(bsp, IN_XAPIC_MODE)?;
        if bsp.is_x2apic() {
            write_base(bsp, IN_X2APIC_MODE)?;
        }
        bsp.ask_value(Access::Unmask)?;
        bsp.quiet();
        bsp.expect(Observation::InterruptsWhileOff, taken, HANDLERS.interrupts.load(Ordering::Relaxed));
        bsp.fence()?;
    }
    Ok(())
}

/// From xAPIC to x2APIC mode: a sender reaches vCPU 1 by its new logical id, though it does not leave the guest any more.
pub(super) fn to_x2apic(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    while let Some(vector) = bsp.next_round() {
        bsp.start_puppet(vector)?;
        write_base(bsp, OFF)?;
        write_base(bsp, IN_XAPIC_MODE)?;
        // Whoever serves this page sees that it is in xAPIC mode.
        bsp.ask_value(Access::ReadPage(LOGICAL_DESTINATION))?;
        write_base(bsp, IN_X2APIC_MODE)?;
        let taken = HANDLERS.interrupts.load(Ordering::Relaxed);
        // Cluster 0, member 1 (SDM Vol. 3A 12.12.10.2).
        bsp.interrupt_by(To::Logical(0b10));
        bsp.expect_interrupt(taken)?;
        let seen = bsp.read_register(LOGICAL_DESTINATION)?;
        bsp.expect(Observation::X2ApicLogicalId, 0b10_u32, seen);
    }
    Ok(())
}

/// Values and steps that raise #GP, and change nothing.
pub(super) fn refused(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    const RESERVED: [u64; 4] = [1 << 0, 1 << 7, 1 << 9, 1 << 63];
    /// Where vCPU 1 is, and where no step leads from there.
    const STEPS: [(u64, u64); 5] = [
        (IN_XAPIC_MODE, XAPIC_BASE | X2APIC_ENABLE),
        (IN_X2APIC_MODE, IN_XAPIC_MODE),
        (IN_X2APIC_MODE, XAPIC_BASE | X2APIC_ENABLE),
        (OFF, IN_X2APIC_MODE),
        (OFF, XAPIC_BASE | X2APIC_ENABLE),
    ];
    while let Some(vector) = bsp.next_round() {
        bsp.start_puppet(vector)?;
        for (from, to) in STEPS {
            write_base(bsp, OFF)?;
            for step in [IN_XAPIC_MODE, IN_X2APIC_MODE] {
                if from != OFF && (step == IN_XAPIC_MODE || from == IN_X2APIC_MODE) {
                    write_base(bsp, step)?;
                }
            }
            let reserved = RESERVED.map(|bit| from | bit);
            for value in reserved.into_iter().chain([to]) {
                let answer = bsp.ask(Access::WriteMsr(IA32_APIC_BASE, value))?;
                bsp.expect(Observation::Refusals, 1_u32, answer.faulted);
                let base = bsp.ask_value(Access::ReadMsr(IA32_APIC_BASE))?;
                bsp.expect(Observation::KeptApicBase, from, base);
            }
        }
        // One that is off takes no INIT.
        write_base(bsp, IN_XAPIC_MODE)?;
    }
    Ok(())
}
