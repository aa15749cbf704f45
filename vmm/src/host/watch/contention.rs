//! For how long the machine's own threads may have kept one another from running: what their waits say of nobody else.

/// A thread that runs on the machine's behalf.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runner<'a> {
    /// The one CPU that it was pinned to.
    pub(super) pin: Option<usize>,
    /// The CPUs that it may run on if it was not pinned; empty: they are not known.
    pub(super) allowed: &'a [usize],
    /// For how long it ran.
    pub(super) ran_ns: u64,
}

impl Runner<'_> {
    /// Whether it may have run on this CPU.
    pub(super) fn may_use(&self, cpu: usize) -> bool {
        match self.pin {
            Some(pin) => pin == cpu,
            None => self.allowed.is_empty() || self.allowed.contains(&cpu),
        }
    }
}

/// The longest time for which `others` can have kept a thread waiting. A scheduler moves a thread that is not pinned to a CPU
/// that is free, so that such threads are in somebody's way only while all of their CPUs run one of `others`.
pub(super) fn longest_wait_ns(thread: &Runner<'_>, others: &[Runner<'_>]) -> u64 {
    let Some(cpu) = thread.pin else { return all_busy_ns(thread.allowed, others) };
    let (pinned_here, elsewhere): (Vec<Runner<'_>>, Vec<_>) = others.iter().partition(|other| other.pin == Some(cpu));
    let unpinned = || elsewhere.iter().filter(|other| other.pin.is_none() && other.may_use(cpu));
    let all_busy = unpinned().map(|other| all_busy_ns(other.allowed, &elsewhere)).max().unwrap_or(0);
    ran_ns(pinned_here.iter()) + all_busy.min(ran_ns(unpinned()))
}

/// For how long threads ran in all.
pub(super) fn ran_ns<'a>(threads: impl Iterator<Item = &'a Runner<'a>>) -> u64 {
    threads.map(|thread| thread.ran_ns).sum()
}

/// The longest time for which each of `cpus` can have run one of `threads`. A thread runs on one CPU at a time: of n CPUs, the
/// k threads that ran for longest keep k busy at most, and the others share the remaining n - k.
fn all_busy_ns(cpus: &[usize], threads: &[Runner<'_>]) -> u64 {
    let may_run_here = |thread: &&Runner<'_>| cpus.is_empty() || cpus.iter().any(|&cpu| thread.may_use(cpu));
    let mut ran_ns: Vec<u64> = threads.iter().filter(may_run_here).map(|thread| thread.ran_ns).collect();
    ran_ns.sort_unstable_by_key(|&ran_ns| std::cmp::Reverse(ran_ns));
    // Where it is not known which CPUs they are, there may be but one.
    let count = cpus.len().max(1);
    let of_others = |longest: usize| ran_ns.iter().skip(longest).sum::<u64>() / (count - longest) as u64;
    (0..count).map(of_others).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[usize] = &[0, 1];

    fn pinned(cpu: usize, ran_ns: u64) -> Runner<'static> {
        Runner { pin: Some(cpu), allowed: &[], ran_ns }
    }

    fn unpinned(ran_ns: u64) -> Runner<'static> {
        Runner { pin: None, allowed: BOTH, ran_ns }
    }

    #[test]
    fn threads_that_are_no_more_than_their_cpus_do_not_wait_for_one_another() {
        assert_eq!(longest_wait_ns(&unpinned(70), &[unpinned(100)]), 0);
        assert_eq!(longest_wait_ns(&pinned(0, 70), &[pinned(1, 100)]), 0);
        assert_eq!(longest_wait_ns(&pinned(0, 70), &[unpinned(100)]), 0, "which has another CPU");
    }

    #[test]
    fn a_thread_too_many_waits_while_all_cpus_are_busy() {
        assert_eq!(longest_wait_ns(&unpinned(30), &[unpinned(100), unpinned(70)]), 70);
        assert_eq!(longest_wait_ns(&unpinned(30), &[unpinned(60), unpinned(60), unpinned(60)]), 90);
        assert_eq!(
            longest_wait_ns(&pinned(0, 30), &[pinned(1, 40), unpinned(100)]),
            40,
            "else that one moves to CPU 1"
        );
    }

    #[test]
    fn threads_of_one_cpu_wait_for_each_other_whatever_the_others_do() {
        assert_eq!(longest_wait_ns(&pinned(0, 40), &[pinned(0, 60), pinned(1, 100)]), 60);
        assert_eq!(longest_wait_ns(&pinned(0, 20), &[pinned(0, 60), pinned(1, 30), unpinned(100)]), 60 + 30);
    }

    #[test]
    fn unknown_cpus_may_be_one() {
        let somewhere = Runner { allowed: &[], ..unpinned(50) };
        assert_eq!(longest_wait_ns(&somewhere, &[pinned(0, 30), pinned(1, 20)]), 50);
        assert_eq!(longest_wait_ns(&pinned(0, 30), &[somewhere]), 50);
    }
}
