//! What a conformance test wants to happen at a vCPU's exits: stops, and device interrupts.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Orders for all vCPU threads of a machine, and what became of them. Orders are given while the guest waits for a
/// command, which is what makes them visible.
#[derive(Debug, Default)]
pub struct Hooks {
    /// The step to stop at, plus one; zero: none. The upper half is the vCPU.
    stop_at: AtomicU64,
    stop_ms: AtomicU32,
    stops: AtomicU32,
    /// The vector that each observed exit's vCPU is sent; zero: none.
    device_vector: AtomicU32,
    device_interrupts: AtomicU32,
    merged: AtomicU32,
    /// How long each vCPU is to stay out of the guest when it leaves it next, ms.
    stalls: Box<[AtomicU32]>,
}

/// What became of the orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Stops at the step.
    pub stops: u32,
    /// Device interrupts that were raised.
    pub device_interrupts: u32,
    /// Of those, the ones that met an earlier one in the IRR: the two are served as one.
    pub merged: u32,
}

impl Hooks {
    /// No orders, for a machine of so many vCPUs.
    pub fn for_vcpus(vcpus: usize) -> Self {
        Self { stalls: (0..vcpus).map(|_| AtomicU32::new(0)).collect(), ..Self::default() }
    }

    /// Keeps `vcpu` out of the guest for `time` when it leaves it next. A kick has to follow.
    pub fn stall(&self, vcpu: usize, time: Duration) {
        if let Some(stall) = self.stalls.get(vcpu) {
            stall.store(u32::try_from(time.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    /// vCPU thread, kicked: how long to stay out.
    pub(super) fn stalled(&self, vcpu: usize) -> Duration {
        let ms = self.stalls.get(vcpu).map_or(0, |stall| stall.swap(0, Ordering::Relaxed));
        Duration::from_millis(ms.into())
    }

    /// Stops `vcpu` for `time` whenever it has taken `step`.
    pub fn stop_at(&self, vcpu: u32, step: u32, time: Duration) {
        self.stop_ms.store(u32::try_from(time.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.stop_at.store(u64::from(vcpu) << 32 | (u64::from(step) + 1), Ordering::Relaxed);
    }

    /// Sends a vCPU an interrupt on `vector` at each of its observed exits.
    pub fn interrupt_at_observed_exits(&self, vector: u8) {
        self.device_vector.store(vector.into(), Ordering::Relaxed);
    }

    /// Takes all orders back.
    pub fn clear(&self) -> Done {
        self.stop_at.store(0, Ordering::Relaxed);
        self.device_vector.store(0, Ordering::Relaxed);
        Done {
            stops: self.stops.swap(0, Ordering::Relaxed),
            device_interrupts: self.device_interrupts.swap(0, Ordering::Relaxed),
            merged: self.merged.swap(0, Ordering::Relaxed),
        }
    }

    /// vCPU thread: how long to stop at `step`.
    pub(super) fn stop(&self, vcpu: usize, step: u32) -> Option<Duration> {
        let wanted = self.stop_at.load(Ordering::Relaxed);
        let here = (vcpu as u64) << 32 | (u64::from(step) + 1);
        (wanted == here).then(|| {
            self.stops.fetch_add(1, Ordering::Relaxed);
            Duration::from_millis(self.stop_ms.load(Ordering::Relaxed).into())
        })
    }

    /// vCPU thread: the vector to send itself at an observed exit.
    pub(super) fn device_vector(&self) -> Option<u8> {
        u8::try_from(self.device_vector.load(Ordering::Relaxed)).ok().filter(|&vector| vector != 0)
    }

    /// vCPU thread: has raised a device interrupt; `merged` with one that was pending.
    pub(super) fn count_device_interrupt(&self, merged: bool) {
        self.device_interrupts.fetch_add(1, Ordering::Relaxed);
        self.merged.fetch_add(merged.into(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_for_one_vcpu_at_one_step() {
        let hooks = Hooks::default();
        assert_eq!(hooks.stop(0, 0), None);
        hooks.stop_at(2, 0, Duration::from_millis(50));
        assert_eq!((hooks.stop(2, 1), hooks.stop(1, 0)), (None, None));
        assert_eq!(hooks.stop(2, 0), Some(Duration::from_millis(50)));
        assert_eq!(hooks.clear(), Done { stops: 1, ..Done::default() });
        assert_eq!(hooks.stop(2, 0), None);
    }

    #[test]
    fn a_stall_happens_once() {
        let hooks = Hooks::for_vcpus(2);
        hooks.stall(1, Duration::from_millis(3));
        hooks.stall(7, Duration::from_millis(3));
        assert_eq!([hooks.stalled(0), hooks.stalled(1), hooks.stalled(1)].map(|it| it.as_millis()), [0, 3, 0]);
    }

    #[test]
    fn every_observed_exit_gets_its_interrupt() {
        let hooks = Hooks::default();
        assert_eq!(hooks.device_vector(), None);
        hooks.interrupt_at_observed_exits(0x51);
        assert_eq!([hooks.device_vector(), hooks.device_vector()], [Some(0x51); 2]);
        hooks.count_device_interrupt(false);
        hooks.count_device_interrupt(true);
        assert_eq!(hooks.clear(), Done { device_interrupts: 2, merged: 1, ..Done::default() });
        assert_eq!(hooks.device_vector(), None);
    }
}
