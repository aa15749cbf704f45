//! Getting a vCPU thread out of KVM_RUN, so that no kick is lost.
//!
//! The one who kicks: request, then `immediate_exit`, then the signal. The vCPU thread, once it is out: clear
//! `immediate_exit`, then look at the request. Whatever the order, either the thread sees the request before it enters
//! KVM_RUN, or KVM sees `immediate_exit` as it enters, or the signal finds it inside (KVM API, 5: `immediate_exit`
//! exists to close the window between the look and the entry).

use std::io;
use std::os::fd::RawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

/// What a vCPU thread is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Request {
    /// Run the guest.
    Run = 0,
    /// Say where the vCPU is, and stay out of the guest until told otherwise.
    Pause = 1,
    /// End.
    Stop = 2,
}

impl Request {
    fn from_stored(value: u32) -> Self {
        match value {
            0 => Self::Run,
            1 => Self::Pause,
            _ => Self::Stop,
        }
    }
}

/// The signal that interrupts KVM_RUN.
pub fn signal() -> i32 {
    SIGRTMIN()
}

extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Installs the handler of [`signal`], which does nothing: that the signal arrives is what counts.
///
/// # Errors
/// If the system refuses the handler.
pub fn install_handler() -> io::Result<()> {
    static ERRNO: OnceLock<Option<i32>> = OnceLock::new();
    let errno =
        ERRNO.get_or_init(|| register_signal_handler(signal(), on_signal).err().map(vmm_sys_util::errno::Error::errno));
    errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
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

/// Where a request for one vCPU thread waits.
#[derive(Debug)]
pub struct Kick {
    request: AtomicU32,
    run_page: RunPage,
}

impl Kick {
    /// For the vCPU behind `vcpu`, a vCPU's file descriptor.
    ///
    /// # Errors
    /// If its `kvm_run` cannot be mapped.
    pub fn new(vcpu: RawFd) -> io::Result<Self> {
        Ok(Self { request: AtomicU32::new(Request::Run as u32), run_page: RunPage::map(vcpu)? })
    }

    /// Leaves a request. The signal has to follow.
    pub fn ask(&self, request: Request) {
        // SeqCst pairs with `pending`: each side writes one of the two words and then reads or relies on the other.
        self.request.store(request as u32, Ordering::SeqCst);
        self.prevent_entry();
    }

    /// Makes the next KVM_RUN return at once. The signal has to follow, for one that runs already.
    pub fn prevent_entry(&self) {
        self.run_page.immediate_exit().store(1, Ordering::SeqCst);
    }

    /// Takes a request back. The thread waits for leave to go on, and gets it after this.
    pub fn clear(&self) {
        self.request.store(Request::Run as u32, Ordering::SeqCst);
    }

    /// vCPU thread, outside KVM_RUN: what it is asked to do.
    pub fn pending(&self) -> Request {
        self.run_page.immediate_exit().store(0, Ordering::SeqCst);
        self.request()
    }

    /// vCPU thread: IA32_APIC_BASE as of the last exit, also while that exit's data is borrowed from the vCPU.
    pub fn apic_base(&self) -> u64 {
        self.run_page.word::<{ std::mem::offset_of!(kvm_bindings::kvm_run, apic_base) }>().load(Ordering::Relaxed)
    }

    /// As [`Kick::apic_base`]: CR8.
    pub fn cr8(&self) -> u64 {
        self.run_page.word::<{ std::mem::offset_of!(kvm_bindings::kvm_run, cr8) }>().load(Ordering::Relaxed)
    }

    /// What the vCPU thread is asked to do.
    pub fn request(&self) -> Request {
        Request::from_stored(self.request.load(Ordering::SeqCst))
    }
}
