//! A tracefs instance of our own: a trace buffer with its own clock, events and threads, which nobody else sees or pays
//! for, and which is gone when we are (Documentation/trace/ftrace.rst, "Instances").
//!
//! Where tracefs is not mounted, it is mounted for this process alone: the mount has no place in the file tree and ends
//! with the descriptor. The instance is removed when it is dropped, by [`remove_at_exit`] where nothing is dropped any
//! more, and, if its process was killed, by the next one that makes an instance.

use crate::host::tracing;
use rustix::fd::OwnedFd;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
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

/// What instances' names begin with; the process's number follows.
const PREFIX: &str = "kipi-";

/// The instance that this process has, for [`remove_at_exit`].
static INSTANCE: Mutex<Option<PathBuf>> = Mutex::new(None);

/// An instance.
#[derive(Debug)]
pub struct Instance {
    directory: PathBuf,
    /// The mount that was made for it.
    _mount: Option<OwnedFd>,
}

impl Instance {
    /// Makes one, mounting tracefs if need be. There can be one at a time in a process.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`].
    pub fn make() -> Result<Self, Error> {
        let (root, mount) = if let Some(place) = tracing::mount_point(Path::new("/sys")) {
            let found = tracing::examine(&place);
            if !(found.writable && found.readable) {
                return Err(Error::NotPermitted(place.display().to_string()));
            }
            (place, None)
        } else {
            let (mount, place) = tracing::mount().map_err(|errno| Error::Mount(errno.into()))?;
            (place, Some(mount))
        };
        let instances = root.join("instances");
        remove_left_over(&instances);
        let name = format!("{PREFIX}{}", process::id());
        let directory = instances.join(&name);
        fs::create_dir(&directory).map_err(|source| Error::File { operation: "make", file: name, source })?;
        *INSTANCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory.clone());
        Ok(Self { directory, _mount: mount })
    }

    /// One that a test has made up.
    #[cfg(test)]
    pub(super) fn made_up(directory: PathBuf) -> Self {
        Self { directory, _mount: None }
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
    if let Some(directory) = INSTANCE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Should it be in use still, the next process that makes one removes it.
        let _ = fs::remove_dir(directory);
    }
}

/// Removes the instances of processes that have ended without doing so.
fn remove_left_over(instances: &Path) {
    let Ok(entries) = fs::read_dir(instances) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{process}")).exists() {
            // Somebody else may have been faster.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_of_the_dead_are_removed_and_no_others() {
        let instances = tempfile::tempdir().unwrap();
        let own = format!("{PREFIX}{}", process::id());
        for name in ["kipi-4294967294", &own, "kipi-x", "somebodys"] {
            fs::create_dir(instances.path().join(name)).unwrap();
        }
        remove_left_over(instances.path());
        let mut left: Vec<_> =
            fs::read_dir(instances.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let mut expected = [own.as_str(), "kipi-x", "somebodys"];
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
