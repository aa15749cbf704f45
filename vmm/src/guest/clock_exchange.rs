//! The clock exchange: stamps that vCPU 0 and another vCPU send each other, to bound how far their clocks are apart.

use super::session::{Error, Session, word};
use crate::events::clock::Exchange;
use guest_stub::abi::{RING_SAMPLES, command};
use std::time::Duration;

/// Exchanges stamps between vCPU 0 and `partner` for at most `time`. They are on the common clock: what is known of the
/// offsets is subtracted.
///
/// # Errors
/// Every variant of [`enum@Error`] but [`Error::GivenUp`].
pub fn exchange(session: &mut Session<'_>, partner: usize, time: Duration) -> Result<Vec<Exchange>, Error> {
    let command = command::ClockExchange {
        partner: word(partner),
        reserved: 0,
        duration: session.cycles(time),
        deadline: session.cycles(session.patience()),
    };
    let report = session.run(&command, "comparing clocks", session.patience())?;
    (0..(report.rounds as usize).min(RING_SAMPLES))
        .map(|number| {
            let sample = session.sample(0, number)?;
            let clock = &session.vm().tsc().clock;
            let answered = clock.of_vcpu(partner, sample.w);
            Ok(Exchange { sent: sample.t0, answered, received: sample.t2 })
        })
        .collect()
}
