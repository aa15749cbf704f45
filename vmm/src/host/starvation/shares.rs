//! What each thread had of the time that passed.

use super::ENOUGH;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A thread that has less than one part in so many of the time has next to nothing of a CPU, though it gets [`ENOUGH`] again and again,
/// as the least nice of many threads does. Of one that sleeps in between, since others do not get to what it waits for, it is a part
/// of the time that it was ready for.
const FEW: u32 = 16;
/// How often a thread's time is noted for that, and how many notes are kept.
const NOTE: Duration = Duration::from_secs(1);
const MOST_NOTES: usize = 600;

/// What is read of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Time that it ran since it began.
    pub(super) ran: Duration,
    /// Time that it was ready to run and waited. The kernel adds a wait when it is over.
    pub(super) waited: Duration,
    /// It is ready to run, or runs.
    pub(super) is_runnable: bool,
}

/// The threads' shares.
#[derive(Debug, Default)]
pub(super) struct Shares {
    now: Duration,
    threads: BTreeMap<u32, Share>,
    longest: Duration,
}

#[derive(Debug)]
struct Share {
    last: Reading,
    /// Of the wait that it is in, so much has been seen.
    pending: Duration,
    /// Time that it could run in, or slept.
    could: Duration,
    /// `could` by time, from the last time on that it has had enough since.
    course: VecDeque<(Duration, Duration)>,
    /// What it had had, every [`NOTE`].
    notes: VecDeque<Note>,
}

/// What a thread has had up to a time.
#[derive(Debug, Clone, Copy)]
struct Note {
    at: Duration,
    could: Duration,
    ran: Duration,
    waited: Duration,
}

impl Note {
    /// Whether a thread had next to nothing from this note to that one: of the time, or, if it was ready for a sixteenth of it, of that.
    fn is_followed_by_few(self, now: Self) -> bool {
        let [time, could, ran, waited] = [
            now.at.saturating_sub(self.at),
            now.could.saturating_sub(self.could),
            now.ran.saturating_sub(self.ran),
            now.waited.saturating_sub(self.waited),
        ];
        could * FEW < time || (waited * FEW >= time && ran * FEW < ran + waited)
    }
}

impl Shares {
    /// So much time has `passed`, of which `taken` was nobody's, and the threads have come to these.
    pub(super) fn add(&mut self, passed: Duration, taken: Duration, readings: &BTreeMap<u32, Reading>) {
        self.now += passed;
        let now = self.now;
        self.threads.retain(|id, _| readings.contains_key(id));
        for (&id, &reading) in readings {
            let share = self.threads.entry(id).or_insert_with(|| Share::new(now, reading));
            self.longest = self.longest.max(share.add(now, passed, taken, reading));
        }
    }

    /// Begins anew.
    pub(super) fn forget(&mut self) {
        self.longest = Duration::ZERO;
        for share in self.threads.values_mut() {
            share.course = VecDeque::from([(self.now, share.could)]);
            share.notes = VecDeque::from([share.note(self.now)]);
        }
    }

    /// The longest time in which a thread did not have enough.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }
}

impl Share {
    fn new(now: Duration, last: Reading) -> Self {
        let course = VecDeque::from([(now, Duration::ZERO)]);
        let mut share = Self { last, pending: Duration::ZERO, could: Duration::ZERO, course, notes: VecDeque::new() };
        share.notes.push_back(share.note(now));
        share
    }

    /// The longest time, of those that end now or last, in which it did not have enough.
    fn add(&mut self, now: Duration, passed: Duration, taken: Duration, reading: Reading) -> Duration {
        let has_moved = reading.ran != self.last.ran || reading.waited != self.last.waited;
        let waited = if has_moved {
            // What was seen of a wait is part of it.
            let ended = reading.waited.saturating_sub(self.last.waited);
            let waited = ended.saturating_sub(self.pending);
            self.pending = Duration::ZERO;
            waited
        } else if reading.is_runnable {
            self.pending += passed;
            passed
        } else {
            Duration::ZERO
        };
        self.last = reading;
        self.could += passed.saturating_sub(waited.max(taken));
        self.course.push_back((now, self.could));
        let mut longest = Duration::ZERO;
        while let Some(&(since, could)) = self.course.front() {
            longest = longest.max(now.saturating_sub(since));
            if self.could.saturating_sub(could) < ENOUGH || self.course.len() == 1 {
                break;
            }
            self.course.pop_front();
        }
        longest.max(self.few(now))
    }

    fn note(&self, at: Duration) -> Note {
        Note { at, could: self.could, ran: self.last.ran, waited: self.last.waited + self.pending }
    }

    /// The longest time up to now in which it had a small part of what it could have used.
    fn few(&mut self, now: Duration) -> Duration {
        if self.notes.back().is_some_and(|last| now.saturating_sub(last.at) < NOTE) {
            return Duration::ZERO;
        }
        let note = self.note(now);
        let since = self.notes.iter().find(|since| since.is_followed_by_few(note));
        let longest = since.map_or(Duration::ZERO, |since| now.saturating_sub(since.at));
        self.notes.push_back(note);
        if self.notes.len() > MOST_NOTES {
            self.notes.pop_front();
        }
        longest
    }
}
