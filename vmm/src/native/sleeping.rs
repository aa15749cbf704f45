//! Sleeping for a word, and waking whoever does (futex(2)).

use rustix::thread::futex;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` holds `value`, for at most `time`. The kernel compares the two and falls asleep in one step, so that the
/// wake-up by whoever has changed the word is not lost. May return earlier: a signal came, or somebody has woken this thread for
/// nothing.
pub fn sleep(word: &AtomicU32, value: u32, time: Duration) {
    let timeout = futex::Timespec::try_from(time).ok();
    // However it ends: the word is looked at again.
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, timeout.as_ref());
}

/// Wakes all threads that sleep for `word`.
pub fn wake(word: &AtomicU32) {
    const ALL: u32 = i32::MAX.unsigned_abs();
    // Of a word that can be read it does not fail.
    let _ = futex::wake(word, futex::Flags::PRIVATE, ALL);
}
