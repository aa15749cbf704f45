//! SIPIs that do nothing: the second of two, and one to a processor that does not wait for it.

use super::Stuck;
use super::bsp::Bsp;
use super::probe::VECTORS;
use core::sync::atomic::Ordering;
use guest_stub::abi::Observation;
use guest_stub::icr::{self, To};

/// INIT, and two SIPIs with different vectors, at once.
pub(super) fn two(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    let command = |vector: u8| icr::startup_at(vector, To::One(0));
    while let Some(vector) = bsp.next_round() {
        let starts = bsp.starts();
        let other = if vector == VECTORS[0] { VECTORS[1] } else { VECTORS[0] };
        bsp.stay();
        bsp.burst(&[icr::init(To::One(0)), command(vector), command(other)]);
        bsp.expect_start(starts, vector)?;
        bsp.let_turn()?;
        bsp.expect(Observation::Cs, u32::from(vector) << 8, bsp.record.selector.load(Ordering::Relaxed));
        bsp.expect(Observation::StartCount, starts + 1, bsp.starts());
        bsp.go_on()?;
    }
    Ok(())
}

/// SIPIs without INIT.
pub(super) fn while_running(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    bsp.start(VECTORS[0])?;
    bsp.wait_for_job()?;
    while let Some(vector) = bsp.next_round() {
        let starts = bsp.starts();
        bsp.pause();
        bsp.startup(vector);
        bsp.fence()?;
        bsp.expect(Observation::StartCount, starts, bsp.starts());
    }
    Ok(())
}
