use super::initiator::Report;
use super::machine::{Cpu, Fault, Machine, read};
use super::rendezvous::{Generation, Generations, Outcome};
use loom::model::Builder;

/// What a model does: starts the processors' threads, waits for their end, and returns the calls that were made.
pub(crate) type Scenario = fn(&'static Machine) -> Vec<Report>;

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
