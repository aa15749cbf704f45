//! Gets vCPUs out of the guest, or out of HLT, when their local APICs' timers expire: one thread for all of a machine.
//!
//! A vCPU's thread says when it has to look at its timer next, before it goes to the guest or to sleep, and looks whether the
//! alarm has gone off when it has said where it goes ([`kipi_apic::presence`]): one that goes off before that is seen there,
//! and one that goes off later finds whom to fetch.

use kipi_apic::service::{Fetch, Service};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// No alarm is set.
const NEVER: u64 = u64::MAX;
/// Between two looks at the clock: what a guest asks for at shorter intervals comes at these. As Linux's own timer slack.
const REST: Duration = Duration::from_micros(50);

/// The alarms of a machine's vCPUs. Times are ns of a clock that the machine has chosen.
#[derive(Debug)]
pub(super) struct Alarms {
    deadlines: Box<[AtomicU64]>,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Alarms {
    pub(super) fn new(vcpus: usize) -> Self {
        let deadlines = (0..vcpus).map(|_| AtomicU64::new(NEVER)).collect();
        Self { deadlines, stop: AtomicBool::new(false), thread: OnceLock::new() }
    }

    /// The vCPU's thread: sets its alarm, in place of an earlier one.
    pub(super) fn set(&self, vcpu: usize, ns: u64) {
        // The last moment of all is no alarm. Release pairs with the look of `run`.
        self.deadlines[vcpu].store(ns.min(NEVER - 1), Ordering::Release);
        self.unpark();
    }

    /// The vCPU's thread: takes its alarm back.
    pub(super) fn clear(&self, vcpu: usize) {
        self.deadlines[vcpu].store(NEVER, Ordering::Relaxed);
    }

    /// The vCPU's thread: whether its alarm has gone off, or none was set.
    pub(super) fn is_over(&self, vcpu: usize) -> bool {
        // SeqCst: the look that follows what the vCPU says of itself (`presence`); pairs with the exchange in `fetch_due`.
        self.deadlines[vcpu].load(Ordering::SeqCst) == NEVER
    }

    /// Ends [`Alarms::run`].
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The thread's whole life: fetches each vCPU whose time has come.
    pub(super) fn run<F: Fetch>(&self, service: &Service<F>, now: impl Fn() -> u64) {
        // A second thread finds itself in nobody's way, and the first one's handle in place.
        let _ = self.thread.set(std::thread::current());
        while !self.stop.load(Ordering::Acquire) {
            match self.fetch_due(service, now()) {
                // Whoever sets an alarm unparks this thread: one that was set after the look ends the park at once.
                NEVER => std::thread::park(),
                next => std::thread::park_timeout(Duration::from_nanos(next.saturating_sub(now())).max(REST)),
            }
        }
    }

    /// Fetches those whose time has come, and says when the next one's will.
    fn fetch_due<F: Fetch>(&self, service: &Service<F>, now: u64) -> u64 {
        let mut next = NEVER;
        for (vcpu, deadline) in self.deadlines.iter().enumerate() {
            let due = deadline.load(Ordering::Acquire);
            if due > now {
                next = next.min(due);
                continue;
            }
            // Fails if the vCPU has set another one meanwhile, which is looked at next time: `set` unparks. SeqCst: where the
            // vCPU is, is looked at after it.
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

    /// Counts how often it was fetched: from the guest, and from its sleep in units of 256.
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
    fn whose_time_has_come_is_fetched_from_where_it_is() {
        let service = Service::new((0..3).map(|id| (id, Counted::default())));
        let alarms = Alarms::new(3);
        assert_eq!(alarms.fetch_due(&service, 1000), NEVER);
        alarms.set(0, 100);
        alarms.set(1, 200);
        alarms.set(2, 300);
        let due = |(): &mut ()| alarms.fetch_due(&service, 200);
        let in_guest = |(): &mut ()| service.inbox(1).presence().go(Place::Guest, &mut (), |()| true, due);
        let next = service.inbox(0).presence().go(Place::Parked, &mut (), |()| true, in_guest).flatten();
        assert_eq!(next, Some(300));
        let fetched = || [0, 1, 2].map(|vcpu| service.fetch(vcpu).count());
        assert_eq!(fetched(), [0x100, 1, 0]);
        assert_eq!([0, 1, 2].map(|vcpu| alarms.is_over(vcpu)), [true, true, false]);
        assert_eq!(alarms.fetch_due(&service, 300), NEVER);
        assert_eq!(fetched(), [0x100, 1, 0], "outside: it looks by itself");
    }

    #[test]
    fn an_alarm_that_is_set_late_still_goes_off_and_the_thread_ends() {
        let service = Service::new([(0, Counted::default())]);
        let alarms = Alarms::new(1);
        let start = std::time::Instant::now();
        let now = || u64::try_from(start.elapsed().as_nanos()).expect("a short test");
        std::thread::scope(|scope| {
            scope.spawn(|| alarms.run(&service, now));
            std::thread::sleep(Duration::from_millis(20));
            alarms.set(0, now() + 1_000_000);
            while !alarms.is_over(0) {
                std::thread::yield_now();
            }
            alarms.stop();
        });
    }
}
