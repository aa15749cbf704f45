//! Runs a scenario on processors that are threads: each has a local APIC of two bits, serves what comes, and makes its
//! calls. What the broadcast call promises is asserted where it can be seen.

use crate::broadcast::Broadcast;
use crate::machine::{Cpu, Machine, assert_ran_as_ordered};
use crate::processor::{Processor, SomebodyElse};
use crate::scenario::Scenario;
use guest_stub::rendezvous::{Delivery, Generations, Served};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

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

impl Processor<'_> {
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
}
