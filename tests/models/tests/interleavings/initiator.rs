use super::machine::{Fault, Machine, Order, Patience, Waiting, poll, read, result, write};
use super::rendezvous::{self, Delivery, Generation, Initiator, Outcome, Packet, Slot, Targets, Until, Work};
use loom::sync::atomic::{Ordering, fence};
use std::cell::Cell;

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
        if outcome != Outcome::Aborted {
            cpu.packet.close(generation);
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

impl Initiator for &Caller {
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

    fn start(&self, packet: &Packet, generation: Generation) -> bool {
        let Plan { initiator, participants, .. } = self.plan;
        let is_open = packet.go(generation);
        if is_open && participants.contains(&initiator) {
            self.result.set(self.machine.work(initiator, packet.work()));
        }
        is_open
    }
}

impl Targets for &Caller {
    fn all<'a>(&'a self, mut holds: impl FnMut(&'a Slot) -> bool) -> bool {
        self.targets().all(|target| holds(&self.machine.cpus[target].slot))
    }
}
