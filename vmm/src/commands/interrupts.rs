//! Signals: Ctrl-C, and what tells of a stop.

use super::status::{Failure, Status};
use crate::events::kernel::tracefs;
use crate::host::watch::count_continues;
use std::sync::atomic::{AtomicBool, Ordering};

/// The user wants to stop.
pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets Ctrl-C end the run in good order, and notices that the process was stopped. A second one ends the process at once, should the first not get through.
pub(super) fn handle() -> Result<(), Failure> {
    count_continues()
        .map_err(|error| Failure::failed(anyhow::anyhow!("cannot install the handler of SIGCONT: {error}")))?;
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            tracefs::remove_at_exit();
            std::process::exit(Status::Interrupted as i32);
        }
    })
    .map_err(|error| Failure::failed(anyhow::anyhow!("cannot install the handler of Ctrl-C: {error}")))
}
