//! What a conformance test wants to happen at a vCPU's exits: stops, stalls, and device interrupts. The vCPU's loop asks in one
//! place (`TestHooks::in_place_of`); without orders that costs one load, at the exits that an order may be for.

use super::next::Next;
use crate::events::exit::{Exit, ExitKind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Orders for all vCPU threads of a machine, and what became of them. Orders are given while the guest waits for a
/// command, which is what makes them visible.
#[derive(Debug, Default)]
pub struct TestHooks {
    /// The step to stop at, plus one; zero: none. The upper half is the vCPU.
    stop_at: AtomicU64,
    stop_ms: AtomicU32,
    stops: AtomicU32,
    /// The vector that each observed exit's vCPU is sent; zero: none.
    device_vector: AtomicU32,
    device_interrupts: AtomicU32,
    merged: AtomicU32,
    /// How many more messages of each vCPU are sent before all others are lost; [`EVERY_MESSAGE`]: none is.
    messages: Box<[AtomicU32]>,
    /// How many more wake-ups of parked vCPUs are lost.
    lost_unparks: AtomicU32,
    /// How long each vCPU is to stay out of the guest when it leaves it next, ms.
    stalls: Box<[AtomicU32]>,
}

/// No message is lost.
const EVERY_MESSAGE: u32 = u32::MAX;

/// What became of the orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HookCounts {
    /// Stops at the step.
    pub stops: u32,
    /// Device interrupts that were raised.
    pub device_interrupts: u32,
    /// Of those, the ones that met an earlier one in the IRR: the two are served as one.
    pub merged: u32,
}

impl TestHooks {
    /// No orders, for a machine of so many vCPUs.
    pub fn for_vcpus(vcpus: usize) -> Self {
        let for_each = |order| (0..vcpus).map(|_| AtomicU32::new(order)).collect();
        Self { messages: for_each(EVERY_MESSAGE), stalls: for_each(0), ..Self::default() }
    }

