//! How halted vCPUs were woken, by KVM's counters: while KVM still polled for an event, or after the thread had slept.
//!
//! KVM's `kvm_vcpu_halt` (virt/kvm/kvm_main.c) polls for as long as its halt polling allows before it lets the vCPU's thread
//! sleep (Documentation/virt/kvm/halt-polling.rst).

use super::counters::StatsFile;
use std::sync::{Mutex, PoisonError};

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

/// The counters of a machine's vCPUs, and what those of wake-ups were when a block's rounds that count began, and when they had
/// ended: the VMM's thread that hears it from the guest reads them, while the guest waits.
#[derive(Debug)]
pub struct Counters {
    files: Vec<Option<StatsFile>>,
    marks: Mutex<Vec<Vec<Option<Wakeups>>>>,
}

impl Counters {
    /// Marks that are kept: a guest that makes more gains nothing by it.
    const MARKS: usize = 2;

    /// Of vCPUs with these files, where KVM has them.
    pub fn new(files: Vec<Option<StatsFile>>) -> Self {
        Self { files, marks: Mutex::default() }
    }

    /// A vCPU's file.
    pub fn of(&self, vcpu: usize) -> Option<&StatsFile> {
        self.files.get(vcpu)?.as_ref()
    }

    /// Reads every vCPU's wake-ups. From any thread.
    pub fn mark(&self) {
        let read = || self.files.iter().map(|file| file.as_ref()?.wakeups()).collect();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() < Self::MARKS {
            marks.push(read());
        }
    }

    /// What the wake-ups of the vCPUs that `is_asked` holds for have risen by from the first mark to the second; `None` if one of
    /// these, or of the marks, is not known. The marks are gone then.
    pub fn take_between_marks(&self, is_asked: impl Fn(usize) -> bool) -> Option<Wakeups> {
        let marks = std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner));
        let [first, second] = marks.as_slice() else { return None };
        let mut sum = Wakeups::default();
        for (vcpu, (before, after)) in first.iter().zip(second).enumerate() {
            if is_asked(vcpu) {
                sum = sum.plus((*after)?.since((*before)?));
            }
        }
        Some(sum)
    }
}
