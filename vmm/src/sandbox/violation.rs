//! What follows a forbidden system call: one line that names it, and the end of the run.
//!
//! The kernel does not make the call, and sends SIGSYS to the thread (SECCOMP_RET_TRAP). A thread that is not the main one then finds
//! that the call has failed, so that the main thread can write what was measured until then. Where the main thread has made it,
//! nothing is left that could.

use super::ThreadKind;
use super::kinds;
use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use strum::VariantArray as _;
use syscalls::Sysno;
use vmm_sys_util::signal::register_signal_handler;

/// What ends the run.
static STOP: OnceLock<&'static AtomicBool> = OnceLock::new();
/// The first violation: the system call's number plus one, and in the upper half the thread's kind; zero: there was none.
static FIRST: AtomicU64 = AtomicU64::new(0);
/// How many there were.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A run that does not end after so many is ended.
const MOST: u32 = 1000;

/// README's table of exit statuses: something went wrong.
const FAILED: i32 = 1;

/// `si_code` of a signal that a filter has sent (asm-generic/siginfo.h).
const SYS_SECCOMP: libc::c_int = 1;

/// Handles SIGSYS.
pub(super) fn handle(stop: &'static AtomicBool) -> Result<(), String> {
    let _ = STOP.set(stop);
    register_signal_handler(libc::SIGSYS, on_violation).map_err(|error| error.to_string())
}

/// The first violation, in words; `None`: there was none.
pub fn violation() -> Option<String> {
    // Relaxed: all that there is to know is in the word.
    let first = FIRST.load(Ordering::Relaxed).checked_sub(1)?;
    let kind = ThreadKind::VARIANTS.iter().find(|&&kind| kind as u64 == first >> 32)?;
    let mut line = Line::default();
    told(&mut line, *kind, first & u64::from(u32::MAX)).ok()?;
    Some(String::from_utf8_lossy(line.bytes()).into_owned())
}

/// Runs in a signal handler: no allocation, no lock.
extern "C" fn on_violation(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the handler is installed with SA_SIGINFO, so that the kernel passes this, which is the handler's until it returns.
    if unsafe { (*info).si_code } != SYS_SECCOMP {
        // Somebody has sent the signal: no system call was made.
        return;
    }
    // SAFETY: the handler is installed with SA_SIGINFO, so that the kernel passes a context of this type, which is this thread's until
    // the handler returns.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // As at the system call's entry (seccomp(2), SECCOMP_RET_TRAP).
    let [call, argument] = [libc::REG_RAX, libc::REG_RSI]
        .map(|register| registers[register.unsigned_abs() as usize].cast_unsigned() & u64::from(u32::MAX));
    let kind = kinds::current();
    // Relaxed: as in `violation`.
    let is_first =
        FIRST.compare_exchange(0, (kind as u64) << 32 | (call + 1), Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if is_first {
        let mut line = Line::default();
        let _ = line.write_str("kipi: ");
        let _ = told(&mut line, kind, call);
        // Which of a device's many calls it is.
        if call == u64::from(Sysno::ioctl.id().unsigned_abs()) {
            let _ = write!(line, " {argument:#x}");
        }
        let _ = line.write_str(" (report it, please; --no-sandbox runs without a sandbox)\n");
        let bytes = line.bytes();
        // SAFETY: the bytes are the line's, which lives until then.
        unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
    }
    // Relaxed: a flag and a count, with which nothing is published.
    if kind == ThreadKind::Main || COUNT.fetch_add(1, Ordering::Relaxed) > MOST {
        // SAFETY: ends the process.
        unsafe { libc::_exit(FAILED) };
    }
    if let Some(stop) = STOP.get() {
        stop.store(true, Ordering::Relaxed);
    }
    registers[libc::REG_RAX.unsigned_abs() as usize] = -i64::from(libc::EPERM);
}

fn told(line: &mut Line, kind: ThreadKind, call: u64) -> fmt::Result {
    write!(line, "{} tried a system call that its sandbox forbids: ", kind.name())?;
    match usize::try_from(call).ok().and_then(Sysno::new) {
        Some(call) => line.write_str(call.name()),
        None => write!(line, "number {call}"),
    }
}

/// For a test: tries what no thread may, and nothing is the worse for.
pub(super) fn try_one() {
    // SAFETY: changes nothing.
    unsafe { libc::getppid() };
}

/// A line of some length, without an allocation.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 256], length: 0 }
    }
}

impl Line {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_call_has_a_line() {
        for &kind in ThreadKind::VARIANTS {
            let line = |call| {
                let mut line = Line::default();
                told(&mut line, kind, call).expect("room");
                String::from_utf8(line.bytes().to_owned()).expect("UTF-8")
            };
            assert_eq!(line(110), format!("{} tried a system call that its sandbox forbids: getppid", kind.name()));
            assert!(line(99_999).ends_with("forbids: number 99999"));
        }
    }
}
