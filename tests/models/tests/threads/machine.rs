//! Processors that are threads: each has a local APIC of two bits, serves what comes, and makes its calls. What the
//! broadcast call promises is asserted where it can be seen.

use crate::scenario::{CPUS, Call, Delay, Program, Scenario, Set};
use guest_stub::rendezvous::{
    self, Delivery, Generation, Generations, Initiator, Outcome, Packet, Served, Slot, Step, Target, Targets, Until,
    Work,
};
use std::array;
use std::cell::Cell;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// A call that is not given up would hang for so long, on however busy a machine, only if it hung for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// A scenario that takes longer hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// What an initiator says about its call, and what it learns of it. All that is not the algorithm's is relaxed.
#[derive(Default)]
struct Order {
    generation: AtomicU32,
    participants: AtomicU32,
    meets: AtomicBool,
    ran: [AtomicU32; CPUS],
}

#[derive(Default)]
struct Cpu {
    slot: Slot,
    packet: Packet,
    irr: AtomicBool,
    nmi: AtomicBool,
    order: Order,
    /// The generation that this processor was last ready for.
    ready: AtomicU32,
    /// The generation that its worker last wrote.
    output: AtomicU32,
}

impl Cpu {
    fn bit(&self, by: Delivery) -> &AtomicBool {
        match by {
            Delivery::Interrupt => &self.irr,
            Delivery::Nmi => &self.nmi,
        }
    }

    fn interrupt(&self, by: Delivery) {
        self.bit(by).swap(true, Ordering::Relaxed);
    }
}

struct Machine {
    cpus: Vec<Cpu>,
    generations: Generations,
    started: Instant,
    /// Processors that have calls to make.
    calling: AtomicUsize,
    failed: AtomicBool,
}

/// What has happened so far, in all scenarios: that the random ones are worth their time.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) done: AtomicUsize,
    pub(crate) aborted: AtomicUsize,
    pub(crate) overstayed: AtomicUsize,
    pub(crate) resent: AtomicUsize,
    pub(crate) came_late: AtomicUsize,
    pub(crate) came_for_nothing: AtomicUsize,
}

pub(crate) static TALLY: Tally = Tally {
    done: AtomicUsize::new(0),
    aborted: AtomicUsize::new(0),
    overstayed: AtomicUsize::new(0),
    resent: AtomicUsize::new(0),
    came_late: AtomicUsize::new(0),
    came_for_nothing: AtomicUsize::new(0),
};

/// Runs a scenario until it has made that many calls.
pub(crate) fn run(scenario: &Scenario, calls: usize) {
    let per_round: usize = scenario.programs.iter().map(|program| program.calls.len()).sum();
    let rounds = calls.div_ceil(per_round);
    let cpus = scenario.programs.len();
    let machine = Box::into_raw(Box::new(Machine {
        cpus: (0..cpus).map(|_| Cpu { ready: AtomicU32::new(scenario.last.get()), ..Cpu::default() }).collect(),
        generations: Generations::new(scenario.last),
        started: Instant::now(),
        calling: AtomicUsize::new(cpus),
        failed: AtomicBool::new(false),
    }));
    // SAFETY: just allocated, and not freed before its last use.
    let shared: &'static Machine = unsafe { &*machine };
    let panic = thread::scope(|scope| {
        let processors: Vec<_> = scenario
            .programs
            .iter()
            .enumerate()
            .map(|(number, program)| {
                scope.spawn(move || Processor::new(shared, number, program, scenario.last).run(rounds))
            })
            .collect();
        let outcomes = processors.into_iter().map(ScopedJoinHandle::join);
        // Who failed first says why; the others, that somebody has.
        outcomes.filter_map(Result::err).max_by_key(|panic| !panic.is::<SomebodyElse>())
    });
    // SAFETY: from a box; every processor's thread has ended. Not leaked: there may be many scenarios.
    drop(unsafe { Box::from_raw(machine) });
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// The panic of a processor that stops since another one has failed.
struct SomebodyElse;

fn count(event: &AtomicUsize) {
    event.fetch_add(1, Ordering::Relaxed);
}

/// What the worker of `generation` returns on `cpu`.
const fn result(cpu: usize, generation: u32) -> usize {
    generation as usize + cpu + 1
}

/// A processor as its own thread sees it.
struct Processor<'a> {
    machine: &'static Machine,
    number: usize,
    program: &'a Program,
    /// IRQL: interrupts wait.
    masked: Cell<bool>,
    /// NMIs wait for the end of one.
    in_nmi: Cell<bool>,
    in_worker: Cell<bool>,
    /// The generation whose worker ran here last.
    last: Cell<u32>,
    /// Who gets an interrupt of this processor's last call during its next one.
    late: Cell<Option<(Set, Delivery)>>,
}

