//! How many NMIs come of those that are sent, and when.

use super::Stuck;
use super::bsp::Bsp;
use super::handlers::{HALT, HANDLERS, RETURN, WAIT};
use super::probe::VECTORS;
use core::sync::atomic::Ordering;
use guest_stub::abi::Observation;
use guest_stub::icr::{self, To};

/// Gets vCPU 1 into its job. The next NMI is the first; what its handler does is told.
fn begin(bsp: &mut Bsp<'_>, first: u32) -> Result<(), Stuck> {
    bsp.start(VECTORS[0])?;
    bsp.wait_for_job()?;
    HANDLERS.count_anew(first);
    Ok(())
}

fn taken() -> u32 {
    HANDLERS.nmis.load(Ordering::Acquire)
}

/// Waits until vCPU 1 has taken so many.
fn wait_for(bsp: &mut Bsp<'_>, count: u32) -> Result<(), Stuck> {
    if bsp.happens(|| taken() == count) {
        return Ok(());
    }
    bsp.expect(Observation::NmisTaken, count, taken());
    Err(Stuck)
}

/// vCPU 1 has started, stays in real mode, and is to take no NMI; then one that is sent now, once.
fn expect_none_then_one(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    let taken_in_real_mode = |bsp: &Bsp<'_>| bsp.record.nmis.load(Ordering::Relaxed);
    bsp.let_turn()?;
    bsp.expect(Observation::RealModeNmis, 0_u32, taken_in_real_mode(bsp));
    bsp.record.nmis.store(0, Ordering::Relaxed);
    bsp.nmi();
    bsp.let_turn()?;
    bsp.expect(Observation::RealModeNmis, 1_u32, taken_in_real_mode(bsp));
    bsp.record.nmis.store(0, Ordering::Relaxed);
    Ok(())
}

/// NMI, INIT, SIPI.
pub(super) fn before_init(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    begin(bsp, RETURN)?;
    while let Some(vector) = bsp.next_round() {
        let starts = bsp.starts();
        bsp.pause();
        bsp.stay();
        bsp.burst(&[icr::nmi(To::One(0)), icr::init(To::One(0))]);
        bsp.pause();
        bsp.startup(vector);
        bsp.expect_start(starts, vector)?;
        expect_none_then_one(bsp)?;
        bsp.go_on()?;
    }
    Ok(())
}

/// NMI, and while its handler runs: NMI, INIT, SIPI.
pub(super) fn behind_another(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    begin(bsp, WAIT)?;
    while let Some(vector) = bsp.next_round() {
        bsp.nmi();
        wait_for(bsp, 1)?;
        bsp.nmi();
        bsp.let_turn()?;
        bsp.start_and_stay(vector)?;
        expect_none_then_one(bsp)?;
        HANDLERS.count_anew(WAIT);
        bsp.go_on()?;
    }
    Ok(())
}

/// Two at once.
pub(super) fn pair(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    begin(bsp, RETURN)?;
    while bsp.next_round().is_some() {
        bsp.pause();
        HANDLERS.count_anew(RETURN);
        bsp.burst(&[icr::nmi(To::One(0)); 2]);
        bsp.fence()?;
        bsp.expect(Observation::NmisTaken, 2_u32, taken());
    }
    Ok(())
}

/// One, and three more while its handler runs.
pub(super) fn in_service(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    begin(bsp, RETURN)?;
    while bsp.next_round().is_some() {
        HANDLERS.count_anew(WAIT);
        bsp.nmi();
        wait_for(bsp, 1)?;
        for _ in 0..3 {
            bsp.nmi();
            bsp.pause();
        }
        bsp.let_turn()?;
        HANDLERS.first.store(RETURN, Ordering::Relaxed);
        bsp.fence()?;
        bsp.expect(Observation::NmisTaken, 2_u32, taken());
    }
    Ok(())
}

/// One, whose handler halts; another, and then an interrupt.
pub(super) fn halt_in_handler(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    while let Some(vector) = bsp.next_round() {
        bsp.start(vector)?;
        bsp.wait_for_job()?;
        HANDLERS.count_anew(HALT);
        bsp.nmi();
        wait_for(bsp, 1)?;
        bsp.quiet();
        bsp.nmi();
        bsp.quiet();
        bsp.expect(Observation::NmiEndedHalt, 0_u32, HANDLERS.woken.load(Ordering::Relaxed));
        bsp.expect(Observation::NmisTaken, 1_u32, taken());
        // Its IRET ends the blocking of NMIs.
        bsp.fence()?;
        wait_for(bsp, 2)?;
    }
    Ok(())
}

/// One, and an interrupt right behind it.
pub(super) fn before_an_interrupt(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    begin(bsp, RETURN)?;
    while bsp.next_round().is_some() {
        bsp.pause();
        HANDLERS.count_anew(RETURN);
        bsp.burst_with_interrupt()?;
        bsp.expect(Observation::InterruptBeforeNmi, 0_u32, HANDLERS.overtaken.load(Ordering::Relaxed));
        bsp.expect(Observation::NmisTaken, 1_u32, taken());
    }
    Ok(())
}

/// INIT, NMI, SIPI.
pub(super) fn before_sipi(bsp: &mut Bsp<'_>) -> Result<(), Stuck> {
    begin(bsp, RETURN)?;
    while let Some(vector) = bsp.next_round() {
        bsp.stay();
        let starts = bsp.starts();
        bsp.init();
        bsp.pause();
        bsp.nmi();
        bsp.pause();
        bsp.startup(vector);
        bsp.expect_start(starts, vector)?;
        bsp.let_turn()?;
        let taken = bsp.record.nmis.swap(0, Ordering::Relaxed);
        bsp.expect(Observation::RealModeNmis, 1_u32, taken);
        bsp.go_on()?;
    }
    Ok(())
}
