//! A window whose initiator sleeps while it waits, and wakes its targets.

use super::steps::InWindow;
use super::{CanPark, Participants, Sends, Window};
use crate::call::parked::Parking;
use crate::cpu::tsc;
use crate::processor::Record;
use guest_stub::abi::Sample;
use guest_stub::rendezvous::{self, Generation, Initiator, Outcome, Packet, Sleeper, Slot, Targets, Until};

/// Participants that sleep while they wait for each other.
pub(crate) struct Parked<'a, P>(pub(crate) &'a P);

impl<P: CanPark> Participants for Parked<'_, P> {
    fn members(&self) -> impl Iterator<Item = usize> {
        self.0.members()
    }

    fn owned(&self) -> impl Iterator<Item = &'static Slot> {
        self.0.owned()
    }

    fn targets(&self) -> &impl Targets {
        self.0.targets()
    }

    fn include_initiator(&self) -> bool {
        self.0.include_initiator()
    }

    fn wait_for_own_interrupt(&self) -> bool {
        self.0.wait_for_own_interrupt()
    }

    fn prepare(&self) {
        self.0.prepare();
    }

    fn run(&self, window: &Window, now: u64, generation: Generation, record: Record) -> Outcome {
        let mut targets = 0;
        self.targets().all(|_| {
            targets += 1;
            true
        });
        window.packet.count_targets(generation, targets);
        self.0.run_parked(window, now, generation, record)
    }

    /// Wakes those who sleep until the call is over, and those who have slept at the gate of one that was given up.
    fn closed(&self, window: &Window) {
        Parking(window.private).wake(window.packet.gate());
    }
}

impl Window {
    /// As [`Window::run`], with an initiator that sleeps.
    pub(crate) fn run_parked(
        &self,
        generation: Generation,
        record: Record,
        targets: impl Targets,
        sends: impl Sends,
    ) -> Outcome {
        let waits_for_itself = sends.reach_initiator();
        let in_window = Sleeping(InWindow { window: self, generation, record, sends });
        let (outcome, _) = rendezvous::call(in_window, self.packet, generation, targets);
        self.end(record, waits_for_itself);
        outcome
    }
}

/// A window's steps, but for those that wait and that others wait for.
#[derive(Clone)]
struct Sleeping<'a, S>(InWindow<'a, S>);

impl<S: Sends> Initiator for Sleeping<'_, S> {
    fn send(&self) {
        self.0.send();
    }

    fn send_again(&self) {
        self.0.send_again();
    }

    fn takes_own_interrupt(&self, until: Until) -> bool {
        self.0.takes_own_interrupt(until)
    }

    fn raise(&self) {
        self.0.raise();
    }

    fn lower(&self) {
        self.0.lower();
    }

    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool {
        self.0.wait(until, holds)
    }

    fn wait_for_arrivals(&self, until: Until, packet: &Packet, generation: Generation, _: &impl Targets) -> bool {
        let sleeper = Parking(self.0.window.private);
        packet.arrivals().sleep_until_complete(generation, self.0.limit(until), &sleeper)
    }

    fn wait_for_ends(&self, packet: &Packet, generation: Generation, _: &impl Targets) -> bool {
        let sleeper = Parking(self.0.window.private);
        packet.ends().sleep_until_complete(generation, self.0.limit(Until::Deadline), &sleeper)
    }

    /// The targets are woken before this processor runs its own worker: they need longer to begin.
    fn start(&self, packet: &Packet, generation: Generation) -> bool {
        if !packet.go(generation) {
            return false;
        }
        let InWindow { window, record, .. } = &self.0;
        Parking(window.private).wake(packet.gate());
        let w = tsc::stamp_after_loads().value();
        let result = (window.worker)(window.argument) as u64;
        let x = tsc::stamp_after_loads().value();
        record.set(Sample { w, x, result, ..record.get() });
        true
    }
}
