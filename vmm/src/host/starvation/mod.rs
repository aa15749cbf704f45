//! How long this process's threads needed for a little CPU time: whether something that took long may have taken long for want of it.
//!
//! A thread looks every few milliseconds. It adds up for each thread for how long it could run, or slept of its own will. What it could
//! not: the time that it was ready to run and waited (`schedstat`, proc(5)), the time that the hypervisor below took (`steal` of
//! `/proc/stat`), and whatever time this thread itself did not look in, since then nobody knows: the process was stopped (SIGSTOP, the
//! freezer, ptrace), or its CPUs were all taken.

mod shares;
mod threads;

use shares::Shares;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use threads::Threads;

/// How often it looks, at most.
const PERIOD: Duration = Duration::from_millis(5);
/// Of its time, a look takes one part in so many at most: a machine may have hundreds of threads.
const SHARE: u32 = 20;
/// CPU time that every step of a broadcast call is done in, by far: µs, or as much as 1 ms where KVM emulates CPL0.
pub const ENOUGH: Duration = Duration::from_millis(5);

/// Watches all threads of this process, until it is dropped.
#[derive(Debug)]
pub struct Starvation {
    sampler: Arc<Mutex<Sampler>>,
    /// Hanging up ends the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Starvation {
    /// Begins to watch.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn watch() -> io::Result<Self> {
        let sampler = Arc::new(Mutex::new(Sampler::new()));
        let (end, ended) = channel();
        let its = Arc::clone(&sampler);
        let thread = Builder::new().name("starvation".to_owned()).spawn(move || look_until(&ended, &its))?;
        Ok(Self { sampler, end: Some(end), thread: Some(thread) })
    }

    /// Forgets what was.
    pub fn begin(&self) {
        let mut sampler = lock(&self.sampler);
        sampler.look();
        sampler.shares.forget();
    }

    /// The longest time since [`Self::begin`] within which some thread had less than [`ENOUGH`] of a CPU, and was not asleep either; or
    /// a sixteenth of the time, or of what it was ready for.
    pub fn longest(&self) -> Duration {
        let mut sampler = lock(&self.sampler);
        sampler.look();
        sampler.shares.longest()
    }
}

impl Drop for Starvation {
    fn drop(&mut self) {
        drop(self.end.take());
        // A panic of it has been told.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn look_until(ended: &Receiver<()>, sampler: &Mutex<Sampler>) {
    loop {
        let pause = {
            let mut sampler = lock(sampler);
            let start = Instant::now();
            sampler.look();
            sampler.period = PERIOD.max(start.elapsed() * SHARE);
            sampler.period
        };
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn lock(sampler: &Mutex<Sampler>) -> std::sync::MutexGuard<'_, Sampler> {
    // Whoever panicked has left counts that are as good as before.
    sampler.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Sampler {
    threads: Threads,
    shares: Shares,
    /// When it looked last.
    last: Instant,
    /// When it is to look again.
    period: Duration,
}

impl Sampler {
    fn new() -> Self {
        Self { threads: Threads::open(), shares: Shares::default(), last: Instant::now(), period: PERIOD }
    }

    fn look(&mut self) {
        let readings = Threads::read();
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.last, now);
        // Late by as much again as a period: nobody knows what was meanwhile.
        let unseen = if passed > 2 * self.period { passed.saturating_sub(self.period) } else { Duration::ZERO };
        self.shares.add(passed, unseen + self.threads.stolen(), &readings);
    }
}

#[cfg(test)]
mod tests;
