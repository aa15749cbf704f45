//! What threads spent their time in: guest, user mode or kernel (`utime`, `stime` and `guest_time` of `stat`, proc(5)).
//!
//! The kernel charges each tick to what it finds running (CONFIG_TICK_CPU_ACCOUNTING), but on CPUs of `nohz_full` goes by the clock
//! (CONFIG_VIRT_CPU_ACCOUNTING_GEN). It then scales user mode and kernel so that their sum is the scheduler's own
//! (`cputime_adjust`, kernel/sched/cputime.c), leaves the guest's share as it was charged, and cuts each to whole ticks of USER_HZ.
//! A block is as short as such a tick, so that only sums over many blocks say something.

use super::Thread;
use super::task::Task;
use rustix::param::clock_ticks_per_second;

/// Time by what it was spent in, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    /// In the guest.
    pub guest_ns: u64,
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel, KVM's halt polling included.
    pub kernel_ns: u64,
}

/// A thread's ticks of USER_HZ since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ticks {
    /// `utime`, which holds the guest's.
    pub(super) user: u64,
    /// `stime`.
    pub(super) kernel: u64,
    /// `guest_time`.
    pub(super) guest: u64,
}

impl Modes {
    /// Those of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            guest_ns: self.guest_ns + other.guest_ns,
            user_ns: self.user_ns + other.user_ns,
            kernel_ns: self.kernel_ns + other.kernel_ns,
        }
    }

    /// All of it, ns.
    pub fn total_ns(self) -> u64 {
        self.guest_ns + self.user_ns + self.kernel_ns
    }

    /// A thread's between two readings.
    fn between(before: Ticks, after: Ticks) -> Self {
        let tick_ns = 1_000_000_000 / clock_ticks_per_second().max(1);
        let [user, kernel, guest] =
            [|ticks: Ticks| ticks.user, |ticks: Ticks| ticks.kernel, |ticks: Ticks| ticks.guest]
                .map(|of| of(after).saturating_sub(of(before)));
        // The guest's is not scaled, so that it may be more than what holds it.
        let guest = guest.min(user);
        Self { guest_ns: guest * tick_ns, user_ns: (user - guest) * tick_ns, kernel_ns: kernel * tick_ns }
    }
}

/// What the machine's threads spent a block in whose calls `initiator` made, a vCPU or (`None`) the host: the host's thread counts
/// where it made them. `None`: the kernel does not say of some thread.
pub(super) fn of_block(threads: &[Thread], initiator: Option<usize>, before: &[Task], after: &[Task]) -> Option<Modes> {
    let tasks = threads.iter().zip(before.iter().zip(after));
    let mut counted = tasks.filter(|(thread, _)| thread.vcpu.is_some() || initiator.is_none());
    counted.try_fold(Modes::default(), |sum, (_, (before, after))| {
        Some(sum.plus(Modes::between(before.ticks?, after.ticks?)))
    })
}
