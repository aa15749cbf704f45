//! A boot's records in the order in which they were written, by the places of their lines. A line that a log has twice counts once, and
//! one that stands behind later ones is put back: terminals, and what collects their output, do either.

use kipi_standalone::lines::Place;
use kipi_standalone::records::OwnedRecord;
use std::collections::BTreeMap;
use std::mem;

/// A line is put back over so many. One that belongs further back is more probably another boot's, of which the first line is lost.
const MOST_BACK: u32 = 16;

/// A record, and where it stands in the log.
pub(super) struct Found {
    pub(super) line: usize,
    pub(super) record: OwnedRecord,
    /// Damaged lines before it, which have numbers, too.
    pub(super) damaged: u32,
}

/// Records while a boot is read.
pub(super) struct Order {
    boot: u32,
    records: BTreeMap<u32, Found>,
    /// The number after the largest one.
    next: u32,
    /// Damaged lines since the last record.
    damaged: u32,
    /// Lines that say what others have said before.
    repeated: Vec<usize>,
    /// The same, since there was a line of news: it is not known yet whether they are this boot's or begin another one.
    repeated_last: Vec<usize>,
    /// Lines that stand behind later ones.
    late: Vec<usize>,
}

impl Order {
    /// That of a boot with this first record.
    pub(super) fn new(line: usize, Place { boot, line: number }: Place, first: OwnedRecord) -> Self {
        let found = Found { line, record: first, damaged: 0 };
        Self {
            boot,
            records: BTreeMap::from([(number, found)]),
            next: number.saturating_add(1),
            damaged: 0,
            repeated: Vec::new(),
            repeated_last: Vec::new(),
            late: Vec::new(),
        }
    }

    /// Whether this is the first record once more, and nothing has followed it yet.
    pub(super) fn is_first_again(&self, place: Place, record: &OwnedRecord) -> bool {
        self.records.len() == 1 && self.has(place, record)
    }

    fn has(&self, Place { boot, line }: Place, record: &OwnedRecord) -> bool {
        self.boot == boot && self.records.get(&line).is_some_and(|found| found.record == *record)
    }

    /// Tells of a damaged line.
    pub(super) fn add_damaged(&mut self) {
        self.damaged += 1;
    }

    /// Adds the record that stands next in the log.
    ///
    /// # Errors
    /// It is another boot's: the line on which that begins.
    pub(super) fn add(&mut self, line: usize, place: Place, record: OwnedRecord) -> Result<(), usize> {
        let damaged = mem::take(&mut self.damaged);
        if self.has(place, &record) {
            self.repeated_last.push(line);
            return Ok(());
        }
        let Place { boot, line: number } = place;
        if self.boot != boot || self.records.contains_key(&number) || self.next.saturating_sub(number) > MOST_BACK {
            return Err(mem::take(&mut self.repeated_last).first().copied().unwrap_or(line));
        }
        if number < self.next {
            self.late.push(line);
        }
        self.repeated.append(&mut self.repeated_last);
        self.next = self.next.max(number.saturating_add(1));
        self.records.insert(number, Found { line, record, damaged });
        Ok(())
    }

    /// The records in their order, and what was done to the log's.
    pub(super) fn finish(mut self) -> (BTreeMap<u32, Found>, Vec<String>) {
        self.repeated.append(&mut self.repeated_last);
        let told = [
            (self.repeated, ["repeats an earlier one", "repeat earlier ones"], "passed over"),
            (self.late, ["stands behind later ones", "stand behind later ones"], "put back"),
        ];
        let told = told.into_iter().filter_map(|(lines, [one, several], done)| match lines.as_slice() {
            [] => None,
            [line] => Some(format!("log line {line} {one}: {done}")),
            [first, ..] => Some(format!("{} lines {several}, log line {first} first: {done}", lines.len())),
        });
        (self.records, told.collect())
    }
}
