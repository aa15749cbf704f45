//! A tracefs instance of our own: a trace buffer with its own clock, events and threads, which nobody else sees or pays
//! for, and which is gone when we are (Documentation/trace/ftrace.rst, "Instances").
//!
//! Where tracefs is not mounted, it is mounted for this process alone: the mount has no place in the file tree and ends
//! with the process. The instance is removed when it is dropped, by [`remove_at_exit`] where nothing is dropped any
//! more, and, if its process was killed, by the next kipi that starts ([`remove_left_over`]).
//!
//! Whose process is gone is told by a lock (flock(2)) on the instance's directory, which ends with the process. Its number would
//! not tell: processes of another PID namespace have the same numbers, and see the same instances.

use crate::host::tracing;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// Why there is no instance.
#[derive(Debug, Error)]
pub enum Error {
    /// tracefs is not mounted, and we may not mount it.
    #[error(
        "tracefs is not mounted, and cannot be mounted: {0} (run as root, or have it mounted at /sys/kernel/tracing)"
    )]
    Mount(io::Error),
    /// tracefs is mounted, and we may not use it.
    #[error("no permission to use {0} (run as root)")]
    NotPermitted(String),
    /// One of its files.
    #[error("cannot {operation} tracefs' {file}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file, within tracefs.
        file: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// What instances' names begin with; [`DIGITS`] hexadecimal ones follow.
const PREFIX: &str = "kipi-";
/// Digits of a random number of 64 bits.
const DIGITS: usize = 16;

/// The instance that this process has, for [`remove_at_exit`].
static INSTANCE: Mutex<Option<Locked>> = Mutex::new(None);

/// An instance.
#[derive(Debug)]
pub struct Instance {
    directory: PathBuf,
}

impl Instance {
    /// Makes one, mounting tracefs if need be. There can be one at a time in a process.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`].
    pub fn make() -> Result<Self, Error> {
        let root = if let Some(place) = tracing::mount_point(Path::new("/sys")) {
            let found = tracing::examine(&place);
            if !(found.writable && found.readable) {
                return Err(Error::NotPermitted(place.display().to_string()));
            }
            place
        } else {
            tracing::mount().map_err(|errno| Error::Mount(errno.into()))?.to_owned()
        };
        let locked = Locked::make(&root.join("instances"))?;
        let directory = locked.directory.clone();
        *INSTANCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(locked);
        Ok(Self { directory })
    }

    /// One that a test has made up.
    #[cfg(test)]
    pub(super) fn made_up(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A file of the instance.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Reads a file of the instance.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn read(&self, file: &str) -> Result<String, Error> {
        read_whole(&self.path(file)).map_err(failed("read", file))
    }

    /// Writes `text` to a file of the instance, in place of what is there.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        let open = OpenOptions::new().write(true).truncate(true).open(self.path(file));
        open.and_then(|mut open| open.write_all(text.as_bytes())).map_err(failed("write to", file))
    }
}

/// Reads a file by large pieces: some files of tracefs have nothing more to say after the first one, however small.
fn read_whole(path: &Path) -> io::Result<String> {
    const PIECE: usize = 64 << 10;
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE];
    let mut text = Vec::new();
    loop {
        match file.read(&mut piece)? {
            0 => return String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            length => text.extend_from_slice(&piece[..length]),
        }
    }
}

/// The error of an operation on a file of tracefs.
pub(super) fn failed(operation: &'static str, file: &str) -> impl FnOnce(io::Error) -> Error {
    let file = file.to_owned();
    move |source| Error::File { operation, file, source }
}

impl Drop for Instance {
    fn drop(&mut self) {
        remove_at_exit();
    }
}

/// Removes this process's instance, if there is one: for a way out on which nothing is dropped.
pub fn remove_at_exit() {
    if let Some(locked) = INSTANCE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Should it be in use still, the next kipi that starts removes it.
        let _ = fs::remove_dir(&locked.directory);
    }
}

/// An instance's directory, and the lock that says that its process lives.
#[derive(Debug)]
struct Locked {
    directory: PathBuf,
    _lock: File,
}

impl Locked {
    /// Makes a directory with a name that nobody else has, and locks it.
    fn make(instances: &Path) -> Result<Self, Error> {
        loop {
            let name = format!("{PREFIX}{:0DIGITS$x}", RandomState::new().build_hasher().finish());
            let directory = instances.join(&name);
            match fs::create_dir(&directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(Error::File { operation: "make", file: name, source }),
            }
            match Self::lock(directory.clone()) {
                Ok(Some(locked)) => return Ok(locked),
                // Somebody who starts has taken it for left over, and removes it.
                Ok(None) => {}
                Err(source) => {
                    // It is nobody's any more.
                    let _ = fs::remove_dir(directory);
                    return Err(Error::File { operation: "lock", file: name, source });
                }
            }
        }
    }

    /// Takes an instance's lock; `None`: another process has it, or the instance is gone.
    fn lock(directory: PathBuf) -> io::Result<Option<Self>> {
        let if_there = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
        let lock = match File::open(&directory) {
            Ok(lock) => lock,
            Err(error) => return if_there(error),
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        // Who had the lock before may have removed what it is of.
        let there = match fs::metadata(&directory) {
            Ok(there) => there,
            Err(error) => return if_there(error),
        };
        let locked = lock.metadata()?;
        let is_same = (locked.dev(), locked.ino()) == (there.dev(), there.ino());
        Ok(is_same.then_some(Self { directory, _lock: lock }))
    }
}

/// Removes the instances of processes that have ended without doing so, as far as this process may.
pub fn remove_left_over() {
    if let Some(root) = tracing::place() {
        remove_unlocked(&root.join("instances"));
    }
}

fn remove_unlocked(instances: &Path) {
    let Ok(entries) = fs::read_dir(instances) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_name)
            && let Ok(Some(left_over)) = Locked::lock(entry.path())
        {
            // Who reads it keeps it, until the next start.
            let _ = fs::remove_dir(left_over.directory);
        }
    }
}

/// Whether kipi gives such names.
fn is_name(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix(PREFIX).is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn names(instances: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(instances).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn instances_of_the_dead_are_removed_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let instances = directory.path();
        // Those of kipis that lock nothing, and of others.
        let unknown = ["kipi-4294967294", "kipi-x", "kipi-0123456789ABCDEF", "somebodys"];
        for name in unknown.iter().chain(&["kipi-0123456789abcdef"]) {
            fs::create_dir(instances.join(name)).unwrap();
        }
        let [one, other] = [Locked::make(instances).unwrap(), Locked::make(instances).unwrap()];
        remove_unlocked(instances);
        assert!(one.directory.is_dir() && other.directory.is_dir(), "their process lives");
        drop([one, other]);
        remove_unlocked(instances);
        let mut expected = unknown.map(str::to_owned);
        expected.sort();
        assert_eq!(names(instances), expected);
    }

    #[test]
    fn what_was_made_is_never_removed_before_it_is_locked() {
        let directory = tempfile::tempdir().unwrap();
        let (instances, done) = (directory.path(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Relaxed: there is nothing to see but the flag itself.
                while !done.load(Ordering::Relaxed) {
                    remove_unlocked(instances);
                }
            });
            for _ in 0..300 {
                let made = Locked::make(instances).unwrap();
                assert!(made.directory.is_dir(), "{made:?}");
            }
            done.store(true, Ordering::Relaxed);
        });
        remove_unlocked(instances);
        assert_eq!(names(instances), <[String; 0]>::default());
    }
}