impl<'a> Processor<'a> {
    fn new(machine: &'static Machine, number: usize, program: &'a Program, last: Generation) -> Self {
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

    fn cpu(&self) -> &'static Cpu {
        &self.machine.cpus[self.number]
    }

    fn interrupt(&self, targets: Set, by: Delivery) {
        targets.members().for_each(|target| self.machine.cpus[target].interrupt(by));
    }

    fn run(&self, rounds: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for call in (0..rounds).flat_map(|_| &self.program.calls) {
                Broadcast::new(self, *call).make();
            }
            if let Some((late, by)) = self.late.take() {
                self.interrupt(late, by);
            }
            self.machine.calling.fetch_sub(1, Ordering::AcqRel);
            while self.machine.calling.load(Ordering::Acquire) != 0 {
                self.idle();
            }
            // What is still on its way comes now.
            for by in [Delivery::Interrupt, Delivery::Nmi] {
                let served = self.take(by);
                assert!(!matches!(served, Some(Served::Ran(..))), "{served:?} when all calls are over");
            }
            assert_ran_as_ordered(self.cpu());
        }));
        if let Err(panic) = outcome {
            self.machine.failed.store(true, Ordering::Relaxed);
            resume_unwind(panic);
        }
    }

    /// A turn of a loop that waits for somebody else.
    fn idle(&self) {
        self.serve_what_comes();
        if self.machine.failed.load(Ordering::Relaxed) {
            resume_unwind(Box::new(SomebodyElse));
        }
        assert!(self.machine.started.elapsed() < LIMIT, "processor {} hangs", self.number);
        thread::yield_now();
    }

    /// Waits until `holds`, and no longer than up to that time.
    fn wait(&self, until: Duration, holds: impl Fn() -> bool) -> bool {
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
    fn take(&self, by: Delivery) -> Option<Served> {
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
    fn work(&self, work: Work) -> usize {
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

/// Nobody runs a call's worker when the call is over.
fn assert_ran_as_ordered(initiator: &Cpu) {
    let order = &initiator.order;
    let participants = Set::from_bits(order.participants.load(Ordering::Relaxed));
    let ran: [_; CPUS] = array::from_fn(|cpu| order.ran[cpu].load(Ordering::Relaxed));
    let expected: [_; CPUS] = array::from_fn(|cpu| u32::from(participants.contains(cpu)));
    assert!(ran == expected || ran == [0; CPUS], "{ran:?} of {expected:?}");
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

/// An initiator's side: one call.
struct Broadcast<'a> {
    processor: &'a Processor<'a>,
    call: Call,
    participants: Set,
    resend: Cell<Duration>,
    deadline: Cell<Duration>,
    sends: Cell<usize>,
    result: Cell<usize>,
}

impl<'a> Broadcast<'a> {
    fn new(processor: &'a Processor<'a>, call: Call) -> Self {
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
    fn make(&self) {
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

impl Initiator for Broadcast<'_> {
    fn send(&self) {
        fence(Ordering::SeqCst);
        let Self { processor, call, .. } = *self;
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

    fn work(&self) {
        let processor = self.processor;
        if self.participants.contains(processor.number) {
            self.result.set(processor.work(processor.cpu().packet.work()));
        }
    }
}

impl Targets for Broadcast<'_> {
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        let machine = self.processor.machine;
        self.targets().members().all(|target| holds(&machine.cpus[target].slot))
    }
}
