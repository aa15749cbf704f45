//! When a vCPU's thread was kept from the guest: what shows that a target was preempted, or out, when the interrupt was sent.

use super::clock::CommonClock;
use guest_stub::abi::RING_SAMPLES;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Absences that are kept of a vCPU, at most: one for each call of a block that it has handled, and some for calls that were sent
/// again.
const MOST: usize = RING_SAMPLES * 4;

/// A time for which a vCPU's thread was kept from the guest, in TSC cycles of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// It was kept from the guest by then.
    pub since: u64,
    /// And until then.
    pub until: u64,
}

impl Absence {
    /// One whose times are the host's TSC, on the common clock.
    #[must_use]
    pub fn of_host(self, clock: &CommonClock) -> Self {
        Self { since: clock.of_host(self.since), until: clock.of_host(self.until) }
    }
}

/// The times for which a vCPU was out of the guest, as it asks for in state `out`: the last one before each call that it has
/// handled. Others show nothing, and there is no end of them while the initiator waits. Whatever else is recorded of a block, these
/// are, in the host's TSC.
///
/// The lock delays nobody: the vCPU's thread is out of the guest for longer, and the reader comes when the block is over.
#[derive(Debug, Default)]
pub struct Outs(Mutex<VecDeque<Out>>);

/// One of them.
#[derive(Debug)]
struct Out {
    /// Calls that the vCPU had handled by then.
    handled: u32,
    absence: Absence,
}

impl Outs {
    fn kept(&self) -> MutexGuard<'_, VecDeque<Out>> {
        // A thread that panicked has changed one absence at most, and its machine counts for nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// vCPU thread: it is out from `since` on, after so many calls that it has handled.
    pub fn begin(&self, handled: u32, since: u64) {
        let mut kept = self.kept();
        if kept.back().is_some_and(|last| last.handled == handled) {
            kept.pop_back();
        } else if kept.len() == MOST {
            kept.pop_front();
        }
        kept.push_back(Out { handled, absence: Absence { since, until: since } });
    }

    /// vCPU thread: it goes back.
    pub fn end(&self, until: u64) {
        if let Some(last) = self.kept().back_mut() {
            last.absence.until = until;
        }
    }

    /// Reader: takes all that are kept, oldest first.
    pub fn take(&self) -> Vec<Absence> {
        self.kept().drain(..).map(|out| out.absence).collect()
    }
}

/// The one of `absences`, which are in order, in which all of `times` lies; `None`: the vCPU may have run meanwhile.
pub fn around(absences: &[Absence], times: std::ops::RangeInclusive<u64>) -> Option<Absence> {
    let later = absences.partition_point(|absence| absence.since <= *times.start());
    let last = absences[..later].last()?;
    (*times.end() <= last.until).then_some(*last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_absence_before_each_call_is_kept_however_many_there_were() {
        let outs = Outs::default();
        let mut time = 0;
        for handled in 0..3 {
            for _ in 0..10 * MOST {
                outs.begin(handled, time + 1);
                outs.end(time + 3);
                time += 10;
            }
        }
        let last = [1, 2, 3].map(|calls| calls * 10 * MOST as u64 * 10 - 10);
        assert_eq!(outs.take(), last.map(|time| Absence { since: time + 1, until: time + 3 }));
        assert_eq!(outs.take(), [], "they have been taken");
    }

    #[test]
    fn an_absence_shows_nothing_before_its_end_and_a_hostile_guest_takes_no_more_memory() {
        let outs = Outs::default();
        outs.begin(0, 70);
        assert_eq!(outs.take(), [Absence { since: 70, until: 70 }]);
        outs.end(90);
        assert_eq!(outs.take(), [], "it was taken before it ended");
        for handled in (0..).take(2 * MOST) {
            outs.begin(handled, handled.into());
        }
        let kept = outs.take();
        assert_eq!((kept.len(), kept[0].since), (MOST, MOST as u64), "the last ones");
    }

    #[test]
    fn a_send_is_in_an_absence_as_a_whole_or_not_at_all() {
        let absences = [(100, 200), (300, 400)].map(|(since, until)| Absence { since, until });
        let until = |times| around(&absences, times).map(|absence| absence.until);
        assert_eq!([until(100..=200), until(350..=360)], [Some(200), Some(400)]);
        assert_eq!([until(90..=110), until(190..=210), until(210..=220), until(150..=350)], [None; 4]);
        assert_eq!(around(&[], 1..=2), None);
    }
}
