//! Keeping a thread on one CPU (sched_setaffinity(2)).

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Lets the calling thread run on this CPU alone.
///
/// # Errors
/// The kernel's, where there is no such CPU or the thread may not run there.
pub fn pin_this_thread(cpu: usize) -> Result<(), Errno> {
    let mut only = CpuSet::new();
    // An empty set is refused as a CPU that does not exist is.
    if cpu < CpuSet::MAX_CPU {
        only.set(cpu);
    }
    sched_setaffinity(None, &only)
}
