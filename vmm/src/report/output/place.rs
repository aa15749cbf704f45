//! What the path of an output leads to.

use super::{Operation, OutputError};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

/// As many symbolic links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// Where an option's document is to go: found, but neither opened nor created yet.
#[derive(Debug)]
pub struct Place {
    pub(super) option: &'static str,
    pub(super) path: String,
    pub(super) target: Target,
    file: FileId,
}

/// How a place is written.
#[derive(Debug)]
pub(super) enum Target {
    /// This process's standard output.
    Stdout,
    /// A device, a FIFO or an open descriptor, which a file cannot replace.
    Direct(PathBuf),
    /// A file, which is replaced as a whole.
    File(FilePlace),
}

/// The place of a file.
#[derive(Debug)]
pub(super) struct FilePlace {
    /// Without symbolic links.
    pub(super) directory: PathBuf,
    /// In that directory, and no symbolic link either.
    pub(super) path: PathBuf,
    /// What is there now.
    pub(super) existing: Option<Metadata>,
}

impl FilePlace {
    /// In its directory.
    pub(super) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

/// Tells a file from all others, whatever path leads to it.
#[derive(Debug, PartialEq, Eq)]
enum FileId {
    Existing(Inode),
    /// There is none yet: the directory, and the name in it.
    New(Inode, OsString),
}

/// Device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode(u64, u64);

impl Inode {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl Place {
    /// Finds what `path` leads to, `-` being standard output, for the option of that name. Symbolic links are followed.
    ///
    /// # Errors
    /// The directory does not exist, the path is a directory, or what is there cannot be looked at.
    pub fn find(option: &'static str, path: &Path) -> Result<Self, OutputError> {
        let name = path.display().to_string();
        let found = if path == Path::new("-") { stdout() } else { find(path) };
        match found {
            Ok((target, file)) => Ok(Self { option, path: name, target, file }),
            Err(error) => Err(OutputError { operation: Operation::Open, path: name, option, error }),
        }
    }

    /// Whether this is standard output, where no two documents fit.
    pub fn is_stdout(&self) -> bool {
        matches!(self.target, Target::Stdout)
    }

    /// Whether both lead to one file, device or pipe.
    pub fn is_same(&self, other: &Self) -> bool {
        self.file == other.file
    }

    /// Whether this is a file that another path leads to.
    pub fn is_file(&self, path: &Path) -> bool {
        let file = fs::metadata(path).ok().filter(Metadata::is_file);
        file.is_some_and(|file| self.file == FileId::Existing(Inode::of(&file)))
    }

    /// The standard stream that was redirected to this file, if one was: a commit would replace it, and what was printed there would
    /// be lost.
    pub fn replaces(&self) -> Option<&'static str> {
        let is_here = |stream: io::Result<Metadata>| {
            let file = stream.ok().filter(Metadata::is_file);
            file.is_some_and(|file| self.file == FileId::Existing(Inode::of(&file)))
        };
        let streams = [("standard output", stdout_metadata()), ("standard error", metadata_of(io::stderr()))];
        let is_replaced = matches!(self.target, Target::File(_));
        streams.into_iter().find_map(|(name, stream)| (is_replaced && is_here(stream)).then_some(name))
    }

    /// The option and what it was given, as they were typed.
    pub fn as_typed(&self) -> String {
        format!("{} {}", self.option, self.path)
    }
}

fn stdout_metadata() -> io::Result<Metadata> {
    metadata_of(io::stdout())
}

fn metadata_of(stream: impl AsFd) -> io::Result<Metadata> {
    File::from(stream.as_fd().try_clone_to_owned()?).metadata()
}

fn stdout() -> io::Result<(Target, FileId)> {
    Ok((Target::Stdout, FileId::Existing(Inode::of(&stdout_metadata()?))))
}

fn find(path: &Path) -> io::Result<(Target, FileId)> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let (directory, name) = split(&path)?;
        let place = directory.join(name);
        let existing = match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_symlink() && !directory.starts_with("/proc") => {
                path = directory.join(fs::read_link(&place)?);
                continue;
            }
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if place == Path::new(&format!("/proc/{}/fd/1", process::id())) {
            return stdout();
        }
        return match existing {
            Some(metadata) if metadata.is_dir() => Err(Errno::ISDIR.into()),
            // Renaming over a device or FIFO would replace it, and a link in /proc cannot be renamed over.
            Some(metadata) if !metadata.is_file() => {
                let file = FileId::Existing(Inode::of(&fs::metadata(&place)?));
                Ok((Target::Direct(place), file))
            }
            existing => {
                let file = match &existing {
                    Some(metadata) => FileId::Existing(Inode::of(metadata)),
                    None => FileId::New(Inode::of(&fs::metadata(&directory)?), name.to_owned()),
                };
                Ok((Target::File(FilePlace { directory, path: place, existing }), file))
            }
        };
    }
    Err(Errno::LOOP.into())
}

/// Whether a path ends as a directory's does.
pub(super) fn names_directory(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// The directory, without symbolic links, and the name in it.
fn split(path: &Path) -> io::Result<(PathBuf, &OsStr)> {
    let Some(name) = path.file_name().filter(|_| !names_directory(path)) else {
        // What is not there is no directory either.
        fs::metadata(path)?;
        return Err(Errno::ISDIR.into());
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((fs::canonicalize(directory)?, name))
}

#[cfg(test)]
mod tests;
