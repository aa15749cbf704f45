//! A log's records, boot by boot. What a log holds may be anything: what is whole is used, the rest is named.

use super::boot::{Boot, Image};
use super::draft::Draft;
use super::faults::Faults;
use super::order::{Found, Order};
use crate::results::count::count;
use kipi_standalone::lines::{self, Line, Place};
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
    /// The first boot that the image has ended before it told what it was to measure, which is none of them: its line, and why.
    pub gave_up: Option<(usize, String)>,
}

/// Reads a log.
pub fn read(log: &[u8]) -> Log {
    let mut reader = Reader { log: Log::default(), boot: None, is_lost: false };
    for (number, line) in (1..).zip(log.split(|&byte| byte == b'\n')) {
        for part in lines::decode(line) {
            match part {
                Line::Record(place, record) => reader.record(number, place, record),
                Line::Damaged(damage) => {
                    if let Some((_, order)) = &mut reader.boot {
                        order.add_damaged();
                    }
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
    /// The boot that is read, and its records.
    boot: Option<(Draft, Order)>,
    /// It has been told that records belong to no boot.
    is_lost: bool,
}

impl Reader {
    /// Where what is wrong is told.
    fn faults(&mut self) -> &mut Faults {
        match &mut self.boot {
            Some((draft, _)) => &mut draft.faults,
            None => &mut self.log.faults,
        }
    }

    fn record(&mut self, line: usize, place: Place, record: OwnedRecord) {
        let is_again = self.boot.as_ref().is_some_and(|(_, order)| order.is_first_again(place, &record));
        if let (RecordOf::Start { abi, version, door, command_line, .. }, false) = (&record, is_again) {
            self.close();
            self.is_lost = *abi != RECORDS_VERSION;
            if self.is_lost {
                self.log.faults.add(format_args!(
                    "the boot from log line {line} on has records of version {abi}, of kipi {version}; this kipi reads version \
                     {RECORDS_VERSION}: left out"
                ));
            } else {
                let [version, door, command_line] = [version, door, command_line].map(String::clone);
                let draft = Draft::new(line, Image { version, door, command_line });
                self.boot = Some((draft, Order::new(line, place, record)));
            }
            return;
        }
        let of_another = match &mut self.boot {
            Some((_, order)) => order.add(line, place, record).err(),
            None => Some(line),
        };
        let Some(line) = of_another else { return };
        // The first record is lost: what it measures is not known.
        self.close();
        if !self.is_lost {
            self.log.faults.add(format_args!("the boot around log line {line} lacks its first record: left out"));
            self.is_lost = true;
        }
    }

    /// Ends the boot, if there is one.
    fn close(&mut self) {
        let Some((mut draft, order)) = self.boot.take() else { return };
        let line = draft.line;
        fill(&mut draft, order);
        match draft.finish() {
            Ok(_) if self.log.boots.len() >= MOST_BOOTS => {
                self.log
                    .faults
                    .add(format_args!("the boot from log line {line} on is beyond {MOST_BOOTS} others: left out"));
            }
            Ok(boot) => self.log.boots.push(boot),
            Err(lack) => {
                self.log.faults.add(format_args!("the boot from log line {line} on lacks {lack}: left out"));
                let gave_up = lack.has_ended.then(|| (line, lack.said()));
                self.log.gave_up = self.log.gave_up.take().or(gave_up);
            }
        }
    }
}

/// Makes a boot of its records.
fn fill(draft: &mut Draft, order: Order) {
    let (records, told) = order.finish();
    for text in told {
        draft.faults.add(text);
    }
    let mut next = None;
    for (sequence, Found { line, record, damaged }) in records {
        let lost = next.map_or(0, |next: u32| sequence - next).saturating_sub(damaged);
        if lost > 0 {
            let lines = format!("{} {}", count(lost, "line"), if lost == 1 { "is" } else { "are" });
            draft.faults.add(format_args!("{lines} missing before log line {line}"));
        }
        next = Some(sequence.saturating_add(1));
        if let Err(what) = draft.add(record) {
            draft.faults.add(format_args!("log line {line} tells of what cannot be, {what}: left out"));
        }
    }
}

#[cfg(test)]
mod tests;
