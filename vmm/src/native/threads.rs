//! The threads: started once, and asleep but for the jobs that they get.

use super::block::{Block, Rounds};
use super::caller::Calls;
use super::clock::{differences, stamp};
use super::exchange::Letters;
use super::frequency::{Frequency, frequency};
use super::membarrier::Barrier;
use super::pinning::pin_this_thread;
use super::rseq::Registered;
use super::shared::Shared;
use super::{Error, caller, target};
use crate::config;
use crate::events::clock::{Exchange, cycles};
use crate::sandbox::{self, ThreadKind};
use rustix::thread::gettid;
use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Threads that call each other. Dropping them ends them.
#[derive(Debug)]
pub struct Threads {
    shared: Arc<Shared>,
    started: Vec<Thread>,
    frequency: Frequency,
    /// Every thread has its restartable sequences.
    sequences: OnceLock<()>,
}

impl Threads {
    /// Starts `count` of them, pinned to the CPUs of `pin` in turn, if there are any.
    ///
    /// # Errors
    /// [`Error::Alone`], [`Error::NotStarted`], [`Error::NotPinned`], [`Error::Gone`].
    pub fn start(count: usize, pin: &[usize]) -> Result<Self, Error> {
        if count < 2 {
            return Err(Error::Alone);
        }
        let shared = Arc::new(Shared::new(count));
        let mut threads = Self { shared, started: Vec::new(), frequency: frequency(), sequences: OnceLock::new() };
        for number in 0..count {
            let thread = Thread::start(number, config::cpu_of(pin, number))?;
            let shared = threads.shared.clone();
            thread.give(move |_: &OnceCell<Registered>| shared.clocks.is_this_thread(number))?.wait()?;
            threads.started.push(thread);
        }
        Ok(threads)
    }

    /// The threads' numbers for the kernel.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.started.iter().map(|thread| thread.id)
    }

    /// The frequency of the TSC that they stamp with.
    pub fn frequency(&self) -> Frequency {
        self.frequency
    }

    /// Runs a block of calls. It ends at the first call that is given up, and, with an error, soon after `interrupted` is set.
    ///
    /// # Errors
    /// [`Error::Membarrier`], [`Error::Rseq`], [`Error::Futex`], [`Error::Gone`], [`Error::Interrupted`].
    pub fn run(&self, block: Block, interrupted: &AtomicBool) -> Result<Rounds, Error> {
        self.prepare(&block)?;
        let Shared { stop, ended, .. } = &*self.shared;
        // Relaxed: who waits for them gets its job afterwards, through a channel.
        stop.store(0, Ordering::Relaxed);
        ended.store(0, Ordering::Relaxed);
        let block = Arc::new(block);
        let mut serving = Vec::with_capacity(block.targets.len());
        for &target in &block.targets {
            self.shared.seats[target].ready.store(0, Ordering::Relaxed);
            let (shared, block) = (self.shared.clone(), block.clone());
            let serve =
                move |own: &OnceCell<Registered>| target::serve(&shared, &shared.seats[target], &block, own.get());
            serving.push((target, self.started[target].give(serve)?));
        }
        let called = self.call(&block, interrupted);
        // Whoever still waits to be called is not going to be. Release pairs with the acquire of a target of bare interrupts.
        stop.store(1, Ordering::Release);
        self.shared.wake_everybody();
        let Calls { sent, cpu, silent } = called?;
        let taken = serving.into_iter().map(|(target, rounds)| Ok((target, rounds.wait()?)));
        Ok(Rounds { sent, taken: taken.collect::<Result<_, Error>>()?, cpu, silent })
    }

    /// Registers the process and its threads for what the block's calls are made by, and for nothing else, which the kernel may
    /// lack.
    fn prepare(&self, block: &Block) -> Result<(), Error> {
        let Some(barrier) = block.barrier() else { return Ok(()) };
        barrier.register()?;
        match barrier {
            Barrier::Plain => Ok(()),
            Barrier::Rseq => self.register_sequences(),
        }
    }

    fn register_sequences(&self) -> Result<(), Error> {
        if self.sequences.get().is_some() {
            return Ok(());
        }
        for thread in &self.started {
            let register = |own: &OnceCell<Registered>| {
                if own.get().is_none() {
                    let registered = Registered::of_this_thread()?;
                    own.get_or_init(|| registered);
                }
                Ok(())
            };
            thread.give(register)?.wait()??;
        }
        self.sequences.get_or_init(|| ());
        Ok(())
    }

    fn call(&self, block: &Arc<Block>, interrupted: &AtomicBool) -> Result<Calls, Error> {
        const LOOK: Duration = Duration::from_millis(100);
        let (shared, block, khz) = (self.shared.clone(), block.clone(), self.frequency.khz);
        let caller = block.caller;
        let deadline = cycles(block.deadline, khz);
        // Relaxed: nothing else is published by either.
        let look = || self.shared.interrupted.store(interrupted.load(Ordering::Relaxed), Ordering::Relaxed);
        look();
        let calling =
            self.started[caller].give(move |_: &OnceCell<Registered>| caller::call(&shared, &block, deadline))?;
        loop {
            if let Some(answer) = calling.wait_for(LOOK)? {
                return answer;
            }
            look();
        }
    }

    /// Lets thread 0 and thread `partner` send each other stamps, `count` times, for at most `time`.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn exchange(&self, partner: usize, count: u32, time: Duration) -> Result<Vec<Exchange>, Error> {
        let limit = stamp().wrapping_add(cycles(time, self.frequency.khz));
        let letters = Arc::new(Letters::default());
        let answered = letters.clone();
        let answering = self.started[partner].give(move |_: &OnceCell<Registered>| answered.answer(count, limit))?;
        let exchanges = self.started[0].give(move |_: &OnceCell<Registered>| letters.ask(count, limit))?.wait()?;
        answering.wait()?;
        Ok(exchanges)
    }

    /// What a time stamp costs on thread 0, `count` times, in TSC cycles: the difference of two in a row.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn stamps(&self, count: usize) -> Result<Vec<i64>, Error> {
        self.started[0].give(move |_: &OnceCell<Registered>| differences(count))?.wait()
    }

    /// Runs something on a thread.
    #[cfg(test)]
    pub(super) fn run_on<T: Send + 'static>(&self, thread: usize, job: fn() -> T) -> Result<T, Error> {
        self.started[thread].give(move |_: &OnceCell<Registered>| job())?.wait()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Relaxed: as in `run`. A block that failed may have left targets in their sequences, and the caller in a call, which ends
        // by its deadline.
        self.shared.stop.store(1, Ordering::Relaxed);
        self.shared.interrupted.store(true, Ordering::Relaxed);
        self.shared.wake_everybody();
        for thread in &mut self.started {
            drop(thread.jobs.take());
        }
        for handle in self.started.iter_mut().filter_map(|thread| thread.handle.take()) {
            // The panic hook has reported a panic.
            let _ = handle.join();
        }
    }
}

