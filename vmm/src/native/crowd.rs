//! A rendezvous of threads that sleep while they wait, as vCPUs do that park: what it costs where there is no guest. There may be
//! any number of them on a CPU.

use super::Error;
use super::clock::{stamp, stamp_after_loads};
use super::pinning::pin_this_thread;
use super::shared::Line;
use super::sleeping;
use crate::config;
use crate::sandbox::{self, ThreadKind};
use guest_stub::rendezvous::{Generation, Packet, Sleeper, Work};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

/// A thread's stack, in bytes: there may be a thousand of them.
const STACK_BYTES: usize = 64 << 10;
/// Longer than anybody sleeps, unless something went wrong.
const LONG: Duration = Duration::from_secs(1);
/// Between two rounds: those who are about to sleep do.
const SETTLE: Duration = Duration::from_millis(1);

/// The round of a seat whose thread is to end.
const END: u32 = u32::MAX;

/// Who sleeps by futex(2). There is no deadline.
struct Futex;

impl Sleeper for Futex {
    fn sleep(&self, word: &AtomicU32, value: u32) {
        sleeping::sleep(word, value, Some(LONG));
    }

    fn wake(&self, word: &AtomicU32) {
        // Of a word that can be read it does not fail.
        let _ = sleeping::wake(word);
    }

    fn is_late(&self, _: u64) -> bool {
        false
    }
}

struct Crowd {
    packet: Packet,
    /// The round that each target is called in.
    called: Box<[Line<AtomicU32>]>,
    /// How often a target has said that it is about to sleep.
    ready: Line<AtomicU32>,
    pin: Box<[usize]>,
}

/// The round trips of so many rounds, in TSC cycles: from before the first target is woken until the caller has seen that all have
/// ended. `threads`, the caller among them, are pinned to the CPUs of `pin` in turn, if there are any. The caller wakes each of the
/// others by itself, as an interrupt does; the last one to arrive wakes the caller, which wakes all at the gate, and the last one
/// to end wakes it again.
///
/// # Errors
/// [`Error::Alone`], [`Error::NotStarted`], [`Error::NotPinned`].
pub fn round_trips(threads: usize, pin: &[usize], rounds: u32) -> Result<Vec<i64>, Error> {
    if threads < 2 {
        return Err(Error::Alone);
    }
    let crowd = Crowd {
        packet: Packet::new(),
        called: (1..threads).map(|_| Line::default()).collect(),
        ready: Line::default(),
        pin: pin.into(),
    };
    std::thread::scope(|scope| {
        let made = crowd.start_all(scope).and_then(|()| {
            let caller = spawn(scope, 0, || {
                crowd.pin(0)?;
                Ok((1..=rounds).map(|round| crowd.call(round)).collect())
            })?;
            caller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        for seat in &crowd.called {
            // Release pairs with the load in `serve`.
            seat.store(END, Ordering::Release);
            Futex.wake(seat);
        }
        made
    })
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    thread: usize,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    let confined = || {
        sandbox::confine(ThreadKind::Native);
        run()
    };
    let started = Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, confined);
    started.map_err(|source| Error::NotStarted { thread, source })
}

impl Crowd {
    fn start_all<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Result<(), Error> {
        let start = |target| spawn(scope, target + 1, move || self.serve(target)).map(|_| ());
        (0..self.called.len()).try_for_each(start)
    }

    /// Where it is not allowed to, the thread runs elsewhere: the caller's is an error.
    fn pin(&self, thread: usize) -> Result<(), Error> {
        let Some(cpu) = config::cpu_of(&self.pin, thread) else { return Ok(()) };
        pin_this_thread(cpu).map_err(|errno| Error::NotPinned { thread, cpu, errno })
    }

    /// A target, from its first call to its last.
    fn serve(&self, target: usize) {
        // All may run where one may: the caller's tells.
        let _ = self.pin(target + 1);
        let seat = &self.called[target];
        let mut served = 0;
        loop {
            // Release pairs with the caller's load: what this thread has done before comes first.
            self.ready.fetch_add(1, Ordering::Release);
            let round = loop {
                let round = seat.load(Ordering::Acquire);
                if round != served {
                    break round;
                }
                Futex.sleep(seat, served);
            };
            if round == END {
                return;
            }
            served = round;
            let generation = generation(round);
            self.packet.arrivals().come_and_wake(generation, &Futex);
            self.packet.sleep_until_decided(generation, &Futex);
            self.packet.ends().come_and_wake(generation, &Futex);
        }
    }

    /// One round, when all targets are about to sleep.
    fn call(&self, round: u32) -> i64 {
        let targets = u32::try_from(self.called.len()).unwrap_or(u32::MAX);
        while self.ready.load(Ordering::Acquire) < targets.wrapping_mul(round) {
            std::thread::sleep(SETTLE);
        }
        std::thread::sleep(SETTLE);
        let generation = generation(round);
        self.packet.count_targets(generation, targets);
        self.packet.publish(generation, Work { worker: 0, argument: 0, participants: targets, deadline: u64::MAX });
        let start = stamp();
        for seat in &self.called {
            // Release publishes the packet.
            seat.store(round, Ordering::Release);
            Futex.wake(seat);
        }
        self.packet.arrivals().sleep_until_complete(generation, u64::MAX, &Futex);
        self.packet.go(generation);
        Futex.wake(self.packet.gate());
        self.packet.ends().sleep_until_complete(generation, u64::MAX, &Futex);
        stamp_after_loads().wrapping_sub(start).cast_signed()
    }
}

/// A round's number as a generation.
fn generation(round: u32) -> Generation {
    Generation::from_stored(round << 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::CpuSet;

    #[test]
    fn every_round_of_more_threads_than_cpus_ends() {
        for threads in [2, 3, 40] {
            let trips = round_trips(threads, &[], 5).expect("threads");
            assert!(trips.len() == 5 && trips.iter().all(|&cycles| cycles > 0), "{threads}: {trips:?}");
        }
    }

    #[test]
    fn a_thread_alone_is_an_error() {
        assert!(matches!(round_trips(1, &[], 3), Err(Error::Alone)));
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error() {
        assert!(round_trips(2, &[CpuSet::MAX_CPU - 1], 1).is_err());
    }
}
