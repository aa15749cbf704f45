//! Where results go: standard output, a device, or a file that appears whole or not at all.

mod place;
mod size_limit;
mod unfinished;

pub use place::Place;
pub use size_limit::fail_beyond_size_limit;
pub use unfinished::remove_unfinished;

use place::{FilePlace, Target};
use rustix::io::Errno;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use unfinished::Unfinished;

/// Why results cannot be written to where they were asked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {} ({})", reason(.error), way_out(self))]
pub struct OutputError {
    /// What was tried.
    pub operation: Operation,
    /// The path, or `standard output`.
    pub path: String,
    /// The option that named the path, `--json` for example.
    pub option: &'static str,
    // Part of this error's own line, hence not its source too.
    error: io::Error,
}

/// What was tried on an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Before measuring: to find out whether the path can be written, and to open it.
    Open,
    /// To write into it.
    Write,
    /// To bring the file to the disk.
    Sync,
    /// To give the complete file its name.
    Rename,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Open | Self::Write => "write to",
            Self::Sync => "bring to the disk",
            Self::Rename => "put the complete file in place as",
        })
    }
}

impl OutputError {
    /// The reader of a pipe went away, `kipi | head` for example: no reason to complain.
    pub fn is_broken_pipe(&self) -> bool {
        is_broken_pipe(&self.error)
    }

    /// The system's error.
    pub fn io_error(&self) -> &io::Error {
        &self.error
    }
}

/// Whether a write failed because the reader of a pipe went away. [`Output`]'s own write errors keep their kind.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// An open destination for one document.
///
/// A file is written without a name and takes it in [`Output::commit`]: whoever drops an output without that leaves what was
/// there before. Standard output and whatever is no regular file (a device, a FIFO) are written
/// directly. Errors of [`Write`] are an [`OutputError`] inside an [`io::Error`] of the same kind, so that they name
/// option and path whichever format was writing.
#[derive(Debug)]
pub struct Output {
    option: &'static str,
    path: String,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stdout(BufWriter<Stdout>),
    Direct(BufWriter<File>),
    /// The file to be, and its place.
    Whole(Box<(BufWriter<Unfinished>, FilePlace)>),
}

impl Output {
    /// Opens a place: to be called before measuring, since all that can be known to prevent writing fails here. Opening a
    /// FIFO waits for its reader.
    ///
    /// # Errors
    /// The place cannot be written, or what is there cannot be replaced.
    pub fn open(place: Place) -> Result<Self, OutputError> {
        let Place { option, path, target, .. } = place;
        let (path, sink) = match target {
            Target::Stdout => ("standard output".to_owned(), Ok(Sink::Stdout(BufWriter::new(io::stdout())))),
            Target::Direct(place) => (path, direct(&place)),
            Target::File(place) => (path, whole_file(place)),
        };
        match sink {
            Ok(sink) => Ok(Self { option, path, sink }),
            Err(error) => Err(OutputError { operation: Operation::Open, path, option, error }),
        }
    }

    /// Whether this is standard output, where no two documents fit.
    pub fn is_stdout(&self) -> bool {
        matches!(self.sink, Sink::Stdout(_))
    }

    /// The directory in which a file gets its name; `None`: it is no file.
    pub fn directory(&self) -> Option<&Path> {
        match &self.sink {
            Sink::Stdout(_) | Sink::Direct(_) => None,
            Sink::Whole(whole) => Some(&whole.1.directory),
        }
    }

    /// Whether it replaces a file of another owner's.
    pub fn replaces_anothers(&self) -> bool {
        let replaced = match &self.sink {
            Sink::Stdout(_) | Sink::Direct(_) => None,
            Sink::Whole(whole) => whole.1.existing.as_ref(),
        };
        replaced.is_some_and(|file| file.uid() != rustix::process::geteuid().as_raw())
    }

