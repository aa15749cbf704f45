//! The machine as a run found it: what somebody may change while the run lasts.

use super::Thread;
use super::cpus::Cpu;
use super::reading::Reading;
use super::task::Task;
use std::collections::BTreeMap;

/// What a run's first machines found. Every later one is compared with that, else a change would be seen in the blocks of
/// one machine only, and be the rule on the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baseline {
    /// The highest frequency of each CPU, kHz.
    most_khz: BTreeMap<usize, u64>,
    /// The CPUs that threads may run on, by the one that they were pinned to, if they were.
    allowed_cpus: BTreeMap<Option<usize>, Vec<usize>>,
}

impl Baseline {
    /// What a reading of these threads found.
    pub(super) fn of(threads: &[Thread], reading: &Reading) -> Self {
        let most_khz = |(&number, cpu): (&usize, &Cpu)| Some((number, cpu.most_khz?));
        let allowed = |(thread, task): (&Thread, &Task)| Some((thread.pin, task.allowed_cpus.clone()?));
        Self {
            most_khz: reading.cpus.iter().filter_map(most_khz).collect(),
            allowed_cpus: threads.iter().zip(&reading.tasks).filter_map(allowed).collect(),
        }
    }

    /// Adds of a later baseline what this one lacks.
    pub(super) fn complete(&mut self, later: &Self) {
        for (&cpu, &most_khz) in &later.most_khz {
            self.most_khz.entry(cpu).or_insert(most_khz);
        }
        for (&pin, allowed) in &later.allowed_cpus {
            self.allowed_cpus.entry(pin).or_insert_with(|| allowed.clone());
        }
    }

    /// By how much a CPU's highest frequency is lower now, kHz.
    pub(super) fn lowered_khz(&self, number: usize, cpu: &Cpu) -> u64 {
        let lowered = || self.most_khz.get(&number)?.checked_sub(cpu.most_khz?);
        lowered().unwrap_or(0)
    }

    /// Whether a thread may run on other CPUs now.
    pub(super) fn is_affinity_changed(&self, thread: Thread, task: &Task) -> bool {
        self.allowed_cpus.get(&thread.pin).is_some_and(|allowed| task.allowed_cpus.as_ref() != Some(allowed))
    }
}
