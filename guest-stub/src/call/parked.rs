//! A target's side of a call whose participants sleep while they wait: outside of the guest, at the VMM's parking ports.

use super::{check_restored, target};
use crate::cpu::frame::Frame;
use crate::cpu::{flags, irql, port, tsc};
use crate::halting;
use crate::interrupts;
use crate::processor::{self, Private};
use crate::states;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_stub::abi::{PORT_PARK, PORT_UNPARK};
use guest_stub::rendezvous::{self, Delivery, Generation, Packet, Served, Sleeper, Step, Target, Work};

interrupts::entries! { parked_ipi_entry => interrupted }
interrupts::nmi_entries! { parked_nmi_entry => nmi }

/// This processor as one that sleeps. Each sleep, and each wake-up of others, is an exit.
#[derive(Clone, Copy)]
pub(crate) struct Parking(pub(crate) &'static Private);

impl Sleeper for Parking {
    fn sleep(&self, word: &AtomicU32, value: u32) {
        self.0.user_page().parked_while().store(value, Ordering::Relaxed);
        port::write(PORT_PARK, address(word));
    }

    fn wake(&self, word: &AtomicU32) {
        port::write(PORT_UNPARK, address(word));
    }

    fn is_late(&self, deadline: u64) -> bool {
        tsc::now() > deadline
    }
}

/// The image, which packets lie in, is below four gigabytes.
fn address(word: &AtomicU32) -> u32 {
    &raw const *word as u32
}

/// The broadcast vector's entry.
extern "sysv64" fn interrupted(private: &'static Private) {
    let a = tsc::stamp().value();
    let before = irql::current();
    let frame = interrupts::frame(private);
    match serve(private, Delivery::Interrupt, halting::is_near_halt(frame.rip)) {
        (Served::Ran(generation, result), stamps) => {
            record(private, generation, a, stamps, result, states::evidence(frame));
        }
        (Served::Late, _) => {}
        (Served::Nothing, _) => {
            private.a.store(a, Ordering::Relaxed);
            super::entry::nothing_to_do(private);
            return;
        }
    }
    interrupts::leave_and_lower(private, before);
}

extern "sysv64" fn nmi(frame: &mut Frame) {
    let a = tsc::stamp().value();
    let private = processor::current();
    let before = irql::current();
    match serve(private, Delivery::Nmi, halting::is_near_halt(frame.rip)) {
        (Served::Ran(generation, result), stamps) => {
            record(private, generation, a, stamps, result, states::evidence(frame));
        }
        (Served::Late, _) => {}
        (Served::Nothing, _) => super::nmi::unrequested(private, frame),
    }
    irql::set(before);
    halting::skip_halt(frame);
}

/// As [`polling::serve_announced`](super::polling::serve_announced).
pub(super) fn serve_announced(private: &'static Private) {
    let a = tsc::stamp().value();
    let before = irql::current();
    match serve(private, Delivery::Interrupt, false) {
        (Served::Ran(generation, result), stamps) => record(private, generation, a, stamps, result, 0),
        (Served::Late, _) => {}
        (Served::Nothing, _) => return,
    }
    irql::set(before);
    // SAFETY: they were on before.
    unsafe { flags::enable_interrupts() };
}

fn record(private: &Private, generation: Generation, a: u64, [w, x]: [u64; 2], result: usize, evidence: u32) {
    private.record_served(generation, [a, w, x], result, evidence);
}

/// Serves what this processor is asked for, with the stamps around the worker. IRQL and IF are left as the worker had them, if there
/// was a call. One that was not `halted` sleeps until the call is over for all: back in its state it would keep a CPU busy that the
/// others need to get there.
fn serve(private: &'static Private, by: Delivery, halted: bool) -> (Served, [u64; 2]) {
    serve_in_steps(private, by, halted, |_| ())
}

/// As [`serve`], with a function to be called after each step.
pub(crate) fn serve_in_steps(
    private: &'static Private,
    by: Delivery,
    halted: bool,
    reached: impl Fn(Step),
) -> (Served, [u64; 2]) {
    let sleeping = Sleeping { serving: target::Serving::new(private, reached), private, by };
    let served = rendezvous::serve(&sleeping, private.slot, by);
    match served {
        Served::Ran(generation, _) => {
            check_restored();
            if let Some(packet) = private.slot.packet().filter(|_| !halted) {
                packet.sleep_until_closed(generation, &Parking(private));
            }
        }
        Served::Late => private.count_late(),
        Served::Nothing => {}
    }
    (served, sleeping.serving.stamps())
}

/// A target that sleeps while it waits, and wakes whoever waits for it.
struct Sleeping<F> {
    serving: target::Serving<F>,
    private: &'static Private,
    by: Delivery,
}

impl<F> Sleeping<F> {
    /// What is being served: the request has been claimed.
    fn call(&self) -> Option<(&'static Packet, Generation)> {
        Some((self.private.slot.packet()?, self.private.slot.served(self.by)))
    }
}

impl<F: Fn(Step)> Target for Sleeping<F> {
    fn raise(&self) {
        self.serving.raise();
    }

    fn wait(&self, _: u64, _: impl Fn() -> bool) -> bool {
        self.call().is_some_and(|(packet, generation)| packet.sleep_until_decided(generation, &Parking(self.private)))
    }

    fn work(&self, work: Work) -> usize {
        self.serving.work(work)
    }

    fn reached(&self, step: Step) {
        self.serving.reached(step);
        let come = |gathering: fn(&Packet) -> &rendezvous::Gathering| {
            if let Some((packet, generation)) = self.call() {
                gathering(packet).come_and_wake(generation, &Parking(self.private));
            }
        };
        match step {
            Step::Arrived => come(Packet::arrivals),
            Step::Completed => come(Packet::ends),
            Step::Entered | Step::Claimed | Step::Released | Step::Worked => {}
        }
    }
}
