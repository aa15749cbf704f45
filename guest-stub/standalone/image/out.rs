//! What is written: records, each a line, and text for people between them.

use crate::console::Console;
use core::cell::UnsafeCell;
use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU32, Ordering};
use kipi_standalone::lines::{self, LINE, Place};
use kipi_standalone::records::{Record, TEXT_BYTES, clip};

/// The number of this boot, and that of its next record, whoever writes that: one processor at a time.
static BOOT: AtomicU32 = AtomicU32::new(0);
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where bytes go.
pub(crate) struct Out<W> {
    to: W,
}

impl Out<Console> {
    /// The boot's first one. `tsc`: now, which no boot near it in a log says, too.
    pub(crate) fn first(console: Console, tsc: u64) -> Self {
        BOOT.store((tsc ^ tsc >> 32) as u32, Ordering::Relaxed);
        Self { to: console }
    }

    /// One that goes on where another one was.
    pub(crate) fn next(console: Console) -> Self {
        Self { to: console }
    }

    /// From now on everything is kept, until it is flushed to the console.
    pub(crate) fn buffered(self) -> (Out<Buffer>, Console) {
        (Out { to: Buffer { length: 0 } }, self.to)
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
        let place = Place { boot: BOOT.load(Ordering::Relaxed), line: NEXT.fetch_add(1, Ordering::Relaxed) };
        if let Ok(line) = lines::encode(place, record, &mut line) {
            self.to.put(line);
        }
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
