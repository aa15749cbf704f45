use super::rendezvous::{
    self, Delivery, Generation, Generations, Initiator, Outcome, Packet, Served, Slot, Step, Target, Targets, Until,
    Work,
};
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::thread;
use std::cell::Cell;

/// What is wrong with the machine, or with how the algorithm is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// An interrupt may overtake what its sender stored before.
    NoFence,
    /// The IRR bit is cleared when its interrupt has been served, and with it what came meanwhile.
    ClearedAfterServing,
    /// Whoever waits for a slot serves no interrupts.
    DeafWaiter,
    /// The initiator with the highest number acquires slots in falling order.
    FallingOrder,
}

/// How often a waiting processor looks before its time is up. `None`: until it sees what it waits for.
pub(crate) type Patience = Option<u64>;

/// A broadcast call to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) initiator: usize,
    pub(crate) participants: &'static [usize],
    pub(crate) by: Delivery,
    /// The first interrupt gets lost.
    pub(crate) lost: bool,
    /// Every interrupt comes twice.
    pub(crate) twice: bool,
    pub(crate) until_resend: Patience,
    pub(crate) until_deadline: Patience,
    pub(crate) on_the_target: Patience,
}

impl Plan {
    /// A call in whose way nothing comes.
    pub(crate) const fn new(initiator: usize, participants: &'static [usize]) -> Self {
        Self {
            initiator,
            participants,
            by: Delivery::Interrupt,
            lost: false,
            twice: false,
            until_resend: None,
            until_deadline: None,
            on_the_target: None,
        }
    }
}

/// How a call went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) initiator: usize,
    pub(crate) generation: Generation,
    pub(crate) participants: &'static [usize],
    pub(crate) outcome: Outcome,
    pub(crate) resent: bool,
    /// Interrupts, over all targets.
    pub(crate) sent: usize,
    /// What the workers returned, and what they wrote; `None`: missing when the call ended.
    pub(crate) results: Vec<Option<(usize, u32)>>,
}

/// What an initiator says about its call, for the workers to read.
struct Order {
    generation: u32,
    participants: &'static [usize],
}

/// One processor. Its local APIC is a bit for the interrupt, and one for the NMI.
///
/// The model checker finds every access to the cells that is not ordered by the algorithm.
struct Cpu {
    slot: Slot,
    packet: Packet,
    irr: AtomicBool,
    nmi: AtomicBool,
    /// Written by this processor as an initiator, read by the workers.
    order: UnsafeCell<Order>,
    /// The generation that this processor was last ready for; read by every worker.
    ready: UnsafeCell<u32>,
    /// Written by this processor's worker, read by the initiator.
    output: UnsafeCell<u32>,
    /// The calls, by generation and initiator, whose worker ran here.
    ran: UnsafeCell<Vec<(u32, usize)>>,
    /// The generation that this processor, as a target, last gave up.
    gave_up: UnsafeCell<u32>,
    /// Written by whoever owns the slot.
    owned: UnsafeCell<usize>,
}

impl Cpu {
    fn new(last: u32) -> Self {
        Self {
            slot: Slot::new(),
            packet: Packet::new(),
            irr: AtomicBool::new(false),
            nmi: AtomicBool::new(false),
            order: UnsafeCell::new(Order { generation: 0, participants: &[] }),
            ready: UnsafeCell::new(last),
            output: UnsafeCell::new(0),
            ran: UnsafeCell::new(Vec::new()),
            gave_up: UnsafeCell::new(0),
            owned: UnsafeCell::new(0),
        }
    }
}

/// Reads a cell. The model checker fails if somebody else may write it meanwhile.
fn read<T, R>(cell: &UnsafeCell<T>, look: impl FnOnce(&T) -> R) -> R {
    // SAFETY: models run one thread at a time, and `look` makes no call to the checker, which could switch threads.
    cell.with(|value| look(unsafe { &*value }))
}

