//! A file that has no name until it is whole, so that a kill leaves nothing of it.
//!
//! Where the file system has no such files, and between the two steps that give a whole one its name (a link cannot replace a
//! file, and a rename needs a name), it is `.kipi-BOOT-RANDOM.tmp`. Its maker holds a lock (`flock`) on it from before it has that
//! name; a name without a lock is what a kill has left. `BOOT` is of the kernel's boot id, because locks of other machines may
//! not be seen: on a network file system, or in a directory that virtual machines share.

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat};
use rustix::io::{Errno, retry_on_intr};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tempfile::{NamedTempFile, TempPath};

/// What an ordinary write creates a file with, before the umask.
const MODE: u32 = 0o666;

const SUFFIX: &str = ".tmp";

/// Digits of the boot id in a name: two machines that share a directory have the same ones once in 2³² times.
const BOOT_DIGITS: usize = 8;

/// The names that files have had before they were whole.
static NAMES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes the files that are not whole yet: for a way out on which nothing is dropped.
pub fn remove_unfinished() {
    for path in NAMES.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // What was persisted or dropped is not there any more.
        let _ = fs::remove_file(path);
    }
}

/// A file that is written, in the directory that it is to be in. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// Holds the lock, too.
    file: File,
    /// There is one only where the file system has no files without.
    name: Option<TempPath>,
    directory: Directory,
}

/// The directory that a file is made in, and gets its name in. Somebody may move it meanwhile, and make another one in its place: a
/// sandbox allows writing only in the first.
#[derive(Debug)]
struct Directory {
    /// Where it is found, whatever it is called; without /proc, by its name.
    path: PathBuf,
    /// Keeps `path` good.
    _opened: OwnedFd,
}

impl Directory {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty())?;
        let by_descriptor = by_descriptor(&opened);
        let path = if by_descriptor.exists() { by_descriptor } else { path.to_owned() };
        Ok(Self { path, _opened: opened })
    }
}

impl Unfinished {
    /// An empty file, with the mode that the umask leaves.
    pub(super) fn new_in(directory: &Path) -> io::Result<Self> {
        let directory = Directory::open(directory)?;
        // Why it cannot have one without a name need not be told: if no file can be made there, the other one fails, too.
        let made = unnamed_in(&directory.path).map(|file| (file, None));
        let (file, name) = made.or_else(|_| named_in(&directory.path).map(|(file, name)| (file, Some(name))))?;
        Ok(Self { file, name, directory })
    }

    /// Whoever may not give a file away keeps it.
    pub(super) fn set_owner(&self, user: u32, group: u32) {
        let _ = fchown(&self.file, Some(user), Some(group));
    }

    pub(super) fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.file.set_permissions(permissions)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Puts the whole file in place of what has the name `whole` in its directory. A file that is mounted there, as containers have it,
    /// cannot be replaced: it is written into.
    pub(super) fn persist(self, whole: &OsStr) -> io::Result<()> {
        let Self { file, name, directory } = self;
        let link = |to: &Path| Ok(linkat(CWD, by_descriptor(&file), CWD, to, AtFlags::SYMLINK_FOLLOW)?);
        let name = match name {
            Some(name) => name,
            None => name_in(&directory.path, link)?.into_temp_path(),
        };
        let path = directory.path.join(whole);
        // The lock is let go when the name is gone.
        match name.persist(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::ResourceBusy => write_into(&file, &path),
            // A sandbox says that it must not be removed, before the kernel says what it is.
            Err(_) if path.is_dir() => Err(Errno::ISDIR.into()),
            Err(error) => Err(error.error),
        }
    }
}

/// Writes what one file has into another one that is there. By hand: the library copies by calls that the sandbox forbids.
fn write_into(file: &File, path: &Path) -> io::Result<()> {
    let mut other = OpenOptions::new().write(true).truncate(true).open(path)?;
    let (mut at, mut part) = (0, vec![0; 1 << 16]);
    loop {
        let length = file.read_at(&mut part, at)?;
        if length == 0 {
            return other.sync_all();
        }
        other.write_all(&part[..length])?;
        at += length as u64;
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes what kills have left in a directory: files with a name such as a maker on this machine gives them since it was booted,
/// which no living process has locked. What cannot be removed stays.
pub(super) fn collect(directory: &Path) {
    let (Some(prefix), Ok(entries)) = (prefix_of_boot(), fs::read_dir(directory)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.as_bytes().starts_with(prefix.as_bytes()) && name.as_bytes().ends_with(SUFFIX.as_bytes()) {
            let _ = remove_unless_held(&entry.path());
        }
    }
}

fn remove_unless_held(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // Some network file systems lock only what is open for writing.
    let file = options.read(true).write(true).custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    // Its maker may have given it its final name before it let the lock go.
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    if id(file.metadata()?) == id(fs::symlink_metadata(path)?) { fs::remove_file(path) } else { Ok(()) }
}

fn unnamed_in(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).mode(MODE).custom_flags(flags(OFlags::TMPFILE)).open(directory)?;
    // By which it gets its name: /proc may not be mounted.
    fs::metadata(by_descriptor(&file))?;
    hold(&file);
    Ok(file)
}

fn named_in(directory: &Path) -> io::Result<(File, TempPath)> {
    let made = name_in(directory, |path| {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(path)?;
        hold(&file);
        // Until it was locked, it looked like one that a kill has left.
        if file.metadata()?.nlink() == 0 { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(file) }
    })?;
    Ok(made.into_parts())
}

/// Makes a file under a name that nothing has yet.
fn name_in<F>(directory: &Path, make: impl FnMut(&Path) -> io::Result<F>) -> io::Result<NamedTempFile<F>> {
    let prefix = prefix_of_boot().unwrap_or_else(|| ".kipi-".to_owned());
    let named = tempfile::Builder::new().prefix(&prefix).suffix(SUFFIX).make_in(directory, make)?;
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).push(named.path().to_owned());
    Ok(named)
}

/// How names of this boot begin; `None`: the kernel does not say which it is.
fn prefix_of_boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!(".kipi-{}-", id.get(..BOOT_DIGITS)?))
}

/// Locks a file. Where files cannot be locked, none is taken for nobody's either.
fn hold(file: &File) {
    let _ = retry_on_intr(|| flock(file, FlockOperation::LockExclusive));
}

fn by_descriptor(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

#[cfg(test)]
mod tests;
