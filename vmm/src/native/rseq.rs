//! Restartable sequences (rseq(2)): the kernel tells a thread that it was interrupted by membarrier(2), preempted, moved or
//! signalled, by letting it go on elsewhere. That is the nearest thing to an interrupt handler that user space has.

use super::Error;
use core::arch::asm;
use core::ffi::{c_int, c_uint, c_void};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use rustix::io::Errno;
use std::marker::PhantomData;
use std::mem::offset_of;

/// What a thread shares with the kernel: the first version of `struct rseq` (Linux' `include/uapi/linux/rseq.h`), which every
/// kernel since 4.18 takes, and which later ones and the C library only add to. Each field is atomic, since the kernel writes
/// them behind the compiler's back.
#[derive(Debug)]
#[repr(C, align(32))]
struct Area {
    cpu_id_start: AtomicU32,
    cpu_id: AtomicU32,
    /// Address of the descriptor of the sequence that the thread is in; the kernel clears it when it restarts one.
    sequence: AtomicU64,
    flags: AtomicU32,
    /// Of this version's 32 bytes; newer kernels write a node and a concurrency id here, also for those who asked for less.
    reserved: [AtomicU32; 3],
}

impl Area {
    /// RSEQ_CPU_ID_UNINITIALIZED.
    const NO_CPU: u32 = u32::MAX;

    fn new() -> Self {
        Self {
            cpu_id_start: AtomicU32::new(0),
            cpu_id: AtomicU32::new(Self::NO_CPU),
            sequence: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            reserved: Default::default(),
        }
    }
}

/// What the kernel finds before the address at which an interrupted sequence goes on, in the x86 C library's choice.
const SIGNATURE: u32 = 0x5305_3053;

/// The calling thread's area: the C library's, which has registered one since glibc 2.35, or one of our own.
#[derive(Debug)]
pub(super) struct Registered {
    /// Of the C library, it lives as long as the thread; of our own, it comes from a `Box`, and lives as long as `self`.
    area: NonNull<Area>,
    is_own: bool,
    /// It is the thread's.
    not_send: PhantomData<*const ()>,
}

impl Registered {
    /// # Errors
    /// [`Error::Rseq`]: the kernel has no rseq(2), or somebody else has registered an area that we do not know of.
    pub(super) fn of_this_thread() -> Result<Self, Error> {
        let of_c_library = of_c_library().map(|area| Self { area, is_own: false, not_send: PhantomData });
        of_c_library.map_or_else(Self::register, Ok)
    }

    fn register() -> Result<Self, Error> {
        let area = NonNull::from(Box::leak(Box::new(Area::new())));
        if let Err(errno) = rseq(area, 0) {
            // SAFETY: it was leaked above, and the kernel has not taken it.
            drop(unsafe { Box::from_raw(area.as_ptr()) });
            return Err(Error::Rseq(errno));
        }
        Ok(Self { area, is_own: true, not_send: PhantomData })
    }

    /// The CPU that the thread runs on.
    pub(super) fn cpu(&self) -> u32 {
        // SAFETY: the area lives as long as `self` (see the field). Relaxed: the kernel writes it before this thread goes on.
        unsafe { self.area.as_ref() }.cpu_id.load(Ordering::Relaxed)
    }

    /// Stays in a restartable sequence until the kernel ends it, and says what the TSC was then: it is read first thing after it.
    /// `ready` becomes `value` within the sequence. `None`: the kernel did not end it; `request` was other than `known` when the
    /// sequence began, so that an interrupt may have come before, or `stop` is not zero.
    ///
    /// The store to `ready` is a release, as every store is on x86, and its partner the caller's acquire: whoever has seen `ready`
    /// finds this thread in its sequence.
    #[inline(never)]
    pub(super) fn wait(
        &self,
        (ready, value): (&AtomicU32, u32),
        (request, known): (*const u32, u32),
        stop: &AtomicU32,
    ) -> Option<u64> {
        let (low, high): (u64, u64);
        // SAFETY: the sequence reads `request` and `stop` and writes `ready`; two are references, and `request` is a slot's word,
        // which outlives this call by its caller's word. Where the kernel ends the sequence, RIP is all that changes, to the
        // label behind the signature: every register still has what the compiler put there. The area is this thread's, which
        // `not_send` keeps, and its `sequence` is cleared before this returns, so that no descriptor of ours is left there.
        unsafe {
            asm!(
                ".pushsection __rseq_cs, \"aw\", @progbits",
                ".balign 32",
                "2:",
                // Version, flags, begin, length, and where to go on.
                ".long 0, 0",
                ".quad 3f, 4f - 3f, 5f",
                ".popsection",
                "lea {scratch}, [rip + 2b]",
                "mov [{area} + {sequence}], {scratch}",
                "3:",
                // A request that is there already may have been followed by its interrupt before the sequence began.
                "cmp [{request}], {known:e}",
                "jne 4f",
                "mov [{ready}], {value:e}",
                "6:",
                "pause",
                "cmp dword ptr [{stop}], 0",
                "je 6b",
                "4:",
                "xor eax, eax",
                "xor edx, edx",
                "jmp 7f",
                // UD1 with the signature as its displacement: a disassembler stays in step.
                ".byte 0x0f, 0xb9, 0x3d",
                ".long {signature}",
                "5:",
                "rdtsc",
                "7:",
                "mov qword ptr [{area} + {sequence}], 0",
                area = in(reg) self.area.as_ptr(),
                request = in(reg) request,
                known = in(reg) known,
                ready = in(reg) ready.as_ptr(),
                value = in(reg) value,
                stop = in(reg) stop.as_ptr(),
                scratch = out(reg) _,
                sequence = const offset_of!(Area, sequence),
                signature = const SIGNATURE,
                out("rax") low,
                out("rdx") high,
                options(nostack),
            );
        }
        let stamp = high << 32 | low;
        (stamp != 0).then_some(stamp)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        const UNREGISTER: c_int = 1;
        if self.is_own && rseq(self.area, UNREGISTER).is_ok() {
            // SAFETY: `register` leaked it, and the kernel has just let go of it. Where it has not, it writes there until the
            // thread ends, so that the area must stay.
            drop(unsafe { Box::from_raw(self.area.as_ptr()) });
        }
    }
}

