//! How halted vCPUs were woken, by KVM's counters: while KVM still polled for an event, or after the thread had slept.
//!
//! KVM's `kvm_vcpu_halt` (virt/kvm/kvm_main.c) polls for as long as its halt polling allows before it lets the vCPU's thread
//! sleep (Documentation/virt/kvm/halt-polling.rst).

use super::counters::StatsFile;
use super::cpu_time::{CpuClocks, CpuTimes, Opened};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// KVM's counters of wake-ups from HLT, or what they have risen by (KVM_GET_STATS_FD).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wakeups {
    /// HLTs that ended before the vCPU's thread slept, after a poll: `halt_successful_poll`.
    pub polled: u64,
    /// HLTs that KVM polled in: `halt_attempted_poll`.
    pub attempted: u64,
    /// Successful polls that brought the vCPU nothing to run for: `halt_poll_invalid`.
    pub invalid: u64,
    /// Wake-ups of a vCPU's thread that slept: `halt_wakeup`.
    pub blocked: u64,
    /// Time of successful polls, ns: `halt_poll_success_ns`.
    pub poll_success_ns: u64,
    /// Time of the others, ns: `halt_poll_fail_ns`.
    pub poll_fail_ns: u64,
    /// Time asleep, ns: `halt_wait_ns`.
    pub wait_ns: u64,
}

impl Wakeups {
    /// What they have risen by since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.merge(earlier, u64::saturating_sub)
    }

    /// Those of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.merge(other, u64::saturating_add)
    }

    fn merge(self, other: Self, merge: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            polled: merge(self.polled, other.polled),
            attempted: merge(self.attempted, other.attempted),
            invalid: merge(self.invalid, other.invalid),
            blocked: merge(self.blocked, other.blocked),
            poll_success_ns: merge(self.poll_success_ns, other.poll_success_ns),
            poll_fail_ns: merge(self.poll_fail_ns, other.poll_fail_ns),
            wait_ns: merge(self.wait_ns, other.wait_ns),
        }
    }
}

/// The counters of a machine's vCPUs and the CPU clocks of their threads, and what wake-ups and clocks were when a block's rounds
/// that count began, and when they had ended: the VMM's thread that hears it from the guest, or that makes the calls itself, reads
/// them, while the guest waits.
#[derive(Debug)]
pub struct Counters {
    files: Vec<Option<StatsFile>>,
    clocks: CpuClocks,
    marks: Mutex<Marks>,
}

/// What was read so far in a block. A guest that makes a third mark gains nothing by it.
#[derive(Debug)]
struct Marks {
    /// Wake-ups are to be read, too.
    wakeups: bool,
    so_far: SoFar,
}

#[derive(Debug)]
enum SoFar {
    Nothing,
    Began { wakeups: Vec<Option<Wakeups>>, clocks: Opened },
    Ended(Between),
}

/// What has happened between the two marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Between {
    /// Each vCPU's wake-ups; empty: they were not asked for. `None`: they are not known.
    pub wakeups: Vec<Option<Wakeups>>,
    /// What the vCPUs' threads have had of the CPUs; the reader is the thread that made the calls.
    pub cpu: CpuTimes,
}

impl Counters {
    /// Of vCPUs with these files, where KVM has them.
    pub fn new(files: Vec<Option<StatsFile>>) -> Self {
        let clocks = CpuClocks::new(files.len());
        Self { files, clocks, marks: Mutex::new(Marks { wakeups: false, so_far: SoFar::Nothing }) }
    }

    /// The CPU clocks of the vCPUs' threads.
    pub fn clocks(&self) -> &CpuClocks {
        &self.clocks
    }

    /// A vCPU's file.
    pub fn of(&self, vcpu: usize) -> Option<&StatsFile> {
        self.files.get(vcpu)?.as_ref()
    }

    /// A block begins, which is going to be marked; `wakeups` says whether those are to be read, too.
    pub fn begin(&self, wakeups: bool) {
        *self.lock() = Marks { wakeups, so_far: SoFar::Nothing };
    }

    /// Reads CPU clocks and wake-ups. The first mark and the second are made by one thread, that of the initiator. The clocks are
    /// read next to the rounds, so that the other readings are not in them.
    pub fn mark(&self) {
        let mut marks = self.lock();
        let read = |is_asked: bool| -> Vec<Option<Wakeups>> {
            let asked = self.files.iter().filter(|_| is_asked);
            asked.map(|file| file.as_ref()?.wakeups()).collect()
        };
        marks.so_far = match &marks.so_far {
            SoFar::Nothing => {
                let wakeups = read(marks.wakeups);
                SoFar::Began { wakeups, clocks: self.clocks.open() }
            }
            SoFar::Began { wakeups, clocks } => {
                let cpu = self.clocks.close(clocks);
                let since = |(before, after): (&Option<Wakeups>, Option<Wakeups>)| Some(after?.since((*before)?));
                SoFar::Ended(Between { wakeups: wakeups.iter().zip(read(marks.wakeups)).map(since).collect(), cpu })
            }
            SoFar::Ended(_) => return,
        };
    }

    /// What has happened between the two marks; `None`: they were not both made. They are gone then.
    pub fn take_between_marks(&self) -> Option<Between> {
        match std::mem::replace(&mut self.lock().so_far, SoFar::Nothing) {
            SoFar::Ended(between) => Some(between),
            SoFar::Nothing | SoFar::Began { .. } => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Between {
    /// The wake-ups of the vCPUs that `is_asked` holds for; `None`: one of theirs is not known, or nobody has asked.
    pub fn wakeups_of(&self, is_asked: impl Fn(usize) -> bool) -> Option<Wakeups> {
        let mut asked = self.wakeups.iter().enumerate().filter(|(vcpu, _)| is_asked(*vcpu));
        let sum = asked.try_fold(Wakeups::default(), |sum, (_, wakeups)| Some(sum.plus((*wakeups)?)))?;
        (!self.wakeups.is_empty()).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_marks_make_a_difference_and_a_third_changes_nothing() {
        let counters = Counters::new(vec![None, None]);
        counters.clocks().is_this_thread(0);
        counters.begin(true);
        counters.mark();
        assert_eq!(counters.take_between_marks(), None, "the block has not ended");
        counters.begin(true);
        counters.mark();
        counters.mark();
        counters.mark();
        let between = counters.take_between_marks().expect("two marks");
        assert_eq!(between.wakeups, [None, None], "no vCPU has a file");
        assert!(between.cpu.threads[0].is_some() && between.cpu.threads[1].is_none(), "{between:?}");
        assert!(between.cpu.reader_ns <= between.cpu.threads[0].unwrap_or(0), "{between:?}");
        assert_eq!(counters.take_between_marks(), None, "they are gone");
    }

    #[test]
    fn wakeups_are_those_of_the_vcpus_that_are_asked_for() {
        let cpu = CpuTimes { wall_ns: 1, threads: Vec::new(), reader_ns: 0 };
        let polled = |polled| Some(Wakeups { polled, ..Wakeups::default() });
        let between = Between { wakeups: vec![None, polled(3), polled(4)], cpu: cpu.clone() };
        assert_eq!(between.wakeups_of(|vcpu| vcpu != 0), polled(7));
        assert_eq!(between.wakeups_of(|_| true), None, "one is not known");
        let not_asked = Between { wakeups: Vec::new(), cpu };
        assert_eq!(not_asked.wakeups_of(|_| true), None);
    }
}