/// What a thread is woken for, with its restartable sequences, if it has registered them.
type Job = Box<dyn FnOnce(&OnceCell<Registered>) + Send>;

#[derive(Debug)]
struct Thread {
    number: usize,
    /// Its number for the kernel.
    id: u32,
    /// Dropped, it ends the thread.
    jobs: Option<Sender<Job>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(number: usize, cpu: Option<usize>) -> Result<Self, Error> {
        let (jobs, to_do) = channel();
        let (report, started) = channel();
        let handle = Builder::new()
            .name(format!("native-{number}"))
            .spawn(move || live(number, cpu, &to_do, &report))
            .map_err(|source| Error::NotStarted { thread: number, source })?;
        let id = Answer { thread: number, channel: started }.wait()??;
        Ok(Self { number, id, jobs: Some(jobs), handle: Some(handle) })
    }

    /// Gives it a job, which begins when the one before has ended.
    fn give<T: Send + 'static>(
        &self,
        job: impl FnOnce(&OnceCell<Registered>) -> T + Send + 'static,
    ) -> Result<Answer<T>, Error> {
        let (answer, answered) = channel();
        let job: Job = Box::new(move |own| {
            // Nobody waits any more where an error has ended the block.
            let _ = answer.send(job(own));
        });
        let given = self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok());
        given.map(|()| Answer { thread: self.number, channel: answered }).ok_or(Error::Gone(self.number))
    }
}

/// What a job is going to bring.
struct Answer<T> {
    thread: usize,
    channel: Receiver<T>,
}

impl<T> Answer<T> {
    fn wait(self) -> Result<T, Error> {
        self.channel.recv().map_err(|_| Error::Gone(self.thread))
    }

    /// `None`: not yet.
    fn wait_for(&self, time: Duration) -> Result<Option<T>, Error> {
        match self.channel.recv_timeout(time) {
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Gone(self.thread)),
        }
    }
}

/// A thread's whole life.
fn live(number: usize, cpu: Option<usize>, jobs: &Receiver<Job>, started: &Sender<Result<u32, Error>>) {
    sandbox::confine(ThreadKind::Native);
    block_signals();
    let pin = |cpu| pin_this_thread(cpu).map_err(|errno| Error::NotPinned { thread: number, cpu, errno });
    let pinned = cpu.map_or(Ok(()), pin);
    let is_alive = pinned.is_ok();
    let id = gettid().as_raw_nonzero().get().unsigned_abs();
    let own = OnceCell::new();
    if started.send(pinned.map(|()| id)).is_ok() && is_alive {
        for job in jobs {
            job(&own);
        }
    }
}

/// A signal would end a sequence as an interrupt does. The process's other threads take them, but for SIGSYS, which is this thread's
/// own (`sandbox`).
fn block_signals() {
    // SAFETY: `sigfillset` fills in the set, which is this function's; `sigdelset` takes one out; `pthread_sigmask` reads it and changes the mask of this
    // thread alone. Neither fails with these arguments.
    unsafe {
        let mut all = std::mem::MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::sigdelset(all.as_mut_ptr(), libc::SIGSYS);
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
}
