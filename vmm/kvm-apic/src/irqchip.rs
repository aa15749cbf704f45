//! What the vCPUs of a machine share: the broadcast service, the thread that watches their timers, the clock.

use crate::error::{Error, Operation};
use crate::kick::Kick;
use crate::timers::Timers;
use crate::tsc;
use kipi_apic::ipi::Ipi;
use kipi_apic::service::{Fetch, Sent, Service};
use kipi_apic::timer::{Deadline, Now};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// How the broadcast service gets at a vCPU's thread.
#[derive(Debug)]
pub(crate) struct ThreadKick(pub(crate) Arc<Kick>);

impl Fetch for ThreadKick {
    fn interrupt(&self) {
        self.0.interrupt();
    }

    fn wake(&self) {
        self.0.unpark();
    }
}

/// What the vCPUs share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) service: Service<ThreadKick>,
    pub(crate) timers: Timers,
    /// This KVM leaves the guest when CR8 is lowered (KVM_EXIT_SET_TPR). One that emulates CPL0 may not.
    exits_on_tpr: AtomicBool,
    tsc_khz: u64,
    started: Instant,
}

impl Shared {
    /// For the vCPUs that `service` serves, whose guest's TSC runs at `tsc_khz`.
    pub(crate) fn new(service: Service<ThreadKick>, tsc_khz: u64) -> Self {
        let timers = Timers::new(service.vcpus());
        Self { service, timers, exits_on_tpr: AtomicBool::new(false), tsc_khz, started: Instant::now() }
    }

    /// Whether some vCPU has left the guest since CR8 was lowered.
    pub(crate) fn exits_on_tpr(&self) -> bool {
        // Relaxed: a vCPU that does not know it yet looks at CR8 once more than it needs to.
        self.exits_on_tpr.load(Ordering::Relaxed)
    }

    /// A vCPU has left the guest since CR8 was lowered.
    pub(crate) fn saw_tpr_exit(&self) {
        self.exits_on_tpr.store(true, Ordering::Relaxed);
    }

    /// What time it is for a vCPU whose TSC is the host's plus `tsc_offset`.
    pub(crate) fn now(&self, tsc_offset: i64) -> Now {
        Now { ns: self.ns(), tsc: tsc::host().wrapping_add_signed(tsc_offset) }
    }

    /// When a timer expires, on the clock of [`Now::ns`]. As the two clocks may differ, that may be too early: the deadline is
    /// then set again.
    pub(crate) fn expiry_ns(&self, deadline: Deadline, now: Now) -> u64 {
        match deadline {
            Deadline::Ns(ns) => ns,
            Deadline::Tsc(tsc) => {
                let cycles = u128::from(tsc.saturating_sub(now.tsc));
                let ns = cycles * 1_000_000 / u128::from(self.tsc_khz.max(1));
                now.ns.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX))
            }
        }
    }

    /// Since it was made.
    fn ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A machine's local APICs, for whoever sends them interrupts from outside. The thread that watches their timers ends with it.
#[derive(Debug)]
pub struct Irqchip {
    pub(crate) shared: Arc<Shared>,
    timers: Mutex<Option<JoinHandle<()>>>,
}

impl Irqchip {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, Error> {
        /// In bytes: the thread's loop is shallow.
        const STACK: usize = 256 << 10;
        let life = shared.clone();
        let thread = Builder::new().name("apic-timers".to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || life.timers.run(&life.service, || life.ns()));
        let thread = thread.map_err(Error::of_io(Operation::StartTimers))?;
        Ok(Self { shared, timers: Mutex::new(Some(thread)) })
    }

    /// Sends an interrupt message from outside of all vCPUs, as a device does: see [`Service::send`]. From any thread.
    pub fn send(&self, ipi: Ipi) -> Sent {
        self.shared.service.send(None, ipi)
    }

    /// Messages that no local APIC here has a use for ([`Service::ignored`]).
    pub fn ignored(&self) -> u64 {
        self.shared.service.ignored()
    }

    /// Ends the timers' thread. Whether it has panicked.
    pub fn end(&self) -> bool {
        self.shared.timers.stop();
        let thread = self.timers.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.is_some_and(|thread| thread.join().is_err())
    }
}

impl Drop for Irqchip {
    fn drop(&mut self) {
        self.end();
    }
}
