//! What threads have had of the CPUs: their CPU clocks (clock_gettime(2), pthread_getcpuclockid(3)).
//!
//! A thread's CPU clock counts the time that the scheduler has given the thread: in user mode, in the guest, and in the kernel
//! on its behalf. That includes system calls, the exits that KVM handles, and KVM's halt polling, which runs in the vCPU's thread
//! (`kvm_vcpu_halt`, virt/kvm/kvm_main.c). It includes the interrupts that happen to hit the thread, unless the kernel keeps
//! their time apart (CONFIG_IRQ_TIME_ACCOUNTING). Where the host is itself a virtual machine, what its hypervisor reports as
//! stolen is left out (CONFIG_PARAVIRT_TIME_ACCOUNTING).
//!
//! `schedstat` and getrusage(2) have the same sum, but of a thread that runs at the moment, as it was at its last tick or switch:
//! a block is shorter than a few ticks. Reading the clock brings the sum up to date (`task_sched_runtime`, kernel/sched/core.c).
//!
//! One thread reads the clocks of all, one after the other, in the same order before and after. What is read of another thread
//! therefore holds, besides the rounds, the time of one reading of all clocks: what lies behind the thread's own clock in the first
//! reading, and what lies before it in the second. A thread that is busy meanwhile has that much too much, and none has more.

use crate::host::clocks::nanoseconds;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// A thread's CPU clock, for any thread of the process.
#[derive(Debug, Clone, Copy)]
struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// That of the calling thread; `None`: the system has none.
    fn of_this_thread() -> Option<Self> {
        let mut clock = MaybeUninit::uninit();
        // SAFETY: the calling thread is one that exists, and the C library fills in the clock if it returns zero.
        unsafe {
            let error = libc::pthread_getcpuclockid(libc::pthread_self(), clock.as_mut_ptr());
            (error == 0).then(|| Self(clock.assume_init()))
        }
    }

    /// ns; `None`: the thread has ended.
    fn now(self) -> Option<u64> {
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the kernel fills in the time if it returns zero; a clock that does not exist any more is refused.
        let time = unsafe {
            let error = libc::clock_gettime(self.0, time.as_mut_ptr());
            (error == 0).then(|| time.assume_init())
        }?;
        Some(nanoseconds(Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec }))
    }
}

/// The CPU clocks of a machine's threads, each known once its thread has begun to run.
#[derive(Debug)]
pub struct CpuClocks(Box<[OnceLock<CpuClock>]>);

/// What the clocks showed when the rounds that count began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    wall_ns: u64,
    threads: Vec<Option<u64>>,
    reader_ns: u64,
}

/// What threads have had of the CPUs, and how long that took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuTimes {
    /// Time that has passed, ns (CLOCK_MONOTONIC_RAW): no less than a thread can have had.
    pub wall_ns: u64,
    /// What each thread has had, ns, with at most the time of one reading of all clocks; `None`: nobody knows.
    pub threads: Vec<Option<u64>>,
    /// What the thread that read the clocks has had, ns, the reading itself left out.
    pub reader_ns: u64,
}

impl CpuClocks {
    /// Of so many threads.
    pub fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| OnceLock::new()).collect())
    }

    /// The calling thread is number `thread`.
    pub fn is_this_thread(&self, thread: usize) {
        if let (Some(place), Some(clock)) = (self.0.get(thread), CpuClock::of_this_thread()) {
            // It begins to run only once.
            let _ = place.set(clock);
        }
    }

    /// Reads the clocks right before what they are to tell of, by the thread that makes the calls: each thread's time begins after
    /// the wall's, and the reader's own last.
    pub fn open(&self) -> Opened {
        Opened { wall_ns: wall(), threads: self.read(), reader_ns: of_this_thread() }
    }

    /// Reads them right after it, by the same thread: its own first and the wall's last, the others in the order of before.
    pub fn close(&self, opened: &Opened) -> CpuTimes {
        let reader_ns = of_this_thread().saturating_sub(opened.reader_ns);
        let since = |(before, after): (&Option<u64>, Option<u64>)| after?.checked_sub((*before)?);
        let threads = opened.threads.iter().zip(self.read()).map(since).collect();
        CpuTimes { wall_ns: wall().saturating_sub(opened.wall_ns), threads, reader_ns }
    }

    fn read(&self) -> Vec<Option<u64>> {
        self.0.iter().map(|clock| clock.get()?.now()).collect()
    }
}

