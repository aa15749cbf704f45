//! Why the host's own processors could not be measured.

use super::membarrier::Barrier;
use rustix::io::Errno;
use thiserror::Error;

/// Why threads could not interrupt each other. After an error the threads are of no more use.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel refuses.
    #[error("{what} membarrier(2) ({}): {errno}", .barrier.name())]
    Membarrier {
        /// What was tried.
        what: &'static str,
        /// Which of its commands.
        barrier: Barrier,
        /// Its answer.
        errno: Errno,
    },
    /// The kernel has no restartable sequences, or another library has registered an area for them.
    #[error("registering a thread for rseq(2): {0}")]
    Rseq(Errno),
    /// The kernel does not wake threads.
    #[error("waking threads by futex(2): {0}")]
    Futex(Errno),
    /// The kernel does not let a thread have its CPU.
    #[error("thread {thread} cannot be pinned to CPU {cpu}: {errno}")]
    NotPinned {
        /// Which.
        thread: usize,
        /// Where it was to run.
        cpu: usize,
        /// The kernel's answer.
        errno: Errno,
    },
    /// There is no thread to be had.
    #[error("starting thread {thread}: {source}")]
    NotStarted {
        /// Which.
        thread: usize,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A single thread has nobody to interrupt.
    #[error("a thread alone interrupts nobody")]
    Alone,
    /// A thread has panicked.
    #[error("thread {0} has panicked")]
    Gone(usize),
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
}
