use super::machine::{Fault, Machine, Waiting, poll, read, result, write};
use super::rendezvous::{self, Delivery, Generation, Served, Step, Target, Work};
use loom::sync::atomic::{Ordering, fence};

impl Machine {
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

    /// Runs the worker.
    pub(crate) fn work(&'static self, number: usize, work: Work) -> usize {
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
