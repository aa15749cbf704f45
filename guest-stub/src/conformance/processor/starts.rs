//! Whether INIT and SIPI start vCPU 1 whatever it does: once each time, at the first instruction, and with nothing left of what it
//! did before.

use super::Stuck;
use super::ap::AP;
use super::bsp::Bsp;
use super::probe::VECTORS;
use core::sync::atomic::Ordering;
use guest_stub::abi::{Job, Observation};

/// Starts vCPU 1 out of `job` again and again. Its registers are to be those of the first start, which leads out of HLT: no exit
/// is under way there, and what they are is another question ([`super::reset`]).
pub(super) fn out_of(bsp: &mut Bsp<'_>, job: Job) -> Result<(), Stuck> {
    bsp.start(VECTORS[0])?;
    bsp.wait_for_job()?;
    let first = bsp.record.registers();
    while let Some(vector) = bsp.next_round() {
        bsp.pause();
        let starts = bsp.starts();
        if job == Job::InitItself {
            start_after_own_init(bsp, vector)?;
        } else {
            bsp.start(vector)?;
        }
        bsp.wait_for_job()?;
        bsp.expect(Observation::OldProgram, 0_u32, AP.old_program.swap(0, Ordering::Relaxed));
        bsp.expect(Observation::Offset, 0_u32, bsp.record.late.swap(0, Ordering::Relaxed));
        bsp.expect(Observation::StartCount, starts + 1, bsp.starts());
        bsp.expect_registers(vector, &first);
    }
    Ok(())
}

/// Lets vCPU 1 send itself INIT, and sends SIPI until that starts it. One that comes before INIT, or after the start, does nothing.
fn start_after_own_init(bsp: &mut Bsp<'_>, vector: u8) -> Result<(), Stuck> {
    /// Of [`Bsp::happens_soon`]'s time each: together, as long as anything may take.
    const ATTEMPTS: u32 = 5000;
    let starts = bsp.starts();
    AP.may_init.store(starts, Ordering::Relaxed);
    for _ in 0..ATTEMPTS {
        bsp.startup(vector);
        if bsp.happens_soon(|bsp| bsp.starts() != starts) {
            return Ok(());
        }
    }
    bsp.expect_start(starts, vector)
}