    /// Completes the output: everything is written, a file is on the disk and has its name.
    ///
    /// # Errors
    /// What is still buffered cannot be written, or the file cannot be synced or renamed. A file that failed here is
    /// gone, and what was under its name before is still there.
    pub fn commit(mut self) -> Result<(), OutputError> {
        let flushed = self.writer().flush();
        let Self { option, path, sink } = self;
        let failed = |operation| {
            let path = path.clone();
            move |error| OutputError { operation, path, option, error }
        };
        flushed.map_err(failed(Operation::Write))?;
        if let Sink::Whole(whole) = sink {
            let (writer, place) = *whole;
            let file = writer.into_inner().map_err(|error| failed(Operation::Write)(error.into_error()))?;
            file.sync().map_err(failed(Operation::Sync))?;
            file.persist(place.name()).map_err(failed(Operation::Rename))?;
        }
        Ok(())
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.sink {
            Sink::Stdout(writer) => writer,
            Sink::Direct(writer) => writer,
            Sink::Whole(whole) => &mut whole.0,
        }
    }

    /// A write error that names option and path, under the kind that it had.
    fn explained(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        // `write_all` tries again after an interruption, and only ever sees its kind.
        if kind == io::ErrorKind::Interrupted {
            return error;
        }
        let (option, path) = (self.option, self.path.clone());
        io::Error::new(kind, OutputError { operation: Operation::Write, path, option, error })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer().write(bytes).map_err(|error| self.explained(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush().map_err(|error| self.explained(error))
    }
}

fn direct(path: &Path) -> io::Result<Sink> {
    Ok(Sink::Direct(BufWriter::new(OpenOptions::new().append(true).open(path)?)))
}

/// A file in the place's directory that is to become it, with the mode that an ordinary write would leave there.
fn whole_file(place: FilePlace) -> io::Result<Sink> {
    let FilePlace { directory, path, existing } = &place;
    if let Some(existing) = existing {
        // A rename needs no permission on what it replaces; write protection is meant all the same.
        OpenOptions::new().write(true).open(path)?;
        check_sticky(directory, existing)?;
    }
    unfinished::collect(directory);
    let file = Unfinished::new_in(directory)?;
    if let Some(existing) = existing {
        file.set_owner(existing.uid(), existing.gid());
        file.set_permissions(existing.permissions())?;
    }
    Ok(Sink::Whole(Box::new((BufWriter::new(file), place))))
}

/// In a sticky directory (`/tmp`) only a file's owner may replace it.
fn check_sticky(directory: &Path, existing: &fs::Metadata) -> io::Result<()> {
    const STICKY: u32 = 0o1000;
    let directory = fs::metadata(directory)?;
    let user = rustix::process::geteuid();
    let may = user.is_root() || [existing.uid(), directory.uid()].contains(&user.as_raw());
    if directory.mode() & STICKY == 0 || may { Ok(()) } else { Err(Errno::ACCESS.into()) }
}

/// The system's words without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn way_out(output: &OutputError) -> String {
    let option = output.option;
    match output.error.kind() {
        io::ErrorKind::NotFound if place::names_directory(Path::new(&output.path)) => {
            format!("it names a directory: create it, and give {option} a file in it")
        }
        // /proc has no place for a file.
        io::ErrorKind::NotFound if Path::new(&output.path).parent().is_some_and(Path::is_dir) => {
            format!("no file can be created there: choose another {option} path")
        }
        io::ErrorKind::NotFound => format!("create the directory or choose another {option} path"),
        io::ErrorKind::IsADirectory => format!("give {option} a file in it"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("choose a {option} path in a folder that you may write to")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("free some space or choose another {option} path")
        }
        io::ErrorKind::FileTooLarge => format!("raise the limit (ulimit -f) or choose another {option} path"),
        io::ErrorKind::BrokenPipe => "its reader went away".to_owned(),
        _ => format!("choose another {option} path"),
    }
}

#[cfg(test)]
mod tests;