    /// Keeps `vcpu` out of the guest for `time` when it leaves it next. A kick has to follow.
    pub fn stall(&self, vcpu: usize, time: Duration) {
        if let Some(stall) = self.stalls.get(vcpu) {
            stall.store(u32::try_from(time.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
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

    /// Sends `sent` more of the interrupt messages that the guest asks for on `vcpu`, and loses all others.
    pub fn lose_messages(&self, vcpu: usize, sent: u32) {
        if let Some(messages) = self.messages.get(vcpu) {
            messages.store(sent, Ordering::Relaxed);
        }
    }

    /// Loses so many of the wake-ups of parked vCPUs that come next.
    pub fn lose_unparks(&self, count: u32) {
        self.lost_unparks.store(count, Ordering::Relaxed);
    }

    /// Takes all orders back.
    pub fn clear(&self) -> HookCounts {
        self.messages.iter().for_each(|messages| messages.store(EVERY_MESSAGE, Ordering::Relaxed));
        self.stop_at.store(0, Ordering::Relaxed);
        self.device_vector.store(0, Ordering::Relaxed);
        self.lost_unparks.store(0, Ordering::Relaxed);
        HookCounts {
            stops: self.stops.swap(0, Ordering::Relaxed),
            device_interrupts: self.device_interrupts.swap(0, Ordering::Relaxed),
            merged: self.merged.swap(0, Ordering::Relaxed),
        }
    }

    /// vCPU thread: what it does in place of `next`, which follows `exit`. Nothing but a plain entry, a message and a wake-up is replaced.
    #[inline]
    pub(super) fn in_place_of(&self, next: Next, vcpu: usize, exit: Exit) -> Next {
        if matches!(next, Next::Send(..)) && self.loses_message(vcpu) {
            return Next::Enter;
        }
        if matches!(next, Next::Unpark(_)) && self.loses_unpark() {
            return Next::Enter;
        }
        if next != Next::Enter {
            return next;
        }
        let ordered = match exit.kind {
            ExitKind::Observe => self.device_vector().map(Next::InterruptItself),
            ExitKind::Step => self.stop(vcpu, exit.payload).map(Next::StayOut),
            ExitKind::Interrupted | ExitKind::Again => self.take_stall(vcpu).map(Next::StayOut),
            _ => None,
        };
        ordered.unwrap_or(next)
    }

    /// vCPU thread: has raised the interrupt of [`Next::InterruptItself`]; `was_pending`: on a vector that was in its IRR.
    pub(super) fn count_device_interrupt(&self, was_pending: bool) {
        self.device_interrupts.fetch_add(1, Ordering::Relaxed);
        self.merged.fetch_add(was_pending.into(), Ordering::Relaxed);
    }

    fn device_vector(&self) -> Option<u8> {
        u8::try_from(self.device_vector.load(Ordering::Relaxed)).ok().filter(|&vector| vector != 0)
    }

    fn stop(&self, vcpu: usize, step: u64) -> Option<Duration> {
        let here = (vcpu as u64) << 32 | (step + 1);
        (self.stop_at.load(Ordering::Relaxed) == here).then(|| {
            self.stops.fetch_add(1, Ordering::Relaxed);
            Duration::from_millis(self.stop_ms.load(Ordering::Relaxed).into())
        })
    }

    fn loses_message(&self, vcpu: usize) -> bool {
        let Some(messages) = self.messages.get(vcpu) else { return false };
        match messages.load(Ordering::Relaxed) {
            EVERY_MESSAGE => false,
            0 => true,
            // This vCPU's thread alone changes it while the guest runs.
            left => {
                messages.store(left - 1, Ordering::Relaxed);
                false
            }
        }
    }

    fn loses_unpark(&self) -> bool {
        let lose = |left: u32| left.checked_sub(1);
        self.lost_unparks.load(Ordering::Relaxed) != 0
            && self.lost_unparks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lose).is_ok()
    }

    fn take_stall(&self, vcpu: usize) -> Option<Duration> {
        let ms = self.stalls.get(vcpu).map_or(0, |stall| stall.swap(0, Ordering::Relaxed));
        (ms != 0).then(|| Duration::from_millis(ms.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_stub::msi::To;

    const SOME_TIME: Duration = Duration::from_millis(50);

    fn after(hooks: &TestHooks, vcpu: usize, exit: impl Into<Exit>) -> Next {
        hooks.in_place_of(Next::Enter, vcpu, exit.into())
    }

    #[test]
    fn a_stop_is_for_one_vcpu_at_one_step() {
        let hooks = TestHooks::for_vcpus(3);
        let step = |vcpu, step| after(&hooks, vcpu, Exit::with(ExitKind::Step, step));
        assert_eq!(step(0, 0), Next::Enter);
        hooks.stop_at(2, 0, SOME_TIME);
        assert_eq!((step(2, 1), step(1, 0)), (Next::Enter, Next::Enter));
        assert_eq!(step(2, 0), Next::StayOut(SOME_TIME));
        assert_eq!(hooks.clear(), HookCounts { stops: 1, ..HookCounts::default() });
        assert_eq!(step(2, 0), Next::Enter);
    }

    #[test]
    fn a_stall_happens_once() {
        let hooks = TestHooks::for_vcpus(2);
        hooks.stall(1, SOME_TIME);
        hooks.stall(7, SOME_TIME);
        let kicked = |vcpu| after(&hooks, vcpu, ExitKind::Interrupted);
        assert_eq!([kicked(0), kicked(1), kicked(1)], [Next::Enter, Next::StayOut(SOME_TIME), Next::Enter]);
    }

    #[test]
    fn every_observed_exit_gets_its_interrupt() {
        let hooks = TestHooks::for_vcpus(1);
        let observed = || after(&hooks, 0, Exit::with(ExitKind::Observe, 4));
        assert_eq!(observed(), Next::Enter);
        hooks.interrupt_at_observed_exits(0x51);
        assert_eq!([observed(), observed()], [Next::InterruptItself(0x51); 2]);
        hooks.count_device_interrupt(false);
        hooks.count_device_interrupt(true);
        assert_eq!(hooks.clear(), HookCounts { device_interrupts: 2, merged: 1, ..HookCounts::default() });
        assert_eq!(observed(), Next::Enter);
    }

    #[test]
    fn messages_are_lost_from_the_one_that_was_asked_for() {
        let hooks = TestHooks::for_vcpus(2);
        let send = Next::Send(0x51, To::One(0));
        let message = |vcpu| hooks.in_place_of(send, vcpu, ExitKind::Message.into());
        assert_eq!(message(1), send);
        hooks.lose_messages(1, 1);
        assert_eq!([message(0), message(1), message(1), message(1)], [send, send, Next::Enter, Next::Enter]);
        hooks.clear();
        assert_eq!(message(1), send);
    }

    #[test]
    fn as_many_wake_ups_are_lost_as_were_asked_for() {
        let hooks = TestHooks::for_vcpus(1);
        let wake = Next::Unpark(0x10);
        let after = || hooks.in_place_of(wake, 0, ExitKind::Unpark.into());
        assert_eq!(after(), wake);
        hooks.lose_unparks(2);
        assert_eq!([after(), after(), after()], [Next::Enter, Next::Enter, wake]);
    }

    #[test]
    fn what_the_machine_needs_is_not_replaced() {
        let hooks = TestHooks::for_vcpus(1);
        hooks.stall(0, SOME_TIME);
        assert_eq!(hooks.in_place_of(Next::End, 0, ExitKind::Interrupted.into()), Next::End);
        assert_eq!(after(&hooks, 0, ExitKind::Interrupted), Next::StayOut(SOME_TIME), "the stall is still to come");
    }
}
