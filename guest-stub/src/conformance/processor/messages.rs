//! What an ICR's write sends, and to whom.

use super::Stuck;
use super::bsp::Bsp;
use super::handlers::{self, HANDLERS};
use super::probe::VECTORS;
use super::puppet::Access;
use crate::cpu::apic::{DESTINATION_FORMAT, LOGICAL_DESTINATION, TASK_PRIORITY};
use core::arch::asm;
use core::sync::atomic::Ordering;
use guest_stub::abi::{Observation, XAPIC_BASE};
use guest_stub::icr::{self, To};

fn taken_by(vcpu: usize) -> u32 {
    HANDLERS.by[vcpu].load(Ordering::Acquire)
}

/// Stores of one and two bytes to the ICR's low word: none is a command (SDM Vol. 3A 12.4.1).
pub(super) fn narrow_stores(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    const ICR: u64 = XAPIC_BASE + 0x300;
    bsp.start(VECTORS[0])?;
    bsp.wait_for_job()?;
    while bsp.next_round().is_some() {
        let taken = taken_by(1);
        // Leaves vCPU 1's id in the high word.
        bsp.fence()?;
        // SAFETY: the page is mapped; the vector's handler is there, should it come.
        unsafe {
            asm!("mov byte ptr [{}], {}", in(reg) ICR, in(reg_byte) handlers::VECTOR, options(nostack));
            asm!("mov word ptr [{}], {:x}", in(reg) ICR, in(reg) u16::from(handlers::VECTOR), options(nostack));
        }
        // One that came would otherwise be the same as the next one.
        bsp.quiet();
        bsp.let_turn()?;
        bsp.fence()?;
        bsp.expect(Observation::InterruptsTaken, taken + 2, taken_by(1));
    }
    Ok(())
}

/// Lowest priority, to both vCPUs: the one whose TPR is lower takes it (SDM Vol. 3A 12.6.2.4).
pub(super) fn lowest_priority(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    const LOWEST_PRIORITY: u32 = 1 << 8;
    const BOTH: u32 = 0b11;
    const HIGH: u32 = 0xF0;
    while let Some(vector) = bsp.next_round() {
        bsp.start_puppet(vector)?;
        if !bsp.is_x2apic() {
            bsp.write_register(LOGICAL_DESTINATION, 0b10 << 24)?;
            bsp.write_own(LOGICAL_DESTINATION, 0b01 << 24);
        }
        for busy in [0, 1] {
            let idle = 1 - busy;
            bsp.write_register(TASK_PRIORITY, if busy == 1 { HIGH } else { 0 })?;
            if busy == 0 {
                bsp.write_own(TASK_PRIORITY, HIGH);
            }
            let taken = [taken_by(0), taken_by(1)];
            let to = To::Logical(BOTH);
            bsp.send(icr::fixed(handlers::VECTOR, to) | LOWEST_PRIORITY, to);
            let is_taken = bsp.happens_in_a_while(|| taken_by(idle) != taken[idle]);
            bsp.write_own(TASK_PRIORITY, 0);
            bsp.write_register(TASK_PRIORITY, 0)?;
            bsp.quiet();
            bsp.expect(Observation::InterruptsOfIdle, 1_u32, is_taken);
            bsp.expect(Observation::InterruptsOfBusy, taken[busy], taken_by(busy));
        }
    }
    Ok(())
}

/// In xAPIC mode's cluster model, a message to cluster 15 is none to cluster 1 (SDM Vol. 3A 12.6.2.2).
pub(super) fn other_cluster(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    const CLUSTER_MODEL: u32 = 0x0FFF_FFFF;
    while let Some(vector) = bsp.next_round() {
        bsp.start_puppet(vector)?;
        bsp.write_register(DESTINATION_FORMAT, CLUSTER_MODEL)?;
        bsp.write_register(LOGICAL_DESTINATION, 0x14 << 24)?;
        let taken = HANDLERS.interrupts.load(Ordering::Relaxed);
        bsp.interrupt_by(To::Logical(0xF4));
        bsp.quiet();
        bsp.ask_value(Access::Features)?;
        bsp.expect(Observation::InterruptsTaken, taken, HANDLERS.interrupts.load(Ordering::Relaxed));
        let taken = HANDLERS.interrupts.load(Ordering::Relaxed);
        bsp.interrupt_by(To::Logical(0x14));
        bsp.expect_interrupt(taken)?;
    }
    Ok(())
}
