//! The system's clocks.

use rustix::time::Timespec;

/// What one of them shows, in ns. None goes below zero.
pub(crate) fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
