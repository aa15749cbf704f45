//! Fetching a vCPU's thread from the guest or from its sleep, for the user-space local APIC.

use super::kick::{self, Kick};
use kipi_apic::service::Fetch;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// A vCPU's thread, once it runs.
#[derive(Debug)]
struct Running {
    id: libc::pid_t,
    handle: Thread,
}

/// Fetches one vCPU's thread.
#[derive(Debug)]
pub struct Fetcher {
    kick: Arc<Kick>,
    thread: OnceLock<Running>,
}

impl Fetcher {
    /// For the thread that `kick` belongs to, and which has not started yet.
    pub fn new(kick: Arc<Kick>) -> Self {
        Self { kick, thread: OnceLock::new() }
    }

    /// The vCPU's thread, as its first act: here it is.
    pub fn started(&self) {
        // SAFETY: has no arguments and no effect.
        let id = unsafe { libc::gettid() };
        // A second start is the same thread's.
        let _ = self.thread.set(Running { id, handle: std::thread::current() });
    }
}

impl Fetch for Fetcher {
    /// The flag first, then the signal: a signal that comes before KVM_RUN is gone without a trace (`kick`).
    fn interrupt(&self) {
        self.kick.prevent_entry();
        if let Some(thread) = self.thread.get() {
            // SAFETY: tgkill touches no memory. A thread of this process that has ended makes it fail with ESRCH: then
            // there is nobody to fetch.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.id, kick::signal()) };
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.handle.unpark();
        }
    }
}
