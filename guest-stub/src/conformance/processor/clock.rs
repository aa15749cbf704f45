//! Writes of the TSC while a TSC deadline is armed: the deadline is one of the TSC, whatever that is changed to (SDM Vol. 3A
//! 12.5.4.1).

use super::Stuck;
use super::bsp::Bsp;
use super::handlers::{self, HANDLERS};
use super::probe::VECTORS;
use super::puppet::Access;
use crate::cpu::apic::{LVT_TIMER, TSC_DEADLINE};
use crate::cpu::msr::{IA32_TSC, IA32_TSC_ADJUST, IA32_TSC_DEADLINE};
use crate::cpu::tsc::wait;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::Ordering;
use guest_stub::abi::Observation;

/// By which MSR the TSC is moved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Tsc,
    TscAdjust,
}

impl By {
    /// Whether the processor has the MSR, and deadlines.
    fn is_offered(self) -> bool {
        const ECX_TSC_DEADLINE: u32 = 1 << 24;
        const EBX_TSC_ADJUST: u32 = 1 << 1;
        let has_deadlines = __cpuid(1).ecx & ECX_TSC_DEADLINE != 0;
        has_deadlines && (self == Self::Tsc || __cpuid_count(7, 0).ebx & EBX_TSC_ADJUST != 0)
    }

    /// Whether the TSC moves. A KVM that runs the guest's RDTSC on the host's TSC takes the write, and nothing follows from it.
    fn moves(self, bsp: &mut Bsp<'_>) -> Result<bool, Stuck> {
        if !self.is_offered() {
            return Ok(false);
        }
        bsp.start_puppet(VECTORS[0])?;
        let before = tsc(bsp)?;
        self.turn(bsp, FAR)?;
        let after = tsc(bsp)?;
        self.turn(bsp, -FAR)?;
        Ok(after.wrapping_sub(before) >= FAR.unsigned_abs())
    }

    /// Moves vCPU 1's TSC on, or back.
    fn turn(self, bsp: &mut Bsp<'_>, by: i64) -> Result<(), Stuck> {
        let msr = match self {
            Self::Tsc => IA32_TSC,
            Self::TscAdjust => IA32_TSC_ADJUST,
        };
        let value = bsp.ask_value(Access::ReadMsr(msr))?;
        bsp.ask_value(Access::WriteMsr(msr, value.wrapping_add_signed(by)))?;
        Ok(())
    }
}

/// So many cycles are longer than any test takes.
const FAR: i64 = 1 << 40;
/// So many are about a second.
const LATEST: i64 = 1 << 31;

/// vCPU 1's TSC, as RDMSR sees it: RDTSC may not go through whoever emulates the MSR.
fn tsc(bsp: &mut Bsp<'_>) -> Result<u64, Stuck> {
    bsp.ask_value(Access::ReadMsr(IA32_TSC))
}

/// Arms the timer: its deadline.
fn arm(bsp: &mut Bsp<'_>, later: i64) -> Result<u64, Stuck> {
    bsp.write_register(LVT_TIMER, TSC_DEADLINE | u32::from(handlers::VECTOR))?;
    let deadline = tsc(bsp)?.wrapping_add_signed(later);
    bsp.ask_value(Access::WriteMsr(IA32_TSC_DEADLINE, deadline))?;
    Ok(deadline)
}

/// The interrupt comes, not before the deadline.
fn expect_expiry(bsp: &mut Bsp<'_>, taken: u32, deadline: u64) -> Result<(), Stuck> {
    bsp.expect_interrupt(taken)?;
    let early = deadline.saturating_sub(HANDLERS.tsc.load(Ordering::Relaxed));
    bsp.expect(Observation::EarlyCycles, 0_u32, early);
    Ok(())
}

/// Forward past the deadline: the interrupt comes at once.
pub(super) fn forward(bsp: &mut Bsp<'_>, by: By) -> Result<(), Stuck> {
    if !by.moves(bsp)? {
        return Ok(());
    }
    while let Some(vector) = bsp.next_round() {
        bsp.start_puppet(vector)?;
        let taken = HANDLERS.interrupts.load(Ordering::Relaxed);
        let deadline = arm(bsp, FAR)?;
        by.turn(bsp, FAR)?;
        expect_expiry(bsp, taken, deadline)?;
        by.turn(bsp, -FAR)?;
    }
    Ok(())
}

/// Back: the interrupt does not come when the old TSC would have reached the deadline, but when the new one does.
pub(super) fn back(bsp: &mut Bsp<'_>, by: By) -> Result<(), Stuck> {
    let quiet = bsp.quiet_cycles();
    if !by.moves(bsp)? {
        return Ok(());
    }
    let (mut in_time, mut later) = (0, 20 * quiet);
    while let Some(vector) = bsp.next_round() {
        bsp.start_puppet(vector)?;
        // So that it is not moved back below zero.
        by.turn(bsp, FAR)?;
        let taken = HANDLERS.interrupts.load(Ordering::Relaxed);
        let deadline = arm(bsp, later)?;
        by.turn(bsp, -FAR)?;
        // A vCPU that is slow, or has lost its CPU meanwhile, may have reached the deadline before. The time that a write of the TSC
        // takes is lost to the TSC: the interrupt tells, too.
        let is_in_time =
            tsc(bsp)?.wrapping_add_signed(FAR) < deadline && HANDLERS.interrupts.load(Ordering::Relaxed) == taken;
        if is_in_time {
            in_time += 1;
            wait((later + later / 4).unsigned_abs());
            bsp.expect(Observation::InterruptsTaken, taken, HANDLERS.interrupts.load(Ordering::Relaxed));
            let armed = bsp.ask_value(Access::ReadMsr(IA32_TSC_DEADLINE))?;
            bsp.expect(Observation::ArmedDeadline, deadline, armed);
            by.turn(bsp, FAR)?;
            expect_expiry(bsp, taken, deadline)?;
            by.turn(bsp, -FAR)?;
        } else {
            later = (2 * later).min(LATEST);
        }
    }
    if in_time == 0 { Err(bsp.stuck(Observation::InTime)) } else { Ok(()) }
}
