//! A history on the terminal: the table of changes, what changed on the host, and which runs that was between.

pub(super) mod table;

use super::text::{table as printed, warnings};
use super::wrap::{hang, wrap};
use crate::results::count::count;
use crate::results::history::{History, HostChange, PastRun};
use crate::results::standalone::kernel_name;
use std::collections::BTreeSet;

/// Changes of the host that are printed, the last ones.
const MOST_HOST_CHANGES: usize = 12;

/// The report in lines of at most `width` columns; it ends in a newline.
pub fn render(history: &History, width: usize) -> String {
    let mut sections = vec![wrap(&head(history), width, 2)];
    sections.extend(table::changes(history).map(|table| printed::print(&table, width)));
    sections.extend(runs(history, width));
    sections.extend(host_changes(history, width));
    sections.extend(warnings(&history.warnings, width));
    sections.join("\n\n") + "\n"
}

/// What is looked at, in a line.
pub(super) fn head(history: &History) -> String {
    let runs = count(history.runs.len(), "run");
    let (Some(first), Some(last)) = (history.runs.first(), history.runs.last()) else { return runs };
    let (from, to) = (date(first.time), date(last.time));
    format!("{runs}, {from} to {to} UTC · now {} · {} · kipi {}", kernel_name(&last.kernel), last.cpu, last.kipi)
}

/// The minute, in UTC.
pub(super) fn date(seconds: f64) -> String {
    // Seconds of this age of the world are exact in 64 bits; a time beyond all calendars is printed as it is.
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, and is refused then")]
    let time = jiff::Timestamp::from_second(seconds.floor() as i64);
    time.map_or_else(|_| format!("{seconds} s"), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
}

/// The runs on either side of each change.
fn runs(history: &History, width: usize) -> Option<String> {
    let changes = history.courses.iter().flat_map(|course| &course.changes);
    let named: BTreeSet<usize> = changes.flat_map(|change| [change.last_before, change.first_after]).collect();
    let line = |run: usize| {
        let PastRun { file, time, .. } = history.runs.get(run)?;
        Some(hang(&format!("run {run:<4} "), &format!("{}  {file}", date(*time)), width, 9))
    };
    let lines: Vec<String> = named.into_iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn host_changes(history: &History, width: usize) -> Option<String> {
    let all = &history.host_changes;
    let left_out = all.len().saturating_sub(MOST_HOST_CHANGES);
    let title = if left_out > 0 {
        format!("Changes of host and settings, the last {MOST_HOST_CHANGES} of {} (--json has all)", all.len())
    } else {
        "Changes of host and settings".to_owned()
    };
    let line = |change: &HostChange| hang(&format!("run {:<4} ", change.run), &change.to_string(), width, 9);
    let lines = std::iter::once(wrap(&title, width, 2)).chain(all[left_out..].iter().map(line));
    (!all.is_empty()).then(|| lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests;
