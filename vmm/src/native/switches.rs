//! How often a thread has left its CPU.

use std::mem::MaybeUninit;

/// Context switches of the calling thread, of its own will or not, since it began (getrusage(2), RUSAGE_THREAD). A system call.
pub fn of_this_thread() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills in the structure that it is given; where it failed, which it does for no valid address, zeros are
    // a value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_nvcsw + usage.ru_nivcsw
}
