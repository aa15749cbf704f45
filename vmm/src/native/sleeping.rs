//! Sleeping for a word, and waking whoever does (futex(2)).

use rustix::io::Errno;
use rustix::thread::futex;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` holds `value`, for at most `time`, or (`None`) for as long as that takes. The kernel compares the two and
/// falls asleep in one step, so that the wake-up by whoever has changed the word is not lost. May return earlier: a signal came, or
/// somebody has woken this thread for nothing.
#[inline]
pub fn sleep(word: &AtomicU32, value: u32, time: Option<Duration>) {
    let timeout = time.and_then(|time| futex::Timespec::try_from(time).ok());
    // However it ends, the word is looked at again. An error tells that it has changed already (EAGAIN), of a signal (EINTR), or that
    // the time is over (ETIMEDOUT).
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, timeout.as_ref());
}

/// Wakes all threads that sleep for `word`.
///
/// # Errors
/// The kernel's, where it has no futexes: of a word that can be read it does not fail.
#[inline]
pub fn wake(word: &AtomicU32) -> Result<(), Errno> {
    // The kernel's counter is signed.
    const ALL: u32 = i32::MAX.unsigned_abs();
    futex::wake(word, futex::Flags::PRIVATE, ALL).map(drop)
}
