//! Getting a vCPU thread out of KVM_RUN, so that no kick is lost.
//!
//! The one who kicks stores the request, then sets `immediate_exit`, then sends the signal. The vCPU thread, once it is out,
//! clears `immediate_exit`, then looks at the request. Whatever the order, either the thread sees the request before it enters
//! KVM_RUN, or KVM sees `immediate_exit` as it enters, or the signal finds it inside (KVM API, 5: `immediate_exit`
//! exists to close the window between the look and the entry).

use crate::error::{Error, Operation};
use std::io;
use std::os::fd::RawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::thread::Thread;
use vmm_sys_util::signal::register_signal_handler;

/// What a vCPU thread is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Request {
    /// Run the guest.
    Run = 0,
    /// Stay out of the guest until told otherwise.
    Pause = 1,
    /// Stay out of the guest for ever.
    End = 2,
}

impl Request {
    fn from_stored(value: u32) -> Self {
        match value {
            0 => Self::Run,
            1 => Self::Pause,
            _ => Self::End,
        }
    }
}

/// The calling thread, as the kernel numbers it.
fn current_thread_id() -> u32 {
    // SAFETY: has no arguments and no effect.
    unsafe { libc::gettid() }.unsigned_abs()
}

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// A signal that interrupts KVM_RUN, with its handler installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// Installs a handler that does nothing: that the signal arrives is what counts. The process must use the signal for nothing
    /// else.
    ///
    /// # Errors
    /// If the system refuses the handler: there is no such signal, or it cannot be caught.
    pub fn install(number: i32) -> Result<Self, Error> {
        register_signal_handler(number, on_signal)
            .map_err(|error| Error { operation: Operation::InstallHandler, errno: error.errno() })?;
        Ok(Self(number))
    }

    /// SIGUSR1. It arrives however full the queue of signals is (RLIMIT_SIGPENDING); a real-time signal is refused then (EAGAIN, tgkill(2)),
    /// and the vCPU would stay in the guest.
    ///
    /// # Errors
    /// As [`Signal::install`].
    pub fn user() -> Result<Self, Error> {
        Self::install(libc::SIGUSR1)
    }
}

/// The page of `kvm_run` that holds `immediate_exit`, mapped a second time, for other threads.
#[derive(Debug)]
struct RunPage(NonNull<libc::c_void>);

const PAGE: usize = 4096;

// SAFETY: the mapping lives as long as the value, and the one byte that is accessed is accessed atomically.
unsafe impl Send for RunPage {}
// SAFETY: as above.
unsafe impl Sync for RunPage {}

impl RunPage {
    fn map(vcpu: RawFd) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping of the vCPU's file, at an address that the kernel chooses.
        let page =
            unsafe { libc::mmap(null_mut(), PAGE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, vcpu, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page).map(Self).ok_or_else(|| io::Error::other("mmap returned a null page"))
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        const OFFSET: usize = std::mem::offset_of!(kvm_bindings::kvm_run, immediate_exit);
        // SAFETY: OFFSET lies within the mapped page, which lives as long as `self`; KVM reads the byte, and user
        // space writes it through here alone.
        unsafe { AtomicU8::from_ptr(self.0.as_ptr().byte_add(OFFSET).cast()) }
    }

    /// The word at `OFFSET` of `kvm_run`.
    fn word<const OFFSET: usize>(&self) -> &AtomicU64 {
        const { assert!(OFFSET.is_multiple_of(8) && OFFSET + 8 <= PAGE) };
        // SAFETY: OFFSET lies within the mapped page, which lives as long as `self`. KVM writes the word before KVM_RUN
        // returns to the vCPU's thread, which is the one that reads it here.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().byte_add(OFFSET).cast()) }
    }
}

impl Drop for RunPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nothing borrows it any more.
        unsafe { libc::munmap(self.0.as_ptr(), PAGE) };
    }
}

/// A vCPU's thread, once it runs.
#[derive(Debug)]
struct RunningThread {
    id: u32,
    handle: Thread,
}

/// One vCPU's request, and what it takes to get the vCPU's thread to look at it.
#[derive(Debug)]
pub struct Kick {
    request: AtomicU32,
    run_page: RunPage,
    signal: Signal,
    thread: OnceLock<RunningThread>,
}