/// Writes a cell. The model checker fails if somebody else may access it meanwhile.
fn write<T>(cell: &UnsafeCell<T>, change: impl FnOnce(&mut T)) {
    // SAFETY: models run one thread at a time, and `change` makes no call to the checker, which could switch threads.
    cell.with_mut(|value| change(unsafe { &mut *value }));
}

/// Somebody's turns in a loop that ends when somebody else has done something.
struct Waiting(Cell<u64>);

impl Waiting {
    const fn new() -> Self {
        Self(Cell::new(0))
    }

    /// Lets the others run. Two that wait for a third could take turns for ever, and the checker would look at each
    /// number of turns. To look in vain changes nothing, so a schedule with a few such turns stands for those with
    /// more: from there on this run goes to its end without alternatives.
    fn turn(&self) {
        const TURNS: u64 = 1;
        self.0.set(self.0.get() + 1);
        if self.0.get() > TURNS {
            loom::skip_branch();
        }
        thread::yield_now();
    }
}

/// Polls until `holds`, for as long as patience lasts.
fn poll(patience: Patience, holds: impl Fn() -> bool) -> bool {
    let waiting = Waiting::new();
    while !holds() {
        if patience == Some(waiting.0.get()) {
            return false;
        }
        waiting.turn();
    }
    true
}

/// What the worker of `generation` returns on `cpu`.
const fn result(cpu: usize, generation: u32) -> usize {
    generation as usize + cpu + 1
}

