//! Signals: requests to stop (Ctrl-C, SIGTERM, SIGHUP), and what tells that the process was stopped (SIGCONT).

use super::hints::TOO_FEW_THREADS;
use super::status::{Failure, Status};
use crate::events::kernel::tracefs;
use crate::host::watch::count_continues;
use crate::report::output;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vmm_sys_util::signal::{block_signal, unblock_signal};

/// The user wants to stop.
pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Signals that arrive within this time of the first one repeat it. `timeout` sends its signal to the command and then to the
/// command's process group, and a shell forwards what the terminal has sent to the group already: two signals, milliseconds
/// apart, for one request. Somebody who has seen that the first one did not help needs longer.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// The signals that ask to stop.
const REQUESTS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Keeps requests to stop waiting until [`handle`]: what this process leaves behind, nobody would remove.
pub(super) fn hold() {
    // Where they cannot be held, one ends the process, and the next start removes what it leaves.
    for signal in REQUESTS {
        let _ = block_signal(signal);
    }
}

/// Lets a signal end the run in good order: what was measured is written. A later one, should the first not get through, ends
/// the process at once. Counts SIGCONT, too.
pub(super) fn handle() -> Result<(), Failure> {
    count_continues()
        .map_err(|error| Failure::failed(anyhow::anyhow!("cannot install the handler of SIGCONT: {error}")))?;
    let mut requests = Requests::default();
    ctrlc::set_handler(move || {
        // Relaxed: a flag, and nothing is published with it.
        INTERRUPTED.store(true, Ordering::Relaxed);
        if requests.is_repeated(Instant::now()) {
            tracefs::remove_at_exit();
            output::remove_unfinished();
            std::process::exit(Status::Interrupted as i32);
        }
    })
    .map_err(|error| Failure::new(Status::HostCannot, anyhow::anyhow!("{}", told(&error))))?;
    // Those that were held.
    for signal in REQUESTS {
        let _ = unblock_signal(signal);
    }
    Ok(())
}

/// The system's reason for refusing the handler, which has a thread of its own.
fn told(error: &ctrlc::Error) -> String {
    match error {
        ctrlc::Error::System(system) if system.kind() == io::ErrorKind::WouldBlock => {
            format!("cannot start the thread that hears of Ctrl-C: {system} ({TOO_FEW_THREADS})")
        }
        ctrlc::Error::System(system) => format!("cannot install the handler of Ctrl-C: {system}"),
        ctrlc::Error::NoSuchSignal(_) | ctrlc::Error::MultipleHandlers => {
            format!("cannot install the handler of Ctrl-C: {error}")
        }
    }
}

/// The requests to stop so far.
#[derive(Default)]
struct Requests {
    first: Option<Instant>,
}

impl Requests {
    /// Whether a signal that arrives now is a request of its own after the first.
    fn is_repeated(&mut self, now: Instant) -> bool {
        now.duration_since(*self.first.get_or_insert(now)) >= ONE_REQUEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_of_one_moment_are_one_request() {
        let (mut requests, first) = (Requests::default(), Instant::now());
        let after = |ms| first + Duration::from_millis(ms);
        let is_repeated = [0, 3, 999, 1_000].map(|ms| requests.is_repeated(after(ms)));
        assert_eq!(is_repeated, [false, false, false, true]);
    }
}