/// The calling thread's CPU clock, ns.
pub(crate) fn of_this_thread() -> u64 {
    of(ClockId::ThreadCPUTime)
}

/// ns that pass at one rate, whatever corrects the time of day.
fn wall() -> u64 {
    of(ClockId::MonotonicRaw)
}

fn of(clock: ClockId) -> u64 {
    nanoseconds(clock_gettime(clock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::time::{Duration, Instant};

    /// The rates of the scheduler's clock and of CLOCK_MONOTONIC_RAW differ by less.
    const RATES: f64 = 1.001;

    #[test]
    fn a_thread_that_sleeps_has_next_to_nothing_and_one_that_is_busy_no_more_than_has_passed() {
        const TIME_NS: u64 = 30_000_000;
        let clocks = CpuClocks::new(3);
        let (begun, opened, busy_has_had_it, ended) =
            (Barrier::new(3), Barrier::new(2), Barrier::new(2), Barrier::new(3));
        let times = std::thread::scope(|scope| {
            scope.spawn(|| {
                clocks.is_this_thread(0);
                begun.wait();
                ended.wait();
            });
            scope.spawn(|| {
                clocks.is_this_thread(1);
                begun.wait();
                opened.wait();
                // Of its own time, however long others keep it off the CPUs.
                let start = of_this_thread();
                while of_this_thread() - start < TIME_NS {
                    std::hint::spin_loop();
                }
                busy_has_had_it.wait();
                ended.wait();
            });
            begun.wait();
            let before = clocks.open();
            opened.wait();
            busy_has_had_it.wait();
            let times = clocks.close(&before);
            ended.wait();
            times
        });
        let CpuTimes { wall_ns, threads, reader_ns } = times;
        let [Some(asleep), Some(busy), None] = threads[..] else { panic!("the third has not begun: {threads:?}") };
        assert!(busy >= TIME_NS && busy as f64 <= wall_ns as f64 * RATES, "{busy} of {wall_ns}");
        assert!(asleep < busy && reader_ns < busy, "{asleep} {busy} {reader_ns} {wall_ns}");
    }

    #[test]
    fn the_time_of_one_reading_of_all_clocks_is_in_that_of_each_thread_that_is_busy() {
        const CLOCKS: usize = 64;
        // The thread that reads is in the place of all others: it is busy while it reads, whoever else wants its CPU.
        let clocks = CpuClocks::new(CLOCKS);
        (0..CLOCKS).for_each(|thread| clocks.is_this_thread(thread));
        let excess = |()| {
            let opened = clocks.open();
            let CpuTimes { wall_ns, threads, .. } = clocks.close(&opened);
            let threads: Vec<u64> =
                threads.into_iter().map(|thread| thread.expect("this thread has not ended")).collect();
            assert!(threads.iter().all(|&thread| thread as f64 <= wall_ns as f64 * RATES), "{threads:?} of {wall_ns}");
            let (least, most) = threads.iter().fold((u64::MAX, 0), |(least, most), &it| (least.min(it), most.max(it)));
            (least, most)
        };
        // An interrupt within one of the readings is not in all of the times: one attempt without will do. Were the second reading in
        // the reverse order, the first clock's time would hold both and the last one's none.
        let is_the_same = |(least, most): (u64, u64)| least > 0 && most < 2 * least;
        assert!([(); 1000].into_iter().map(excess).any(is_the_same), "some clocks' times hold more than one reading");
    }

    #[test]
    fn a_thread_that_has_ended_has_no_clock() {
        let clocks = CpuClocks::new(1);
        std::thread::scope(|scope| scope.spawn(|| clocks.is_this_thread(0)).join()).expect("no panic");
        let opened = clocks.open();
        // The kernel may not have let go of it at once.
        let end = Instant::now() + Duration::from_secs(5);
        while clocks.close(&opened).threads != [None] {
            assert!(Instant::now() < end, "it still has a clock");
            std::thread::yield_now();
        }
    }
}
