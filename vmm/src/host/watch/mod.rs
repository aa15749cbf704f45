//! What disturbs a block, and what its time is spent in, from the counters that the kernel keeps anyhow: read before and after it, and subtracted.
//!
//! No privilege is needed, no thread ticks, and nothing is read between the two readings. A reading costs four system calls
//! (pread) for each thread, one for each cgroup from the process's own up to the root, one for `/proc/stat`, and for each CPU
//! one for each of its idle states and up to three for cpufreq and thermal counters.

mod baseline;
mod cgroups;
mod contention;
mod cpus;
mod file;
mod modes;
mod planned;
mod reading;
mod stops;
mod task;
mod thresholds;

pub use baseline::Baseline;
pub(in crate::host) use cgroups::directories as cgroup_directories;
pub use modes::Modes;
pub use planned::{Plan, Planned};
pub use stops::count_continues;
pub use task::waited_ns;

use super::Sources;
use crate::results::disturbance::{Disturbance, Kind};
use crate::results::ran_on::RanOn;
use cgroups::Cgroups;
use cpus::Cpus;
use reading::{Clocks, Reading};
use std::collections::BTreeSet;
use task::TaskFiles;

/// A thread whose undisturbed run counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    /// The vCPU; `None`: it is the host's thread, which reads the counters, and makes the calls where the host does.
    pub vcpu: Option<usize>,
    /// The thread, as the kernel numbers it.
    pub id: u32,
    /// The one CPU that it was pinned to.
    pub pin: Option<usize>,
}

/// The counters of one machine's threads and of the CPUs that they run on, kept open.
#[derive(Debug)]
pub struct Watch {
    threads: Vec<(Thread, TaskFiles)>,
    cgroups: Cgroups,
    cpus: Cpus,
    /// What cannot be read.
    unreadable: BTreeSet<Kind>,
    baseline: Baseline,
    before: Reading,
    /// What the last block's time was spent in.
    modes: Option<Modes>,
    /// What may have disturbed a block, unless the machine's own threads did.
    ambiguous: BTreeSet<Kind>,
    /// Where the vCPUs' threads ran in blocks that have ended.
    ran_on: Vec<RanOn>,
    buffer: Vec<u8>,
}

impl Watch {
    /// The counters of these threads, and of the CPUs that vCPUs may run on.
    pub fn open(sources: &Sources, threads: &[Thread]) -> Self {
        let mut buffer = vec![0; file::BUFFER];
        let files = |thread: &Thread| TaskFiles::open(&sources.proc, thread.id);
        let threads: Vec<_> = threads.iter().map(|thread| (*thread, files(thread))).collect();
        let vcpus = threads.iter().filter(|(thread, _)| thread.vcpu.is_some());
        let cpus = vcpus.flat_map(|(_, files)| files.read(&mut buffer).allowed_cpus.unwrap_or_default()).collect();
        let ran_on = threads.iter().filter_map(|(thread, _)| {
            Some(RanOn { vcpu: thread.vcpu?, pin: thread.pin, cpus: BTreeSet::new(), affinity_changed: Some(false) })
        });
        let ran_on = ran_on.collect();
        let mut watch = Self {
            threads,
            cgroups: Cgroups::open(&sources.proc, &sources.sys),
            cpus: Cpus::open(&sources.proc, &sources.sys, cpus),
            unreadable: BTreeSet::new(),
            baseline: Baseline::default(),
            before: Reading::default(),
            modes: None,
            ambiguous: BTreeSet::new(),
            ran_on,
            buffer,
        };
        let first = watch.read();
        watch.unreadable = first.unknown();
        watch.baseline = Baseline::of(&watch.threads(), &first);
        watch
    }

    /// Compares blocks with the machine as the run found it, and adds to that what no watch has found before this one.
    pub fn compare_with(&mut self, baseline: &mut Baseline) {
        baseline.complete(&self.baseline);
        self.baseline.clone_from(baseline);
    }

    /// What cannot be read here, or what the counters could not tell of blocks so far.
    pub fn unknown(&self) -> BTreeSet<Kind> {
        // A thread that is not pinned has no CPU of its own to be busy, or to be moved from.
        const OF_PINS: [Kind; 3] = [Kind::CpuBusy, Kind::Migrated, Kind::RanElsewhere];
        let has_unpinned = self.threads.iter().any(|(thread, _)| thread.vcpu.is_some() && thread.pin.is_none());
        let of_pins = OF_PINS.into_iter().filter(|_| has_unpinned);
        self.unreadable.iter().chain(&self.ambiguous).copied().chain(of_pins).collect()
    }

    /// A block begins.
    pub fn begin(&mut self) {
        self.before = self.read();
        // Last, and first after the block: a thread seems to have run for longer than the time that has passed, never shorter.
        self.before.clocks = Clocks::now();
    }

    /// What has disturbed the block that has ended, whose calls `initiator` made: a vCPU or (`None`) the host.
    pub fn end(&mut self, initiator: Option<usize>) -> Vec<Disturbance> {
        self.end_as_planned(Plan::default(), initiator)
    }

    /// As [`Watch::end`], of a block with a plan of its own.
    pub fn end_as_planned(&mut self, planned: Plan, initiator: Option<usize>) -> Vec<Disturbance> {
        let after = Reading { planned, ..self.read() };
        let found = reading::disturbances(&self.threads(), initiator, &self.baseline, &self.before, &after);
        self.ambiguous.extend(found.ambiguous);
        self.see_where_they_ran(&after);
        self.modes = modes::of_block(&self.threads(), initiator, &self.before.tasks, &after.tasks);
        found.disturbances
    }

    /// What the threads spent the block in that has ended, the host's included where it made the calls; `None`: the kernel does not
    /// say.
    pub fn modes(&self) -> Option<Modes> {
        self.modes
    }

    /// Where the vCPUs' threads ran, as far as the ends of blocks show it.
    pub fn ran_on(&self) -> &[RanOn] {
        &self.ran_on
    }

    /// Of threads that have run since the block began: where another one ran last, it has run before.
    fn see_where_they_ran(&mut self, after: &Reading) {
        let vcpus = self.threads.iter().zip(self.before.tasks.iter().zip(&after.tasks));
        let vcpus = vcpus.filter(|((thread, _), _)| thread.vcpu.is_some());
        for (((thread, _), (before, after)), ran_on) in vcpus.zip(&mut self.ran_on) {
            let has_run = before.times.is_none() || before.times != after.times;
            ran_on.cpus.extend(after.last_cpu.filter(|_| has_run));
            ran_on.saw_affinity(after.allowed_cpus.as_ref().map(|allowed| match thread.pin {
                Some(pin) => *allowed != [pin],
                None => self.baseline.is_affinity_changed(*thread, after),
            }));
        }
    }

    fn threads(&self) -> Vec<Thread> {
        self.threads.iter().map(|(thread, _)| *thread).collect()
    }

    fn read(&mut self) -> Reading {
        let buffer = &mut self.buffer;
        Reading {
            clocks: Clocks::now(),
            continues: stops::continues(),
            tasks: self.threads.iter().map(|(_, files)| files.read(buffer)).collect(),
            throttled_ns: self.cgroups.read(buffer),
            cpus: self.cpus.read(buffer),
            planned: Plan::default(),
        }
    }
}

#[cfg(test)]
mod tests;
