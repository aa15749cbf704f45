//! What INIT leaves in the registers (SDM Vol. 3A table 11-1, 12.4.7.3), where all of them held something else.

use super::Stuck;
use super::bsp::Bsp;
use super::garbage::{self, FOUND};
use super::probe::{Registers, VECTORS};
use crate::cpu::tsc;
use core::arch::x86_64::__cpuid;
use core::sync::atomic::Ordering;
use guest_stub::abi::{GuestRoute, Observation};

/// TSC cycles by which the two processors' clocks may differ.
const CLOCK_ERROR: u64 = 100_000;
/// CR0 bit 4, ET, is always one.
const CR0_ET: u32 = 1 << 4;

fn expected(cache_control: u32) -> Registers {
    const LIMIT: u32 = 0xFFFF << 16;
    Registers::ZERO
        .with(Observation::Edx, __cpuid(1).eax)
        .with(Observation::Eflags, 2)
        .with(Observation::Cr0, CR0_ET | cache_control)
        .with(Observation::Dr6, 0xFFFF_0FF0)
        .with(Observation::Dr7, 0x400)
        .with(Observation::IdtrLimit, LIMIT)
        .with(Observation::GdtrLimit, LIMIT)
}

/// INIT and SIPI, and a look at everything. Each round has other bits of CR0 that stay.
pub(super) fn state(bsp: &mut Bsp<'_>, route: GuestRoute) -> Result<(), Stuck> {
    bsp.start(VECTORS[0])?;
    bsp.wait_for_job()?;
    while let Some(vector) = bsp.next_round() {
        let cache_control = garbage::cache_control(bsp.starts());
        let before = tsc::now();
        bsp.start(vector)?;
        bsp.expect_registers(vector, &expected(cache_control));
        bsp.wait_for_job()?;
        let back = before.saturating_sub(FOUND.tsc.load(Ordering::Relaxed));
        bsp.expect(Observation::TscBack, 0_u32, if back > CLOCK_ERROR { back } else { 0 });
        for (observation, expected, seen) in FOUND.others(route) {
            bsp.expect(observation, expected, seen);
        }
    }
    Ok(())
}
