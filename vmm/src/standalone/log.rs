//! A log's records, boot by boot. What a log holds may be anything: what is whole is used, the rest is named.

use super::boot::{Boot, Image};
use super::draft::Draft;
use super::faults::Faults;
use crate::results::count::count;
use kipi_standalone::lines::{self, Line};
use kipi_standalone::records::{OwnedRecord, RECORDS_VERSION, RecordOf};

/// The most boots that are read.
const MOST_BOOTS: usize = 1_000;

/// What a log holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Log {
    /// Boots, in their order.
    pub boots: Vec<Boot>,
    /// What is in none of them.
    pub faults: Faults,
}

/// Reads a log.
pub fn read(log: &[u8]) -> Log {
    let mut reader = Reader { log: Log::default(), draft: None, next: 0, damaged: 0, is_lost: false };
    for (number, line) in (1..).zip(log.split(|&byte| byte == b'\n')) {
        for part in lines::decode(line) {
            match part {
                Line::Record(sequence, record) => reader.record(number, sequence, record),
                Line::Damaged(damage) => {
                    reader.damaged += 1;
                    reader.faults().add(format_args!("log line {number} is damaged: {damage}"));
                }
                Line::Other(_) => {}
            }
        }
    }
    reader.close();
    reader.log
}

struct Reader {
    log: Log,
    draft: Option<Draft>,
    /// The sequence number that comes next.
    next: u32,
    /// Damaged lines since the last record, which have sequence numbers, too.
    damaged: u32,
    /// It has been told that records belong to no boot.
    is_lost: bool,
}

impl Reader {
    /// Where what is wrong is told.
    fn faults(&mut self) -> &mut Faults {
        match &mut self.draft {
            Some(draft) => &mut draft.faults,
            None => &mut self.log.faults,
        }
    }

    fn record(&mut self, line: usize, sequence: u32, record: OwnedRecord) {
        if let RecordOf::Start { abi, version, door, command_line, .. } = record {
            self.close();
            (self.next, self.damaged, self.is_lost) = (sequence.wrapping_add(1), 0, false);
            if abi == RECORDS_VERSION {
                self.draft = Some(Draft::new(line, Image { version, door, command_line }));
            } else {
                self.log.faults.add(format_args!(
                    "the boot from log line {line} on has records of version {abi}, of kipi {version}; this kipi reads version \
                     {RECORDS_VERSION}: left out"
                ));
                self.is_lost = true;
            }
            return;
        }
        if sequence < self.next && self.draft.is_some() {
            // Another boot, of which the first record is lost: what it measures is not known.
            self.close();
        }
        let Some(draft) = &mut self.draft else {
            if !self.is_lost {
                self.log.faults.add(format_args!("the boot around log line {line} lacks its first record: left out"));
                self.is_lost = true;
            }
            return;
        };
        let lost = (sequence - self.next).saturating_sub(self.damaged);
        if lost > 0 {
            let lines = format!("{} {}", count(lost, "line"), if lost == 1 { "is" } else { "are" });
            draft.faults.add(format_args!("{lines} missing before log line {line}"));
        }
        (self.next, self.damaged) = (sequence.wrapping_add(1), 0);
        if let Err(what) = draft.add(record) {
            draft.faults.add(format_args!("log line {line} tells of what cannot be, {what}: left out"));
        }
    }

    /// Ends the boot, if there is one.
    fn close(&mut self) {
        let Some(draft) = self.draft.take() else { return };
        let line = draft.line;
        match draft.finish() {
            Ok(_) if self.log.boots.len() >= MOST_BOOTS => {
                self.log
                    .faults
                    .add(format_args!("the boot from log line {line} on is beyond {MOST_BOOTS} others: left out"));
            }
            Ok(boot) => self.log.boots.push(boot),
            Err(lack) => {
                self.log.faults.add(format_args!("the boot from log line {line} on lacks {lack}: left out"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
