//! Stops of the whole process.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use vmm_sys_util::signal::register_signal_handler;

/// How often the process was continued.
static CONTINUES: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // Relaxed: a count, and nothing is published with it.
    CONTINUES.fetch_add(1, Ordering::Relaxed);
}

/// Counts from now on how often somebody continues this process after a stop (SIGCONT; SIGSTOP itself cannot be seen).
///
/// # Errors
/// sigaction's.
pub fn count_continues() -> io::Result<()> {
    register_signal_handler(libc::SIGCONT, count).map_err(|error| io::Error::from_raw_os_error(error.errno()))
}

pub(super) fn continues() -> u64 {
    CONTINUES.load(Ordering::Relaxed)
}
