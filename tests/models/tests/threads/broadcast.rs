//! A call: how a processor makes it, and that it keeps what it promises.

use crate::machine::{LIMIT, TALLY, assert_ran_as_ordered, count, result};
use crate::processor::Processor;
use crate::scenario::{Call, Set};
use guest_stub::rendezvous::{self, Delivery, Generation, Initiator, Outcome, Packet, Slot, Targets, Until, Work};
use std::cell::Cell;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

/// A call that is not given up would hang for so long, on however busy a machine, only if it hung for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// An initiator's side: one call.
pub(crate) struct Broadcast<'a> {
    processor: &'a Processor<'a>,
    call: Call,
    participants: Set,
    resend: Cell<Duration>,
    deadline: Cell<Duration>,
    sends: Cell<usize>,
    result: Cell<usize>,
}

impl<'a> Broadcast<'a> {
    pub(crate) fn new(processor: &'a Processor<'a>, call: Call) -> Self {
        let participants = call.participants.set(processor.number, processor.machine.cpus.len());
        Self {
            processor,
            call,
            participants,
            resend: Cell::new(Duration::ZERO),
            deadline: Cell::new(Duration::ZERO),
            sends: Cell::new(0),
            result: Cell::new(0),
        }
    }

    fn targets(&self) -> Set {
        self.participants.without(self.processor.number)
    }

    /// From the acquisition of the slots to what comes after their release.
    pub(crate) fn make(&self) {
        let Self { processor, call, participants, .. } = *self;
        let (number, cpus) = (processor.number, &processor.machine.cpus);
        if let Some((cpu, by)) = call.kick {
            cpus[cpu % cpus.len()].interrupt(by);
        }
        let slots = || participants.with(number).members().map(|cpu| &cpus[cpu].slot);
        rendezvous::acquire(slots(), u32::try_from(number).expect("few processors"), || processor.idle());

        let generation = self.publish();
        let packet = &processor.cpu().packet;
        let (outcome, resent) = rendezvous::call(self, packet, generation, self);
        self.assert_outcome(generation, outcome, resent);
        rendezvous::release(slots());
        self.lower();

        let late = self.targets().and(call.late.or(call.twice));
        if call.much_later {
            processor.late.set(Some((late, call.by)));
        } else {
            processor.interrupt(late, call.by);
        }
    }

    fn publish(&self) -> Generation {
        let Self { processor, call, participants, .. } = *self;
        let (machine, cpu) = (processor.machine, processor.cpu());
        assert_ran_as_ordered(cpu);
        let generation = machine.generations.issue();
        cpu.order.generation.store(generation.get(), Ordering::Relaxed);
        cpu.order.participants.store(participants.bits(), Ordering::Relaxed);
        cpu.order.meets.store(call.meets, Ordering::Relaxed);
        cpu.order.ran.iter().for_each(|ran| ran.store(0, Ordering::Relaxed));
        cpu.ready.store(generation.get(), Ordering::Relaxed);

        let now = machine.started.elapsed();
        self.resend.set(now + call.resend_after);
        self.deadline.set(now + call.hasty.unwrap_or(PATIENCE));
        let work = Work {
            worker: generation.get() as usize,
            argument: processor.number,
            participants: participants.bits().count_ones(),
            deadline: u64::try_from(self.deadline.get().as_nanos()).expect("less than centuries"),
        };
        cpu.packet.publish(generation, work);
        cpu.slot.set_packet(&cpu.packet);
        self.targets().members().for_each(|it| machine.cpus[it].slot.request(generation, &cpu.packet, call.by));
        generation
    }

    /// GO for all, or ABORT for all; and with GO, everybody's results.
    fn assert_outcome(&self, generation: Generation, outcome: Outcome, resent: bool) {
        let Self { processor, call, participants, .. } = *self;
        let cpus = &processor.machine.cpus;
        let order = &processor.cpu().order;
        assert!(outcome == Outcome::Done || call.hasty.is_some(), "{generation:?} {outcome:?} {call:?}");
        assert_eq!(self.sends.get(), 1 + usize::from(resent), "{call:?}");
        count(match outcome {
            Outcome::Done => &TALLY.done,
            Outcome::Aborted => &TALLY.aborted,
            Outcome::Overstayed => &TALLY.overstayed,
        });
        TALLY.resent.fetch_add(resent.into(), Ordering::Relaxed);
        if outcome == Outcome::Overstayed {
            let done = |target: usize| cpus[target].slot.is_done(generation);
            assert!(self.targets().members().all(|target| processor.wait(LIMIT, || done(target))));
        }
        for (number, cpu) in cpus.iter().enumerate() {
            let ran = order.ran[number].load(Ordering::Relaxed);
            let runs = participants.contains(number) && outcome != Outcome::Aborted;
            assert_eq!(ran, u32::from(runs), "on {number}, {generation:?} {outcome:?} {call:?}");
            if !runs {
                continue;
            }
            let itself = number == processor.number;
            let returned = if itself { self.result.get() } else { cpu.slot.result() };
            assert_eq!(returned, result(number, generation.get()), "of {number}");
            assert_eq!(cpu.output.load(Ordering::Relaxed), generation.get(), "of {number}");
        }
    }
}

impl Initiator for &Broadcast<'_> {
    fn send(&self) {
        fence(Ordering::SeqCst);
        let Broadcast { processor, call, .. } = **self;
        self.sends.set(self.sends.get() + 1);
        let lost = if self.sends.get() == 1 { call.lost } else { Set::NOBODY };
        processor.interrupt(self.targets().and_not(lost.or(call.late)), call.by);
        if call.itself {
            processor.cpu().interrupt(Delivery::Interrupt);
        }
        if let Some((late, by)) = processor.late.take() {
            processor.interrupt(late, by);
        }
    }

    fn takes_own_interrupt(&self, until: Until) -> bool {
        let processor = self.processor;
        let taken = || !processor.cpu().irr.load(Ordering::Relaxed);
        !self.call.itself || Initiator::wait(self, until, taken)
    }

    fn raise(&self) {
        self.processor.masked.set(true);
    }

    fn lower(&self) {
        self.processor.masked.set(false);
    }

    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool {
        let until = match until {
            Until::Resend => &self.resend,
            Until::Deadline => &self.deadline,
        };
        self.processor.wait(until.get(), holds)
    }

    fn start(&self, packet: &Packet, generation: Generation) -> bool {
        let processor = self.processor;
        let is_open = packet.go(generation);
        if is_open && self.participants.contains(processor.number) {
            self.result.set(processor.work(packet.work()));
        }
        is_open
    }
}

impl Targets for &Broadcast<'_> {
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        let machine = self.processor.machine;
        self.targets().members().all(|target| holds(&machine.cpus[target].slot))
    }
}
