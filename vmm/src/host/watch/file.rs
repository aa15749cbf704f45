//! Files of proc and sysfs that are read again and again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// More than any of them has before what is looked for: `/proc/stat` begins with a line of some 80 bytes for each CPU.
pub(super) const BUFFER: usize = 256 << 10;

/// A file that is kept open; each read has the kernel write it anew.
#[derive(Debug)]
pub(super) struct Reread(Option<File>);

impl Reread {
    /// `None` in it where the file is not there or may not be read.
    pub(super) fn open(path: &Path) -> Self {
        Self(File::open(path).ok())
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// The text up to the buffer's length; `None` if it cannot be read.
    pub(super) fn read<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b str> {
        let length = self.0.as_ref()?.read_at(buffer, 0).ok()?;
        let text = &buffer[..length];
        match std::str::from_utf8(text) {
            Ok(text) => Some(text),
            // Cut within a letter, or a thread's name: what comes before is whole.
            Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).ok(),
        }
    }

    /// A file that holds one number.
    pub(super) fn number(&self, buffer: &mut [u8]) -> Option<u64> {
        self.read(buffer)?.trim().parse().ok()
    }
}
