//! A process of its own that boots other VMMs, forked while this process has all its rights: what it starts has neither this one's
//! sandbox nor any descriptor of it.
//!
//! The two speak over a pair of sockets. The launcher is told a VMM's number, to stop, or to end, in four bytes; it answers each
//! number, and at first its own start, with a tag, a length and so many bytes. It ends what it has started when it is told to, and
//! when the other side is gone; also processes that have left the VMM's group, whose parent it is once their own has ended. It is in a
//! process group of its own: a terminal's Ctrl-C reaches this process, which tells it.

use super::super::interrupts::INTERRUPTED;
use super::Vmm;
use super::boot::{self, Booted, Files};
use super::orphans;
use kipi_standalone::plan::Plan;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;
use thiserror::Error;

/// How often this side looks whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(20);
/// How long the launcher may take to end what it has started: longer than a VMM may.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ends a boot.
const STOP: u32 = u32::MAX;
/// Ends the launcher.
const END: u32 = u32::MAX - 1;

/// Why a boot brought nothing.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// There is no launcher.
    #[error("cannot start a process that starts other VMMs: {0}")]
    Fork(#[source] io::Error),
    /// It has ended.
    #[error("the process that starts other VMMs has ended: {0}")]
    Gone(#[from] io::Error),
    /// What it says.
    #[error("{0}")]
    Failed(String),
}

/// This side.
pub(super) struct Launcher {
    socket: File,
}

impl Launcher {
    /// Forks it, with a plan and its words. This process must have one thread.
    ///
    /// # Errors
    /// It cannot be forked, or cannot write the files that boots need.
    pub(super) fn fork(vmms: &[Vmm], plan: (&Plan, &str)) -> Result<Self, Error> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::Fork)?;
        let [ours, theirs] = [ours, theirs].map(|socket| File::from(OwnedFd::from(socket)));
        // SAFETY: no other thread runs, which the caller keeps: no lock is held that nobody in the child would let go.
        match unsafe { libc::fork() } {
            -1 => Err(Error::Fork(io::Error::last_os_error())),
            0 => {
                drop(ours);
                // Should it panic, the other side sees that it has ended.
                let _ = catch_unwind(AssertUnwindSafe(|| serve(theirs, vmms, plan)));
                // SAFETY: ends the process, whose values have been dropped, without what the parent does at its own exit.
                unsafe { libc::_exit(0) }
            }
            _ => {
                drop(theirs);
                let mut launcher = Self { socket: ours };
                launcher.answer()?;
                Ok(launcher)
            }
        }
    }

    /// Boots a VMM, by its number, once.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Gone`].
    pub(super) fn boot(&mut self, vmm: usize) -> Result<Booted, Error> {
        self.say(u32::try_from(vmm).unwrap_or(END))?;
        let mut is_told = false;
        while !can_be_read(&self.socket, LOOK)? {
            // Relaxed: a flag, and nothing is published with it.
            if !is_told && INTERRUPTED.load(Ordering::Relaxed) {
                self.say(STOP)?;
                is_told = true;
            }
        }
        self.answer()
    }

    fn say(&mut self, word: u32) -> io::Result<()> {
        self.socket.write_all(&word.to_ne_bytes())
    }

    fn answer(&mut self) -> Result<Booted, Error> {
        let (mut tag, mut length) = ([0; 1], [0; 8]);
        self.socket.read_exact(&mut tag)?;
        self.socket.read_exact(&mut length)?;
        let mut bytes = Vec::new();
        let length = u64::from_ne_bytes(length);
        if (&self.socket).take(length).read_to_end(&mut bytes)? as u64 != length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match tag {
            [Answer::LOG] => Ok(Booted::Log(bytes)),
            [Answer::INTERRUPTED] => Ok(Booted::Interrupted(bytes)),
            _ => Err(Error::Failed(String::from_utf8_lossy(&bytes).into_owned())),
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Where it is gone, there is nothing to wait for.
        if self.say(END).is_ok() && can_be_read(&self.socket, PATIENCE).unwrap_or(false) {
            let _ = self.socket.read(&mut [0]);
        }
    }
}

/// What an answer is.
struct Answer;

impl Answer {
    const LOG: u8 = 0;
    const INTERRUPTED: u8 = 1;
    const FAILED: u8 = 2;
}

/// The launcher's whole life.
fn serve(mut socket: File, vmms: &[Vmm], plan: (&Plan, &str)) {
    // It has just been forked, and leads no group: this cannot fail.
    let _ = rustix::process::setpgid(None, None);
    let files = match orphans::adopt().and_then(|()| Files::new()) {
        Ok(files) => files,
        Err(error) => {
            let folder = env::temp_dir();
            let error = format!(
                "cannot make ready for other VMMs in {} (TMPDIR names another folder): {error}",
                folder.display()
            );
            // Nobody hears it any more.
            let _ = answer(&mut socket, Answer::FAILED, error.as_bytes());
            return;
        }
    };
    let mut said = answer(&mut socket, Answer::LOG, &[]);
    while said.is_ok() {
        match heard(&mut socket) {
            // It came when the boot had ended.
            STOP => {}
            END => return,
            number => {
                let Some(vmm) = vmms.get(number as usize) else { return };
                let booted = boot::run(&vmm.template, &files, plan, &mut || is_to_stop(&socket));
                said = match booted {
                    Ok(Booted::Log(log)) => answer(&mut socket, Answer::LOG, &log),
                    Ok(Booted::Interrupted(log)) => answer(&mut socket, Answer::INTERRUPTED, &log),
                    Err(error) => answer(&mut socket, Answer::FAILED, error.to_string().as_bytes()),
                };
            }
        }
    }
}

fn answer(socket: &mut File, tag: u8, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(&[tag])?;
    socket.write_all(&(bytes.len() as u64).to_ne_bytes())?;
    socket.write_all(bytes)
}

/// What the other side says; that it is gone says END.
fn heard(socket: &mut impl Read) -> u32 {
    let mut word = [0; 4];
    socket.read_exact(&mut word).map_or(END, |()| u32::from_ne_bytes(word))
}

/// Whether the boot is to end. Nothing but STOP is said meanwhile, and that it is gone.
fn is_to_stop(mut socket: &File) -> bool {
    can_be_read(socket, Duration::ZERO).unwrap_or(true) && {
        heard(&mut socket);
        true
    }
}

fn can_be_read(socket: &File, within: Duration) -> io::Result<bool> {
    let within = Timespec { tv_sec: within.as_secs().cast_signed(), tv_nsec: within.subsec_nanos().into() };
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&within)) {
        Ok(ready) => Ok(ready > 0),
        // Whoever waits looks around, and comes back.
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
