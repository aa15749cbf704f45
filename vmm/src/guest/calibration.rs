//! The calibration: what the instruments themselves cost, on vCPU 0.

use super::recording::observed_exits;
use super::session::{Error, Session, word};
#[cfg(doc)]
use guest_stub::abi::command::TIMED_INSTRUCTIONS;
use guest_stub::abi::{RING_SAMPLES, command};

/// What each instrument cost, in TSC cycles.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    /// Difference of two stamps in a row.
    pub stamp: Vec<i64>,
    /// From the guest's stamp to the VMM's, of one observed exit.
    pub exit_leg: Vec<i64>,
    /// Around one observed exit.
    pub exit_round_trip: Vec<i64>,
    /// [`TIMED_INSTRUCTIONS`] of the guest's at CPL0, which some hypervisors emulate, without the stamps around them.
    pub instructions: Vec<i64>,
}

/// Measures the instruments on vCPU 0, `count` times, at most [`RING_SAMPLES`].
///
/// # Errors
/// Every variant of [`enum@Error`] but [`Error::GivenUp`].
pub fn calibrate(session: &mut Session<'_>, count: usize) -> Result<Calibration, Error> {
    let count = count.min(RING_SAMPLES);
    session.take_stays();
    let command = command::Calibrate { samples: word(count), observed: 1 };
    session.run(&command, "calibrating", session.patience())?;
    let stays = session.take_stays();
    let mut stamps = observed_exits(session, &stays[0]);
    let mut calibration = Calibration::default();
    for number in 0..count {
        let sample = session.sample(0, number)?;
        let difference = |later: u64, earlier: u64| later.wrapping_sub(earlier).cast_signed();
        calibration.stamp.push(difference(sample.t1, sample.t0));
        calibration.instructions.push(difference(sample.t2, sample.a) - difference(sample.t1, sample.t0));
        calibration.exit_round_trip.push(difference(sample.x, sample.w));
        if let Some(stamp) = stamps.remove(&sample.generation) {
            calibration.exit_leg.push(difference(stamp, sample.w));
        }
    }
    Ok(calibration)
}