/// What a model does: starts the processors' threads, waits for their end, and returns the calls that were made.
pub(crate) type Scenario = fn(&'static Machine) -> Vec<Report>;

/// Some processors.
pub(crate) struct Machine {
    cpus: Vec<Cpu>,
    generations: Generations,
    fault: Fault,
}

/// Looks at every interleaving, with at most `preemptions` involuntary switches, of a scenario on `cpus` processors
/// with one thread each. What holds for every scenario is asserted here: a processor runs the worker of each call that
/// came to a GO once and in the order of their generations, if it takes part, and never otherwise.
pub(crate) fn check(preemptions: usize, cpus: usize, fault: Fault, scenario: Scenario) {
    check_from(0, preemptions, cpus, fault, scenario);
}

/// The same; the last generation before was `last`.
pub(crate) fn check_from(last: u32, preemptions: usize, cpus: usize, fault: Fault, scenario: Scenario) {
    let mut builder = Builder::new();
    // What the environment asks for, if that is more.
    builder.preemption_bound = builder.preemption_bound.max(Some(preemptions));
    builder.check(move || {
        let machine = Box::into_raw(Box::new(Machine {
            cpus: (0..cpus).map(|_| Cpu::new(last)).collect(),
            generations: Generations::new(Generation::from_stored(last)),
            fault,
        }));
        // SAFETY: just allocated, and not freed before its last use.
        let reports = scenario(unsafe { &*machine });
        // SAFETY: from a box; the scenario's threads have ended. Not leaked: there may be millions of runs.
        let machine = unsafe { Box::from_raw(machine) };
        let since_start = |generation: u32| generation.wrapping_sub(last);
        for (number, cpu) in machine.cpus.iter().enumerate() {
            let mut expected: Vec<_> = reports
                .iter()
                .filter(|report| report.outcome != Outcome::Aborted && report.participants.contains(&number))
                .map(|report| (report.generation.get(), report.initiator))
                .collect();
            expected.sort_by_key(|(generation, _)| since_start(*generation));
            read(&cpu.ran, |ran| assert_eq!(*ran, expected, "the workers that ran on {number}: {reports:?}"));
        }
    });
}

impl Machine {
    /// Makes one call, from the acquisition of the slots to their release.
    pub(crate) fn broadcast(&'static self, plan: Plan) -> Report {
        let Plan { initiator, participants, .. } = plan;
        let mut involved: Vec<_> =
            (0..self.cpus.len()).filter(|it| *it == initiator || participants.contains(it)).collect();
        if self.fault == Fault::FallingOrder && initiator + 1 == self.cpus.len() {
            involved.reverse();
        }
        let slots = || involved.iter().map(|cpu| &self.cpus[*cpu].slot);
        let number = u32::try_from(initiator).expect("few processors");
        let waiting = Waiting::new();
        rendezvous::acquire(slots(), number, || {
            if self.fault != Fault::DeafWaiter {
                self.interrupt(initiator);
            }
            waiting.turn();
        });
        for cpu in &involved {
            write(&self.cpus[*cpu].owned, |owner| *owner = initiator);
        }

        let cpu = &self.cpus[initiator];
        let generation = self.generations.issue();
        write(&cpu.order, |order| *order = Order { generation: generation.get(), participants });
        write(&cpu.ready, |ready| *ready = generation.get());
        let work = Work {
            worker: generation.get() as usize,
            argument: initiator,
            participants: u32::try_from(participants.len()).expect("few processors"),
            deadline: plan.on_the_target.unwrap_or(u64::MAX),
        };
        cpu.packet.publish(generation, work);
        cpu.slot.set_packet(&cpu.packet);
        let caller =
            Caller { machine: self, plan, generation, result: Cell::new(0), sends: Cell::new(0), sent: Cell::new(0) };
        for target in caller.targets() {
            self.cpus[target].slot.request(generation, &cpu.packet, plan.by);
        }
        let (outcome, resent) = rendezvous::call(&caller, &cpu.packet, generation, &caller);

        let results = participants.iter().map(|it| self.result_of(*it, &caller, outcome)).collect();
        if outcome == Outcome::Overstayed {
            let done = |target: usize| self.cpus[target].slot.is_done(generation);
            caller.targets().for_each(|target| assert!(poll(None, || done(target)), "it ends some day"));
        }
        rendezvous::release(slots());
        Report { initiator, generation, participants, outcome, resent, sent: caller.sent.get(), results }
    }

    /// What a participant's worker has returned and written, if it has.
    fn result_of(&self, number: usize, caller: &Caller, outcome: Outcome) -> Option<(usize, u32)> {
        let cpu = &self.cpus[number];
        let generation = caller.generation;
        let itself = number == caller.plan.initiator;
        let done = if itself { outcome != Outcome::Aborted } else { cpu.slot.is_done(generation) };
        done.then(|| {
            let returned = if itself { caller.result.get() } else { cpu.slot.result() };
            assert_eq!(returned, result(number, generation.get()), "a result of this call");
            (returned, read(&cpu.output, |output| *output))
        })
    }

    /// Takes one interrupt, if there is one.
    pub(crate) fn interrupt(&'static self, cpu: usize) -> Option<Served> {
        self.take(cpu, Delivery::Interrupt, None)
    }

    fn take(&'static self, number: usize, by: Delivery, nmi_after: Option<Step>) -> Option<Served> {
        let cpu = &self.cpus[number];
        let bit = match by {
            Delivery::Interrupt => &cpu.irr,
            Delivery::Nmi => &cpu.nmi,
        };
        if !bit.load(Ordering::Relaxed) {
            return None;
        }
        let cleared_first = self.fault != Fault::ClearedAfterServing;
        if cleared_first {
            bit.swap(false, Ordering::Relaxed);
        }
        // With the sender's fence, this is what the machine promises: an interrupt comes after what its sender stored.
        fence(Ordering::Acquire);
        let served = self.serve_with_nmi(number, by, nmi_after);
        if !cleared_first {
            bit.swap(false, Ordering::Relaxed);
        }
        Some(served)
    }

    /// Serves an interrupt, whether one was sent or not.
    pub(crate) fn serve(&'static self, cpu: usize, by: Delivery) -> Served {
        self.serve_with_nmi(cpu, by, None)
    }

    fn serve_with_nmi(&'static self, cpu: usize, by: Delivery, nmi_after: Option<Step>) -> Served {
        rendezvous::serve(&Handler { machine: self, cpu, by, nmi_after }, &self.cpus[cpu].slot, by)
    }

    /// Takes interrupts, each of which must bring a call, until the workers of `calls` calls have run on this processor.
    pub(crate) fn run_calls(&'static self, cpu: usize, calls: usize) {
        let waiting = Waiting::new();
        while read(&self.cpus[cpu].ran, Vec::len) < calls {
            match self.interrupt(cpu) {
                None => waiting.turn(),
                Some(Served::Ran(..)) => {}
                Some(served) => panic!("an interrupt brought {served:?} instead of a call"),
            }
        }
    }

    /// Takes interrupts, whatever they bring, until the worker of `generation` has run on this processor.
    pub(crate) fn run_until(&'static self, cpu: usize, generation: u32) {
        self.run_until_by(cpu, generation, Delivery::Interrupt);
    }

    /// The same by interrupts or by NMIs.
    pub(crate) fn run_until_by(&'static self, cpu: usize, generation: u32, by: Delivery) {
        self.run_until_one(cpu, by, |(last, _)| last == generation);
    }

    /// Takes interrupts, whatever they bring, until the worker of a call by `initiator` has run on this processor.
    pub(crate) fn run_until_called_by(&'static self, cpu: usize, initiator: usize) {
        self.run_until_one(cpu, Delivery::Interrupt, |(_, last)| last == initiator);
    }

    fn run_until_one(&'static self, cpu: usize, by: Delivery, holds: impl Fn((u32, usize)) -> bool) {
        let waiting = Waiting::new();
        while !read(&self.cpus[cpu].ran, |ran| ran.last().is_some_and(|last| holds(*last))) {
            if self.take(cpu, by, None).is_none() {
                waiting.turn();
            }
        }
    }

    /// Takes one interrupt, which will come.
    pub(crate) fn take_one(&'static self, cpu: usize, by: Delivery) -> Served {
        self.take_one_with_nmi(cpu, by, None)
    }

    /// Takes one interrupt, which will come, and an NMI if there is one when that step of the interrupt is done.
    pub(crate) fn take_one_with_nmi(&'static self, cpu: usize, by: Delivery, nmi_after: Option<Step>) -> Served {
        let waiting = Waiting::new();
        loop {
            if let Some(served) = self.take(cpu, by, nmi_after) {
                return served;
            }
            waiting.turn();
        }
    }

    /// What the initiator of a call that its only target has given up sees of it.
    pub(crate) fn assert_gave_up(&self, cpu: usize, generation: Generation) {
        read(&self.cpus[cpu].gave_up, |gave_up| assert_eq!(*gave_up, generation.get()));
    }

    /// Opens a call of processor 0 whose workers meet.
    pub(crate) fn publish_phases(&self) {
        let participants = u32::try_from(self.cpus.len()).expect("few processors");
        self.cpus[0]
            .packet
            .publish(self.generations.issue(), Work { worker: 0, argument: 0, participants, deadline: 0 });
    }

    /// A worker that writes, meets the others, reads what they have written, and so on.
    pub(crate) fn phases(&self, cpu: usize, phases: u32) {
        for phase in 1..=phases {
            write(&self.cpus[cpu].output, |output| *output = phase);
            for (number, met) in [2 * phase - 1, 2 * phase].into_iter().enumerate() {
                assert!(self.cpus[0].packet.meet(met, |everybody| poll(None, everybody)));
                if number == 0 {
                    self.cpus.iter().for_each(|other| read(&other.output, |output| assert_eq!(*output, phase)));
                }
            }
        }
    }

    /// Runs the worker.
    fn work(&'static self, number: usize, work: Work) -> usize {
        let participants = read(&self.cpus[work.argument].order, |order| {
            assert_eq!(order.generation as usize, work.worker, "the worker reads its own call's data");
            order.participants
        });
        assert!(participants.contains(&number), "{number} does not take part");
        assert_eq!(participants.len(), work.participants as usize);
        let generation = u32::try_from(work.worker).expect("a generation");
        for participant in participants {
            let ready = read(&self.cpus[*participant].ready, |ready| *ready);
            assert_eq!(ready, generation, "{participant} had not arrived when {number} began");
        }
        let cpu = &self.cpus[number];
        write(&cpu.output, |output| *output = generation);
        write(&cpu.ran, |ran| ran.push((generation, work.argument)));
        result(number, generation)
    }
}

/// The initiator's side of one call.
struct Caller {
    machine: &'static Machine,
    plan: Plan,
    generation: Generation,
    result: Cell<usize>,
    sends: Cell<usize>,
    sent: Cell<usize>,
}

impl Caller {
    fn targets(&self) -> impl Iterator<Item = usize> {
        self.plan.participants.iter().copied().filter(|it| *it != self.plan.initiator)
    }
}

impl Initiator for Caller {
    fn send(&self) {
        if self.machine.fault != Fault::NoFence {
            fence(Ordering::Release);
        }
        self.sends.set(self.sends.get() + 1);
        if self.plan.lost && self.sends.get() == 1 {
            return;
        }
        for target in self.targets() {
            let cpu = &self.machine.cpus[target];
            let bit = match self.plan.by {
                Delivery::Interrupt => &cpu.irr,
                Delivery::Nmi => &cpu.nmi,
            };
            for _ in 0..if self.plan.twice { 2 } else { 1 } {
                // An APIC sets the bit atomically: what all senders stored comes before an interrupt that two have sent.
                bit.swap(true, Ordering::Relaxed);
                self.sent.set(self.sent.get() + 1);
            }
        }
    }

    fn takes_own_interrupt(&self, _: Until) -> bool {
        true
    }

    // A processor takes interrupts only where the model says so.
    fn raise(&self) {}
    fn lower(&self) {}

    fn wait(&self, until: Until, holds: impl Fn() -> bool) -> bool {
        let patience = match until {
            Until::Resend => self.plan.until_resend,
            Until::Deadline => self.plan.until_deadline,
        };
        poll(patience, holds)
    }

    fn work(&self) {
        let Plan { initiator, participants, .. } = self.plan;
        if participants.contains(&initiator) {
            let packet = &self.machine.cpus[initiator].packet;
            self.result.set(self.machine.work(initiator, packet.work()));
        }
    }
}

impl Targets for Caller {
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.targets().all(|target| holds(&self.machine.cpus[target].slot))
    }
}

/// A target's side of one call.
struct Handler {
    machine: &'static Machine,
    cpu: usize,
    by: Delivery,
    nmi_after: Option<Step>,
}

impl Target for Handler {
    fn raise(&self) {}

    fn wait(&self, deadline: u64, holds: impl Fn() -> bool) -> bool {
        let held = poll((deadline != u64::MAX).then_some(deadline), holds);
        if !held {
            let cpu = &self.machine.cpus[self.cpu];
            let generation = cpu.slot.served(self.by).get();
            write(&cpu.gave_up, |gave_up| *gave_up = generation);
        }
        held
    }

    fn work(&self, work: Work) -> usize {
        self.machine.work(self.cpu, work)
    }

    fn reached(&self, step: Step) {
        let cpu = &self.machine.cpus[self.cpu];
        if step == Step::Claimed {
            let generation = cpu.slot.served(self.by).get();
            // An NMI of an earlier call, which comes late, takes nobody's readiness for this one away.
            if read(&cpu.ready, |ready| generation.wrapping_sub(*ready).cast_signed() > 0) {
                write(&cpu.ready, |ready| *ready = generation);
            }
        }
        if self.nmi_after == Some(step) {
            self.machine.take(self.cpu, Delivery::Nmi, None);
        }
    }
}
