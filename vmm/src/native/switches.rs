//! How often a thread has left its CPU, and whether it wanted to.

use std::mem::MaybeUninit;

/// Context switches of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// It went to sleep.
    pub voluntary: i64,
    /// It was preempted or moved.
    pub involuntary: i64,
}

/// Context switches of the calling thread since it began (getrusage(2), RUSAGE_THREAD). A system call.
pub fn of_this_thread() -> Switches {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills in the structure that it is given; where it failed, which it does for no valid address, zeros are
    // a value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    Switches { voluntary: usage.ru_nvcsw, involuntary: usage.ru_nivcsw }
}

impl Switches {
    /// Those that came after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { voluntary: self.voluntary - earlier.voluntary, involuntary: self.involuntary - earlier.involuntary }
    }
}
