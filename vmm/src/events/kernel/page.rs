//! A page of the kernel's trace ring buffer, as `trace_pipe_raw` gives it: records with their times.
//!
//! The page's own layout is in `events/header_page`, the records' in `events/header_event`
//! (Documentation/trace/ring-buffer-design.rst; include/linux/ring_buffer.h).

use super::format::{Field, Format};
use thiserror::Error;

/// What is wrong with a page.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a page of the kernel's trace buffer {0}")]
pub struct Error(&'static str);

/// Bit 31 of a page's `commit`: records before this page were overwritten.
const MISSED_EVENTS: u64 = 1 << 31;
/// Bit 30: their number is stored behind the records.
const MISSED_STORED: u64 = 1 << 30;

/// How pages are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    timestamp: Field,
    commit: Field,
    data: usize,
    /// Bytes of a page.
    pub size: usize,
}

impl Layout {
    /// Reads the text of `events/header_page`.
    ///
    /// # Errors
    /// It does not say where time stamp, size and records are.
    pub fn parse(text: &str) -> Result<Self, Error> {
        // It is a format without a number.
        let format = Format::parse(&format!("ID: 0\n{text}")).map_err(|_| Error("has no known header"))?;
        let field = |name| format.field(name).ok_or(Error("has no known header"));
        let data = text.lines().find(|line| line.contains("char data;")).ok_or(Error("has no known header"))?;
        let number = |key: &str| {
            let value = data.split(';').find_map(|part| part.trim().strip_prefix(key))?;
            value.parse::<usize>().ok()
        };
        let (offset, size) = number("offset:").zip(number("size:")).ok_or(Error("has no known header"))?;
        Ok(Self { timestamp: field("timestamp")?, commit: field("commit")?, data: offset, size: offset + size })
    }

    /// Hands each record of `page`, with its time, to `take`. Returns how many records before it are missing, of which
    /// `None` is: some, nobody knows how many.
    ///
    /// # Errors
    /// The page is not laid out as it says.
    pub fn records(&self, page: &[u8], mut take: impl FnMut(u64, &[u8])) -> Result<Option<u64>, Error> {
        let mut time = self.timestamp.read(page).ok_or(Error("is too short"))?;
        let commit = self.commit.read(page).ok_or(Error("is too short"))?;
        let length = usize::try_from(commit & (MISSED_STORED - 1)).map_err(|_| Error("is too long"))?;
        let data = page.get(self.data..self.data + length).ok_or(Error("is shorter than it says"))?;
        let mut rest = data;
        while let Some((header, body)) = split_word(rest) {
            let (kind, delta) = (header & 0x1F, u64::from(header >> 5));
            let word = |at: usize| body.get(at..).and_then(split_word).map(|(word, _)| word as usize);
            let skip = match kind {
                // The rest of the page is empty.
                29 if delta == 0 => break,
                29 => {
                    time = time.wrapping_add(delta);
                    word(0).ok_or(Error("ends within a gap"))?
                }
                30 => {
                    let high = word(0).ok_or(Error("ends within a time"))? as u64;
                    time = time.wrapping_add((high << 27) + delta);
                    4
                }
                31 => {
                    const KEPT: u64 = !((1 << 59) - 1);
                    let high = word(0).ok_or(Error("ends within a time"))? as u64;
                    time = (time & KEPT) | ((high << 27) + delta);
                    4
                }
                0 => {
                    let length = word(0).filter(|&length| length >= 4).ok_or(Error("has a record without length"))?;
                    time = time.wrapping_add(delta);
                    take(time, body.get(4..length).ok_or(Error("ends within a record"))?);
                    length
                }
                words => {
                    let length = words as usize * 4;
                    time = time.wrapping_add(delta);
                    take(time, body.get(..length).ok_or(Error("ends within a record"))?);
                    length
                }
            };
            rest = body.get(skip..).ok_or(Error("ends within a record"))?;
        }
        Ok(match (commit & MISSED_EVENTS, commit & MISSED_STORED) {
            (0, _) => Some(0),
            (_, 0) => None,
            _ => page.get(self.data + length..).and_then(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?))),
        })
    }
}

fn split_word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "	field: u64 timestamp;	offset:0;	size:8;	signed:0;
	field: local_t commit;	offset:8;	size:8;	signed:1;
	field: int overwrite;	offset:8;	size:1;	signed:1;
	field: char data;	offset:16;	size:4080;	signed:0;
";

    fn page(commit: u64, words: &[u32]) -> Vec<u8> {
        let mut page = 1000_u64.to_le_bytes().to_vec();
        page.extend(commit.to_le_bytes());
        page.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        page
    }

    fn header(kind: u32, delta: u32) -> u32 {
        delta << 5 | kind
    }

    type Records = Vec<(u64, Vec<u8>)>;

    fn read(page: &[u8]) -> (Records, Result<Option<u64>, Error>) {
        let mut records = Vec::new();
        let missed = Layout::parse(HEADER).unwrap().records(page, |time, record| records.push((time, record.to_vec())));
        (records, missed)
    }

    #[test]
    fn records_of_every_kind_have_their_time() {
        let words = [
            header(1, 5),
            0x0403_0201,
            header(30, 1),
            2,
            header(0, 10),
            8,
            0x0807_0605,
            header(29, 3),
            8,
            0,
            header(31, 7),
            16,
            header(2, 1),
            1,
            2,
            header(29, 0),
            77,
        ];
        let (records, missed) = read(&page(words.len() as u64 * 4, &words));
        let times: Vec<u64> = records.iter().map(|(time, _)| *time).collect();
        let absolute = (16 << 27) + 7;
        assert_eq!(times, [1005, 1005 + (2 << 27) + 1 + 10, absolute + 1]);
        assert_eq!(records[0].1, [1, 2, 3, 4]);
        assert_eq!(records[1].1, [5, 6, 7, 8]);
        assert_eq!(records[2].1.len(), 8);
        assert_eq!(missed, Ok(Some(0)));
    }

    #[test]
    fn missing_records_are_told() {
        assert_eq!(read(&page(8 | MISSED_EVENTS, &[header(1, 0), 0])).1, Ok(None));
        assert_eq!(read(&page(8 | MISSED_EVENTS | MISSED_STORED, &[header(1, 0), 0, 33, 0])).1, Ok(Some(33)));
    }

    #[test]
    fn a_damaged_page_is_an_error_and_no_panic() {
        assert!(read(&[]).1.is_err());
        assert!(read(&page(400, &[1])).1.is_err(), "shorter than it says");
        for words in [[header(5, 0), 1], [header(0, 0), 2], [header(0, 0), 0xFFFF_FFFF], [header(29, 1), 400]] {
            assert!(read(&page(8, &words)).1.is_err(), "{words:x?}");
        }
        assert!(read(&page(4, &[header(30, 0)])).1.is_err());
        assert!(Layout::parse("nothing").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_page_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), length in 0..220_u64) {
            let mut bytes = bytes;
            if let Some(commit) = bytes.get_mut(8..16) {
                commit.copy_from_slice(&length.to_le_bytes());
            }
            let _ = read(&bytes);
        }
    }
}