/// The area that the C library has registered for this thread; `None`: it has none, or it was told not to
/// (the tunable `glibc.pthread.rseq`).
fn of_c_library() -> Option<NonNull<Area>> {
    let (size, offset) = variables()?;
    if size == 0 {
        return None;
    }
    let thread: *mut c_void;
    // SAFETY: the first word of the thread's control block is its own address (System V ABI, x86-64 supplement, thread-local
    // storage).
    unsafe { asm!("mov {}, fs:0", out(reg) thread, options(nostack, preserves_flags, readonly)) };
    NonNull::new(thread.wrapping_byte_offset(offset).cast())
}

/// `__rseq_size` and `__rseq_offset`, of the C library that is in this file.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[expect(clippy::unnecessary_wraps, reason = "a library that is found at run time may be too old to have them")]
fn variables() -> Option<(c_uint, isize)> {
    // `const unsigned int` and `const ptrdiff_t` by glibc's <sys/rseq.h>.
    unsafe extern "C" {
        static __rseq_size: c_uint;
        static __rseq_offset: isize;
    }
    // SAFETY: glibc defines both, from 2.35 on, and has set them before `main`.
    Some(unsafe { (__rseq_size, __rseq_offset) })
}

/// `__rseq_size` and `__rseq_offset`, of the C library that this process has loaded; `None`: it is older than these.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
fn variables() -> Option<(c_uint, isize)> {
    let variable = |name: &core::ffi::CStr| {
        // SAFETY: the name ends with a NUL.
        NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
    };
    let (size, offset) = (variable(c"__rseq_size")?, variable(c"__rseq_offset")?);
    // SAFETY: `const unsigned int` and `const ptrdiff_t` by glibc's <sys/rseq.h>, set before `main`.
    Some(unsafe { (size.cast::<c_uint>().read(), offset.cast::<isize>().read()) })
}

/// rseq(2), of the first version's size. The area stays where it is for as long as it is registered.
fn rseq(area: NonNull<Area>, flags: c_int) -> Result<(), Errno> {
    // SAFETY: the area is aligned to 32 bytes and has the 32 that the kernel writes to; both callers keep it until it is let go.
    let result = unsafe { libc::syscall(libc::SYS_rseq, area.as_ptr(), size_of::<Area>(), flags, SIGNATURE) };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::NOSYS, Errno::from_raw_os_error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C library of whoever runs the tests may have registered one already: then a second area is refused.
    #[test]
    fn a_thread_has_one_area() {
        std::thread::spawn(|| {
            let first = Registered::of_this_thread().expect("an area");
            assert!(first.cpu() != Area::NO_CPU);
            let second = Registered::register();
            assert!(matches!(second, Err(Error::Rseq(_))), "{second:?}");
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn nothing_is_waited_for_that_has_come_already() {
        std::thread::spawn(|| {
            let sequences = Registered::of_this_thread().expect("an area");
            let (ready, request, go_on) = (AtomicU32::new(0), AtomicU32::new(8), AtomicU32::new(0));
            assert_eq!(sequences.wait((&ready, 1), (request.as_ptr(), 4), &go_on), None);
            assert_eq!(ready.load(Ordering::Relaxed), 0, "not ready for what has come");
            let stop = AtomicU32::new(1);
            assert_eq!(sequences.wait((&ready, 1), (request.as_ptr(), 8), &stop), None);
            assert_eq!(ready.load(Ordering::Relaxed), 1);
        })
        .join()
        .expect("no panic");
    }
}
