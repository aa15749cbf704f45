//! What the vCPUs of a machine share whose local APICs are in user space: the broadcast service, the timers' thread, the clock.

use super::apic_timers::ApicTimers;
use super::kick::Kick;
use crate::events::clock::host_tsc;
use kipi_apic::service::{Fetch, Service};
use kipi_apic::timer::{Deadline, Now};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How the broadcast service gets at a vCPU's thread.
#[derive(Debug)]
pub struct ThreadKick(pub Arc<Kick>);

impl Fetch for ThreadKick {
    fn interrupt(&self) {
        self.0.interrupt();
    }

    fn wake(&self) {
        self.0.unpark();
    }
}

/// What all local APICs in user space of a machine share.
#[derive(Debug)]
pub struct UserIrqchip {
    /// The broadcast service.
    pub service: Service<ThreadKick>,
    pub(super) timers: ApicTimers,
    /// This KVM leaves the guest when CR8 is lowered (KVM_EXIT_SET_TPR). One that emulates CPL0 may not.
    exits_on_tpr: AtomicBool,
    tsc_khz: u64,
    started: Instant,
}

impl UserIrqchip {
    /// For the vCPUs that `service` serves, whose guest's TSC runs at `tsc_khz`.
    pub fn new(service: Service<ThreadKick>, tsc_khz: u64) -> Self {
        let timers = ApicTimers::new(service.vcpus());
        Self { service, timers, exits_on_tpr: AtomicBool::new(false), tsc_khz, started: Instant::now() }
    }

    /// The life of the thread that kicks vCPUs when their timers expire, until [`UserIrqchip::stop_timers`].
    pub fn run_timers(&self) {
        self.timers.run(&self.service, || self.ns());
    }

    /// Ends [`UserIrqchip::run_timers`].
    pub fn stop_timers(&self) {
        self.timers.stop();
    }

    /// Whether some vCPU has left the guest since CR8 was lowered.
    pub(super) fn exits_on_tpr(&self) -> bool {
        // Relaxed: a vCPU that does not know it yet looks at CR8 once more than it needs to.
        self.exits_on_tpr.load(Ordering::Relaxed)
    }

    /// A vCPU has left the guest since CR8 was lowered.
    pub(super) fn saw_tpr_exit(&self) {
        self.exits_on_tpr.store(true, Ordering::Relaxed);
    }

    /// What time it is for a vCPU whose TSC is the host's plus `tsc_offset`.
    pub(super) fn now(&self, tsc_offset: i64) -> Now {
        Now { ns: self.ns(), tsc: host_tsc().wrapping_add_signed(tsc_offset) }
    }

    /// When a timer expires, on the clock of [`Now::ns`]. As the two clocks may differ, that may be too early: the deadline is
    /// then set again.
    pub(super) fn expiry_ns(&self, deadline: Deadline, now: Now) -> u64 {
        match deadline {
            Deadline::Ns(ns) => ns,
            Deadline::Tsc(tsc) => {
                let cycles = u128::from(tsc.saturating_sub(now.tsc));
                let ns = cycles * 1_000_000 / u128::from(self.tsc_khz.max(1));
                now.ns.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX))
            }
        }
    }

    /// Since the irqchip was made.
    fn ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
