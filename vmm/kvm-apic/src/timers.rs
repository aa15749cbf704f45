//! Kicks vCPUs out of the guest, or out of HLT, when the timers of their local APICs in user space expire: one thread for all
//! of a machine.
//!
//! Before a vCPU's thread goes into the guest or to sleep, it sets the deadline at which it has to look at its timer, says
//! where it goes ([`kipi_apic::presence`]), and then looks whether the deadline has passed. One that passes before that look
//! is seen by it; one that passes later finds a thread to kick.

use kipi_apic::service::{Fetch, Service};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

/// There is no deadline.
const NEVER: u64 = u64::MAX;
/// The shortest sleep between two looks at the clock, which is Linux's own timer slack. A guest that asks for a shorter interval
/// gets this one.
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);

/// The deadlines of a machine's vCPUs, in ns of a clock that the machine has chosen.
#[derive(Debug)]
pub(crate) struct Timers {
    deadlines: Box<[AtomicU64]>,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Timers {
    pub(crate) fn new(vcpus: usize) -> Self {
        let deadlines = (0..vcpus).map(|_| AtomicU64::new(NEVER)).collect();
        Self { deadlines, stop: AtomicBool::new(false), thread: OnceLock::new() }
    }

    /// vCPU thread: sets its deadline, in place of an earlier one.
    pub(crate) fn set(&self, vcpu: usize, ns: u64) {
        // The last value of all means none. Release pairs with the load of `kick_due`.
        self.deadlines[vcpu].store(ns.min(NEVER - 1), Ordering::Release);
        self.unpark();
    }

    /// vCPU thread: takes its deadline back.
    pub(crate) fn clear(&self, vcpu: usize) {
        // Relaxed: a kick that is on its way costs one look at the timer too many.
        self.deadlines[vcpu].store(NEVER, Ordering::Relaxed);
    }

    /// vCPU thread: whether its deadline has passed, or none was set.
    pub(crate) fn has_expired(&self, vcpu: usize) -> bool {
        // SeqCst: this look comes after the thread has said where it goes (`presence`). Pairs with the exchange in `kick_due`.
        self.deadlines[vcpu].load(Ordering::SeqCst) == NEVER
    }

    /// Ends [`Timers::run`].
    pub(crate) fn stop(&self) {
        // Release pairs with the load in `run`.
        self.stop.store(true, Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        // Pairs with the fence in `run`: either this sees the thread, or the thread what was stored before.
        fence(Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The thread's whole life: kicks each vCPU whose deadline has passed.
    pub(crate) fn run<F: Fetch>(&self, service: &Service<F>, now: impl Fn() -> u64) {
        // A machine has one such thread: nobody was there before.
        let _ = self.thread.set(std::thread::current());
        // Pairs with the fence in `unpark`.
        fence(Ordering::SeqCst);
        while !self.stop.load(Ordering::Acquire) {
            match self.kick_due(service, now()) {
                // `set` unparks this thread: a deadline that was set after `kick_due` ends the park at once.
                NEVER => std::thread::park(),
                next => std::thread::park_timeout(Duration::from_nanos(next.saturating_sub(now())).max(SHORTEST_SLEEP)),
            }
        }
    }

    /// Kicks the vCPUs whose deadline has passed, and returns the next deadline.
    fn kick_due<F: Fetch>(&self, service: &Service<F>, now: u64) -> u64 {
        let mut next = NEVER;
        for (vcpu, deadline) in self.deadlines.iter().enumerate() {
            let due = deadline.load(Ordering::Acquire);
            if due > now {
                next = next.min(due);
                continue;
            }
            // Fails if the vCPU has set another one meanwhile, which is looked at next time: `set` unparks. SeqCst: the kick
            // reads where the vCPU is after this. Pairs with the load in `has_expired`.
            if deadline.compare_exchange(due, NEVER, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                service.kick(vcpu);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kipi_apic::presence::Place;
    use std::sync::atomic::AtomicU32;

    /// Counts how often it was kicked: out of the guest, and out of its sleep in units of 256.
    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Counted {
        fn count(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Fetch for Counted {
        fn interrupt(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn wake(&self) {
            self.0.fetch_add(0x100, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_vcpu_whose_deadline_has_passed_is_kicked_from_where_it_is() {
        let service = Service::new((0..3).map(|id| (id, Counted::default())));
        let timers = Timers::new(3);
        assert_eq!(timers.kick_due(&service, 1000), NEVER);
        timers.set(0, 100);
        timers.set(1, 200);
        timers.set(2, 300);
        let due = |(): &mut ()| timers.kick_due(&service, 200);
        let in_guest = |(): &mut ()| service.inbox(1).presence().go(Place::Guest, &mut (), |()| true, due);
        let next = service.inbox(0).presence().go(Place::Parked, &mut (), |()| true, in_guest).flatten();
        assert_eq!(next, Some(300));
        let kicks = || [0, 1, 2].map(|vcpu| service.fetch(vcpu).count());
        assert_eq!(kicks(), [0x100, 1, 0]);
        assert_eq!([0, 1, 2].map(|vcpu| timers.has_expired(vcpu)), [true, true, false]);
        assert_eq!(timers.kick_due(&service, 300), NEVER);
        assert_eq!(kicks(), [0x100, 1, 0], "outside: it looks by itself");
    }

    #[test]
    fn a_deadline_that_is_set_while_the_thread_sleeps_is_kept_and_the_thread_ends() {
        let service = Service::new([(0, Counted::default())]);
        let timers = Timers::new(1);
        let start = std::time::Instant::now();
        let now = || u64::try_from(start.elapsed().as_nanos()).expect("a short test");
        std::thread::scope(|scope| {
            scope.spawn(|| timers.run(&service, now));
            std::thread::sleep(Duration::from_millis(20));
            timers.set(0, now() + 1_000_000);
            while !timers.has_expired(0) {
                std::thread::yield_now();
            }
            timers.stop();
        });
    }
}