impl Kick {
    /// For the vCPU behind `vcpu`, a vCPU's file descriptor, whose thread has not started yet.
    ///
    /// # Errors
    /// If its `kvm_run` cannot be mapped.
    pub fn new(vcpu: RawFd, signal: Signal) -> Result<Self, Error> {
        let request = AtomicU32::new(Request::Run as u32);
        let run_page = RunPage::map(vcpu).map_err(Error::of_io(Operation::MapRunPage))?;
        Ok(Self { request, run_page, signal, thread: OnceLock::new() })
    }

    /// Asks the vCPU's thread for something, and gets it out of the guest or of its sleep.
    pub fn ask(&self, request: Request) {
        // An end is not taken back. SeqCst pairs with `acknowledge`: each side writes one of the two words and then reads or relies on
        // the other.
        self.request.fetch_max(request as u32, Ordering::SeqCst);
        self.interrupt();
        self.unpark();
    }

    /// Gets the vCPU's thread out of the guest, or keeps it from going in: `immediate_exit` first, then the signal. One that
    /// has not started needs no signal.
    pub fn interrupt(&self) {
        self.run_page.immediate_exit().store(1, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            // SAFETY: tgkill touches no memory. A thread of this process that has ended makes it fail with ESRCH: then
            // there is nobody to kick.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.id, self.signal.0) };
        }
    }

    /// Wakes the vCPU's thread, if it is parked, or keeps it from parking once.
    pub fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.handle.unpark();
        }
    }

    /// Takes [`Request::Pause`] back. The thread waits for leave to go on, and gets it after this.
    pub fn clear(&self) {
        let (pause, run) = (Request::Pause as u32, Request::Run as u32);
        // Fails if there is nothing to take back, or the thread is to end.
        let _ = self.request.compare_exchange(pause, run, Ordering::SeqCst, Ordering::Relaxed);
    }

    /// What the vCPU's thread is asked to do.
    pub fn request(&self) -> Request {
        Request::from_stored(self.request.load(Ordering::SeqCst))
    }

    /// The vCPU's thread, as the kernel numbers it; `None`: it has not begun to run.
    pub fn thread_id(&self) -> Option<u32> {
        self.thread.get().map(|thread| thread.id)
    }

    /// vCPU thread, as its first act: from now on, signals and unparks reach it. The kick's signal is unblocked.
    ///
    /// # Panics
    /// If another thread has been here before: a vCPU has one.
    pub fn thread_started(&self) {
        let id = current_thread_id();
        let thread = self.thread.get_or_init(|| RunningThread { id, handle: std::thread::current() });
        assert_eq!(thread.id, id, "a vCPU has one thread");
        // SAFETY: the set is initialised by sigemptyset before it is used, and lives as long as the call.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, self.signal.0);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, null_mut());
        }
    }

    /// vCPU thread, outside KVM_RUN: clears `immediate_exit`, and says what the thread is asked to do.
    pub fn acknowledge(&self) -> Request {
        self.run_page.immediate_exit().store(0, Ordering::SeqCst);
        self.request()
    }

    /// vCPU thread, about to call KVM_RUN: it is to return at once, as after a kick.
    pub(crate) fn turn_back(&self) {
        self.run_page.immediate_exit().store(1, Ordering::SeqCst);
    }

    /// vCPU thread: CR8 as of the last exit, also while that exit's data is borrowed from the vCPU.
    pub(crate) fn cr8(&self) -> u64 {
        self.run_page.word::<{ std::mem::offset_of!(kvm_bindings::kvm_run, cr8) }>().load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_request_keeps_the_thread_out_until_it_is_acknowledged() {
        // A file stands for the vCPU, and a page of it for its `kvm_run`.
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE as u64).unwrap();
        let kick = Kick::new(file.as_raw_fd(), Signal::user().unwrap()).unwrap();
        let immediate_exit = || kick.run_page.immediate_exit().load(Ordering::Relaxed);
        assert_eq!((kick.request(), immediate_exit()), (Request::Run, 0));
        kick.ask(Request::Pause);
        assert_eq!((kick.request(), immediate_exit()), (Request::Pause, 1));
        assert_eq!((kick.acknowledge(), immediate_exit()), (Request::Pause, 0));
        kick.clear();
        kick.interrupt();
        assert_eq!((kick.acknowledge(), immediate_exit()), (Request::Run, 0));
        kick.ask(Request::End);
        kick.ask(Request::Pause);
        kick.clear();
        assert_eq!(kick.request(), Request::End, "for ever");
        assert_eq!(kick.thread_id(), None);
        kick.thread_started();
        assert_eq!(kick.thread_id(), Some(current_thread_id()));
    }
}
