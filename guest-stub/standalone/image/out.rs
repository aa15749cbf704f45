//! What is written: records, each a line, and text for people between them.

use crate::console::Console;
use core::cell::UnsafeCell;
use core::fmt::{self, Write as _};
use kipi_standalone::lines::{self, LINE};
use kipi_standalone::records::{Record, TEXT_BYTES, clip};

/// Where bytes go, and the number of the next record.
pub(crate) struct Out<W> {
    to: W,
    sequence: u32,
}

impl Out<Console> {
    pub(crate) fn new(console: Console) -> Self {
        Self { to: console, sequence: 0 }
    }

    /// From now on everything is kept, until it is flushed to the console.
    pub(crate) fn buffered(self) -> (Out<Buffer>, Console) {
        (Out { to: Buffer { length: 0 }, sequence: self.sequence }, self.to)
    }
}

/// Room for what has been said and not been written.
pub(crate) struct Buffer {
    length: usize,
}

const BUFFER_BYTES: usize = 0x3_0000;

struct Bytes(UnsafeCell<[u8; BUFFER_BYTES]>);

// SAFETY: of the one `Buffer`.
unsafe impl Sync for Bytes {}

static BYTES: Bytes = Bytes(UnsafeCell::new([0; BUFFER_BYTES]));

impl Out<Buffer> {
    /// Whether there is room for so many bytes.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        BUFFER_BYTES - self.to.length >= bytes
    }

    /// Writes what has been kept.
    pub(crate) fn flush(&mut self, console: &mut Console) {
        // SAFETY: nobody but the one `Buffer` uses them.
        let bytes = unsafe { &*BYTES.0.get() };
        console.write(&bytes[..self.to.length]);
        self.to.length = 0;
    }
}

/// What takes bytes, and text with the serial line's ends of lines.
pub(crate) trait Sink: fmt::Write {
    /// Takes bytes as they are.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Console {
    fn put(&mut self, bytes: &[u8]) {
        self.write(bytes);
    }
}

/// What finds no room is lost: whoever reads the log misses its number.
impl Sink for Buffer {
    fn put(&mut self, bytes: &[u8]) {
        // SAFETY: nobody but the one `Buffer` uses them.
        let all = unsafe { &mut *BYTES.0.get() };
        if let Some(place) = all.get_mut(self.length..self.length + bytes.len()) {
            place.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }
}

impl<W: Sink> Out<W> {
    /// Text for people.
    pub(crate) fn print(&mut self, text: fmt::Arguments<'_>) {
        // The console never fails.
        let _ = self.to.write_fmt(text);
    }

    /// One record.
    pub(crate) fn record(&mut self, record: &Record<'_>) {
        let mut line = [0; LINE];
        // A record that is too long is missed by its number.
        if let Ok(line) = lines::encode(self.sequence, record, &mut line) {
            self.to.put(line);
        }
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Text for people that whoever reads the log must have, too.
    pub(crate) fn say(&mut self, text: fmt::Arguments<'_>) {
        self.print(format_args!("kipi: {text}\n"));
        let mut line = Text { bytes: [0; TEXT_BYTES], length: 0 };
        // What does not fit is left out.
        let _ = line.write_fmt(text);
        let text = core::str::from_utf8(&line.bytes[..line.length]).unwrap_or_default();
        self.record(&Record::Text { text });
    }
}

struct Text {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text = clip(text, TEXT_BYTES - self.length);
        self.bytes[self.length..][..text.len()].copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// Lines of text end in CR LF.
fn put_text(sink: &mut impl Sink, text: &str) {
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                sink.put(line.as_bytes());
                sink.put(b"\r\n");
            }
            None => sink.put(line.as_bytes()),
        }
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put_text(self, text);
        Ok(())
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put_text(self, text);
        Ok(())
    }
}
