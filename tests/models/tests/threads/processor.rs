//! A processor: serves what comes, and runs workers.

use crate::machine::{Cpu, LIMIT, Machine, TALLY, count, result};
use crate::scenario::{Delay, Program, Set};
use guest_stub::rendezvous::{self, Delivery, Generation, Served, Step, Target, Work};
use std::cell::Cell;
use std::hint;
use std::panic::resume_unwind;
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::Duration;

/// A processor as its own thread sees it.
pub(crate) struct Processor<'a> {
    pub(crate) machine: &'static Machine,
    pub(crate) number: usize,
    pub(crate) program: &'a Program,
    /// IRQL: interrupts wait.
    pub(crate) masked: Cell<bool>,
    /// NMIs wait for the end of one.
    in_nmi: Cell<bool>,
    in_worker: Cell<bool>,
    /// The generation whose worker ran here last.
    last: Cell<u32>,
    /// Who gets an interrupt of this processor's last call during its next one.
    pub(crate) late: Cell<Option<(Set, Delivery)>>,
}

/// The panic of a processor that stops since another one has failed.
pub(crate) struct SomebodyElse;

impl<'a> Processor<'a> {
    pub(crate) fn new(machine: &'static Machine, number: usize, program: &'a Program, last: Generation) -> Self {
        Self {
            machine,
            number,
            program,
            masked: Cell::new(false),
            in_nmi: Cell::new(false),
            in_worker: Cell::new(false),
            last: Cell::new(last.get()),
            late: Cell::new(None),
        }
    }

    pub(crate) fn cpu(&self) -> &'static Cpu {
        &self.machine.cpus[self.number]
    }

    pub(crate) fn interrupt(&self, targets: Set, by: Delivery) {
        targets.members().for_each(|target| self.machine.cpus[target].interrupt(by));
    }

    /// A turn of a loop that waits for somebody else.
    pub(crate) fn idle(&self) {
        self.serve_what_comes();
        if self.machine.failed.load(Ordering::Relaxed) {
            resume_unwind(Box::new(SomebodyElse));
        }
        assert!(self.machine.started.elapsed() < LIMIT, "processor {} hangs", self.number);
        thread::yield_now();
    }

    /// Waits until `holds`, and no longer than up to that time.
    pub(crate) fn wait(&self, until: Duration, holds: impl Fn() -> bool) -> bool {
        while !holds() {
            if self.machine.started.elapsed() >= until {
                return false;
            }
            self.idle();
        }
        true
    }

    fn serve_what_comes(&self) {
        if self.program.interrupts_first {
            self.take(Delivery::Interrupt);
        }
        self.take(Delivery::Nmi);
        self.take(Delivery::Interrupt);
    }

    /// Takes an interrupt, if there is one and it is not held back.
    pub(crate) fn take(&self, by: Delivery) -> Option<Served> {
        let held_back = self.in_nmi.get() || by == Delivery::Interrupt && self.masked.get();
        let bit = self.cpu().bit(by);
        if held_back || !bit.load(Ordering::Relaxed) {
            return None;
        }
        // The bit first: an interrupt that comes from here on has a turn of its own.
        bit.swap(false, Ordering::Relaxed);
        fence(Ordering::Acquire);
        let masked = self.masked.replace(true);
        self.in_nmi.set(by == Delivery::Nmi);
        let served = rendezvous::serve(&Handler { processor: self, by }, &self.cpu().slot, by);
        self.in_nmi.set(false);
        self.masked.set(masked);
        match served {
            Served::Ran(generation, returned) => assert_eq!(returned, result(self.number, generation.get())),
            Served::Late => count(&TALLY.came_late),
            Served::Nothing => count(&TALLY.came_for_nothing),
        }
        Some(served)
    }

    /// Runs the worker.
    pub(crate) fn work(&self, work: Work) -> usize {
        let number = self.number;
        assert!(!self.in_worker.replace(true), "two workers at once on {number}");
        let initiator = &self.machine.cpus[work.argument];
        let order = &initiator.order;
        let generation = order.generation.load(Ordering::Relaxed);
        assert_eq!(generation as usize, work.worker, "the worker on {number} reads its own call's data");
        let participants = Set::from_bits(order.participants.load(Ordering::Relaxed));
        assert!(participants.contains(number), "{number} does not take part in {generation}");
        assert_eq!(participants.members().count(), work.participants as usize);
        for other in participants.members() {
            let ready = self.machine.cpus[other].ready.load(Ordering::Relaxed);
            assert_eq!(ready, generation, "{other} had not arrived when {number} began");
        }
        let after = generation.wrapping_sub(self.last.replace(generation)).cast_signed();
        assert!(after > 0, "{generation} ran on {number} after a later one");
        assert_eq!(order.ran[number].fetch_add(1, Ordering::Relaxed), 0, "{generation} ran twice on {number}");
        self.cpu().output.store(generation, Ordering::Relaxed);
        if order.meets.load(Ordering::Relaxed) {
            let met = initiator.packet.meet(1, |everybody| self.wait(LIMIT, everybody));
            assert!(met, "the workers of {generation} do not meet");
            for other in participants.members() {
                let output = self.machine.cpus[other].output.load(Ordering::Relaxed);
                assert_eq!(output, generation, "{other} met {number} without its work");
            }
        }
        self.in_worker.set(false);
        result(number, generation)
    }
}

/// A target's side.
struct Handler<'a> {
    processor: &'a Processor<'a>,
    by: Delivery,
}

impl Target for Handler<'_> {
    fn raise(&self) {
        self.processor.masked.set(true);
    }

    fn wait(&self, deadline: u64, holds: impl Fn() -> bool) -> bool {
        self.processor.wait(Duration::from_nanos(deadline), holds)
    }

    fn work(&self, work: Work) -> usize {
        self.processor.work(work)
    }

    fn reached(&self, step: Step) {
        let processor = self.processor;
        if step == Step::Claimed {
            let cpu = processor.cpu();
            let generation = cpu.slot.served(self.by).get();
            // An NMI of an earlier call, which comes late, takes nobody's readiness for this one away.
            if generation.wrapping_sub(cpu.ready.load(Ordering::Relaxed)).cast_signed() > 0 {
                cpu.ready.store(generation, Ordering::Relaxed);
            }
        }
        let (delay, nmi) = processor.program.steps[step as usize];
        match delay {
            Delay::None => {}
            Delay::Spins(spins) => (0..spins).for_each(|_| hint::spin_loop()),
            Delay::Yields(yields) => (0..yields).for_each(|_| thread::yield_now()),
        }
        if nmi {
            processor.take(Delivery::Nmi);
        }
    }
}
