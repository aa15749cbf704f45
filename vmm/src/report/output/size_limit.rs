//! The limit of a file's size (RLIMIT_FSIZE, `ulimit -f`): a write beyond it is to fail, as one to a full disk does.

use vmm_sys_util::signal::register_signal_handler;

/// Takes the signal that a write beyond the limit brings (SIGXFSZ), and that would end the process: what was measured would be lost.
/// The write then fails (EFBIG). Programs that kipi starts have the signal as before, since a handler ends with exec (signal(7)).
pub fn fail_beyond_size_limit() {
    // Where it cannot be taken, it ends the process.
    let _ = register_signal_handler(libc::SIGXFSZ, pass);
}

extern "C" fn pass(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
