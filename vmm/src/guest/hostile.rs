//! A guest whose processors do random things to their local APICs, to the VMM's ports and to memory.

use super::session::{Error, Machine};
use crate::config::routes::{self, Route};
use crate::events::clock::cycles;
use crate::vm::Vm;
use guest_stub::abi::command::Spray;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How it ended, where nothing was found wrong with the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// vCPU 0 has come back.
    Returned,
    /// vCPU 0 has not, in more than the time.
    Silent,
}

impl Machine<'_> {
    /// Lets every vCPU do random things for `time`, while `meanwhile` is called every millisecond or so. The machine is of no
    /// more use afterwards.
    ///
    /// # Errors
    /// As [`Machine::run_block`]: most of what can happen to such a guest is one.
    pub fn spray(
        &mut self,
        route: Route,
        seed: u32,
        time: Duration,
        meanwhile: &mut dyn FnMut(&Vm),
    ) -> Result<Ended, Error> {
        const GRACE: Duration = Duration::from_millis(100);
        self.command(&Spray { route: routes::of(route).in_guest as u32, seed, duration: cycles(time, self.tsc_khz) })?;
        let start = Instant::now();
        loop {
            if self.hear(super::session::DISTURB)?.is_some() {
                return Ok(Ended::Returned);
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if start.elapsed() > time + GRACE {
                return Ok(Ended::Silent);
            }
            meanwhile(&self.vm);
        }
    }
}
