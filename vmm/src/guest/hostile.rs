//! A guest whose processors do random things to their local APICs, to the VMM's ports and to memory.

use super::session::{DISTURB, Error, Session};
use crate::config::routes::{self, Route};
use guest_stub::abi::command::Spray;
use std::time::{Duration, Instant};

/// How it ended, where nothing was found wrong with the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// vCPU 0 has come back.
    Returned,
    /// vCPU 0 has not, in more than the time.
    Silent,
}

/// Lets every vCPU do random things for `time`, while `meanwhile` is called every millisecond or so. The session is of no more
/// use afterwards.
///
/// # Errors
/// Every variant of [`enum@Error`] but [`Error::GivenUp`]: most of what can happen to such a guest is one.
pub fn spray(
    session: &mut Session<'_>,
    route: Route,
    seed: u32,
    time: Duration,
    meanwhile: &mut dyn FnMut(&Session<'_>),
) -> Result<Ended, Error> {
    const GRACE: Duration = Duration::from_millis(100);
    let duration = session.cycles(time);
    session.send(&Spray { route: routes::of(route).number_in_guest(), seed, duration })?;
    let start = Instant::now();
    loop {
        if session.hear(DISTURB)?.is_some() {
            return Ok(Ended::Returned);
        }
        if session.is_interrupted() {
            return Err(Error::Interrupted);
        }
        if start.elapsed() > time + GRACE {
            return Ok(Ended::Silent);
        }
        meanwhile(session);
    }
}
