//! Two readings of all counters, and what has happened between them.

use super::Thread;
use super::baseline::Baseline;
use super::contention::{self, Runner};
use super::cpus::Cpu;
use super::planned::{Plan, Planned};
use super::task::{Task, Times};
use super::thresholds::exceeds;
use crate::host::clocks::nanoseconds;
use crate::results::disturbance::{Disturbance, Kind};
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet};

/// All counters at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading {
    pub(super) clocks: Clocks,
    /// How often the process was continued after a stop.
    pub(super) continues: u64,
    /// The threads' counters, in their order.
    pub(super) tasks: Vec<Task>,
    /// For how long the process's cgroups were throttled, ns.
    pub(super) throttled_ns: Option<u64>,
    pub(super) cpus: BTreeMap<usize, Cpu>,
    /// What was to run beside the threads since the block began.
    pub(super) planned: Plan,
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Clocks {
    /// CLOCK_MONOTONIC, which stands still while the machine is suspended.
    pub(super) monotonic_ns: u64,
    /// CLOCK_BOOTTIME, which does not.
    pub(super) boottime_ns: u64,
}

impl Clocks {
    pub(super) fn now() -> Self {
        let (monotonic, boottime) = (clock_gettime(ClockId::Monotonic), clock_gettime(ClockId::Boottime));
        Self { monotonic_ns: nanoseconds(monotonic), boottime_ns: nanoseconds(boottime) }
    }

    /// For how long the machine has been suspended, since it was booted.
    fn suspended_ns(self) -> u64 {
        self.boottime_ns.saturating_sub(self.monotonic_ns)
    }
}

impl Reading {
    /// What cannot be read of some thread or CPU.
    pub(super) fn unknown(&self) -> BTreeSet<Kind> {
        Kind::ALL.into_iter().filter(|&kind| !self.knows(kind)).collect()
    }

    fn knows(&self, kind: Kind) -> bool {
        let of_tasks = |is_known: fn(&Task) -> bool| self.tasks.iter().all(is_known);
        // Where no thread says which CPUs it may run on, there are none to look at.
        let of_cpus = |is_known: fn(&Cpu) -> bool| !self.cpus.is_empty() && self.cpus.values().all(is_known);
        match kind {
            Kind::WaitedForCpu | Kind::Stopped => of_tasks(|task| task.times.is_some()),
            Kind::Preempted => of_tasks(|task| task.involuntary_switches.is_some()),
            Kind::Migrated => of_tasks(|task| task.migrations.is_some()),
            Kind::RanElsewhere => of_tasks(|task| task.last_cpu.is_some()),
            Kind::AffinityChanged => of_tasks(|task| task.allowed_cpus.is_some()),
            Kind::MajorFault => of_tasks(|task| task.major_faults.is_some()),
            Kind::Throttled => self.throttled_ns.is_some(),
            Kind::CpuBusy => self.knows(Kind::WaitedForCpu) && of_cpus(|cpu| cpu.idle_ns.is_some()),
            Kind::Steal => of_cpus(|cpu| cpu.steal_ticks.is_some()),
            Kind::FrequencyLimited => of_cpus(|cpu| cpu.most_khz.is_some()),
            Kind::ThermalThrottle => of_cpus(|cpu| cpu.throttle_count.is_some()),
            Kind::Suspended | Kind::Continued => true,
        }
    }
}

/// What has happened to one of the threads that count between two readings.
struct Change<'a> {
    thread: Thread,
    before: &'a Task,
    after: &'a Task,
}

impl Change<'_> {
    fn counted(&self, counter: impl Fn(&Task) -> Option<u64>) -> u64 {
        let count = || counter(self.after)?.checked_sub(counter(self.before)?);
        count().unwrap_or(0)
    }

    fn times(&self) -> Option<Times> {
        let (before, after) = (self.before.times?, self.after.times?);
        Some(Times {
            ran_ns: after.ran_ns.saturating_sub(before.ran_ns),
            waited_ns: after.waited_ns.saturating_sub(before.waited_ns),
        })
    }

    /// Where it may run, and for how long it did: if that is not known, for as long as the block lasted.
    fn runner(&self, wall_ns: u64) -> Runner<'_> {
        let allowed = self.before.allowed_cpus.as_deref().unwrap_or_default();
        Runner { pin: self.thread.pin, allowed, ran_ns: self.times().map_or(wall_ns, |times| times.ran_ns) }
    }
}

/// What has happened to a block.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Found {
    pub(super) disturbances: Vec<Disturbance>,
    /// What would have disturbed it, unless the machine's own threads did so to one another: that cannot be told.
    pub(super) ambiguous: BTreeSet<Kind>,
}

impl Found {
    /// Adds so much of a disturbance, if it is too much in a block that lasted `wall_ns`. Up to `by_request` of it may be due
    /// to the machine's own threads.
    fn add(&mut self, wall_ns: u64, disturbance: Disturbance, by_request: f64) {
        let Disturbance { kind, amount, .. } = disturbance;
        let amount_of_others = amount - by_request;
        if exceeds(kind, amount_of_others, wall_ns as f64) {
            self.disturbances.push(Disturbance { amount: amount_of_others, ..disturbance });
        } else if exceeds(kind, amount, wall_ns as f64) {
            self.ambiguous.insert(kind);
        }
    }

    /// Names a stop once: of several, the one that explains the others, and none of the waits that are no longer than it.
    /// Meanwhile, the machine's CPUs run others, and no vCPU's thread can.
    fn name_stop_once(&mut self) {
        const STOPS: [Kind; 3] = [Kind::Suspended, Kind::Continued, Kind::Stopped];
        let find = |stop| self.disturbances.iter().find(|disturbance| disturbance.kind == stop).copied();
        if let Some(stop) = STOPS.into_iter().find_map(find) {
            let is_explained = |it: &Disturbance| is_of_stops(it.kind) && it.amount <= stop.amount;
            self.disturbances.retain(|it| it.kind == stop.kind || !is_explained(it));
        }
    }
}

/// Whether a stop of the process or of the machine looks like this, too.
fn is_of_stops(kind: Kind) -> bool {
    match kind {
        Kind::WaitedForCpu | Kind::CpuBusy | Kind::Stopped | Kind::Continued | Kind::Suspended => true,
        Kind::Preempted
        | Kind::Migrated
        | Kind::RanElsewhere
        | Kind::AffinityChanged
        | Kind::MajorFault
        | Kind::Throttled
        | Kind::Steal
        | Kind::FrequencyLimited
        | Kind::ThermalThrottle => false,
    }
}

fn disturbance(kind: Kind, amount: f64, vcpu: Option<usize>, cpu: Option<usize>) -> Disturbance {
    Disturbance { kind, amount, unit: kind.unit(), vcpu, cpu }
}

/// What disturbed a block of which these are the readings before and after, and whose calls `initiator` made, a vCPU or
/// (`None`) the host. `baseline` is the machine as it was found.
pub(super) fn disturbances(
    threads: &[Thread],
    initiator: Option<usize>,
    baseline: &Baseline,
    before: &Reading,
    after: &Reading,
) -> Found {
    let tasks = threads.iter().zip(before.tasks.iter().zip(&after.tasks));
    let changes = tasks.map(|(&thread, (before, after))| Change { thread, before, after });
    let (host, vcpus): (Vec<Change<'_>>, Vec<_>) = changes.partition(|change| change.thread.vcpu.is_none());
    let wall_ns = after.clocks.monotonic_ns.saturating_sub(before.clocks.monotonic_ns);
    // The host's thread reads the counters late if it waits for a CPU. That disturbs nothing unless it makes the calls.
    let (changes, late_ns) = match initiator {
        Some(_) => (vcpus, host.iter().filter_map(Change::times).map(|times| times.waited_ns).sum()),
        None => (vcpus.into_iter().chain(host).collect(), 0),
    };
    let wall_ns = wall_ns.saturating_sub(late_ns);
    let mut found = Found::default();
    for (index, change) in changes.iter().enumerate() {
        let others = changes.iter().enumerate().filter(|(other, _)| *other != index);
        let others: Vec<Runner<'_>> = others.map(|(_, other)| other.runner(wall_ns)).collect();
        of_thread(change, &others, before, after, wall_ns, &mut found);
    }
    let mut add = |kind: Kind, amount: f64, vcpu, cpu| {
        found.add(wall_ns, disturbance(kind, amount, vcpu, cpu), 0.0);
    };
    for change in &changes {
        let is_changed = baseline.is_affinity_changed(change.thread, change.after);
        add(Kind::AffinityChanged, f64::from(u8::from(is_changed)), change.thread.vcpu, None);
    }
    let absent_ns = absent_ns(&changes, initiator, before, after, wall_ns) as f64;
    if after.continues > before.continues {
        add(Kind::Continued, absent_ns, None, None);
    } else {
        add(Kind::Stopped, absent_ns, initiator, None);
    }
    let throttled = before.throttled_ns.zip(after.throttled_ns).map(|(before, after)| after.saturating_sub(before));
    add(Kind::Throttled, throttled.unwrap_or(0) as f64, None, None);
    let suspended = after.clocks.suspended_ns().saturating_sub(before.clocks.suspended_ns());
    add(Kind::Suspended, suspended as f64, None, None);
    for (&number, cpu) in &after.cpus {
        let Some(was) = before.cpus.get(&number) else { continue };
        let grown = |counter: fn(&Cpu) -> Option<u64>| {
            counter(cpu).zip(counter(was)).map_or(0, |(now, before)| now.saturating_sub(before))
        };
        add(Kind::Steal, grown(|cpu| cpu.steal_ticks) as f64 * tick_ns() as f64, None, Some(number));
        add(Kind::ThermalThrottle, grown(|cpu| cpu.throttle_count) as f64, None, Some(number));
        add(Kind::FrequencyLimited, baseline.lowered_khz(number, cpu) as f64, None, Some(number));
    }
    found.name_stop_once();
    found
}

/// Adds what has happened to a thread beside `others`, which count, too.
fn of_thread(
    change: &Change<'_>,
    others: &[Runner<'_>],
    before: &Reading,
    after: &Reading,
    wall_ns: u64,
    found: &mut Found,
) {
    let Thread { vcpu, pin, .. } = change.thread;
    let mut add = |kind: Kind, amount: f64, by_request: f64, cpu| {
        found.add(wall_ns, disturbance(kind, amount, vcpu, cpu), by_request);
    };
    let waited_for_others_ns = contention::longest_wait_ns(&change.runner(wall_ns), others);
    let (planned_ns, planned_slices) = Planned::on(&after.planned.competitors, pin);
    if let Some(times) = change.times() {
        // While the block's own competitor ran, the thread waited: what is left is due to others.
        let waited_ns = times.waited_ns.saturating_sub(planned_ns);
        add(Kind::WaitedForCpu, waited_ns as f64, waited_for_others_ns as f64, pin);
        let idled = |cpu| after.cpus.get(&cpu)?.idle_ns?.checked_sub(before.cpus.get(&cpu)?.idle_ns?);
        if let Some((cpu, idled)) = pin.and_then(|cpu| Some((cpu, idled(cpu)?))) {
            let stolen_ns = stolen_ns(pin, before, after);
            let waited_ns = times.waited_ns.max(planned_ns);
            let busy = wall_ns.saturating_sub(times.ran_ns + waited_ns + idled + stolen_ns);
            let by_others = contention::ran_ns(others.iter().filter(|other| other.may_use(cpu)));
            add(Kind::CpuBusy, busy as f64, by_others as f64, pin);
        }
    }
    let preempted = change.counted(|task| task.involuntary_switches) as f64;
    // Not every turn of a competitor's took the CPU from the thread: it may have been a third one's, whose switch that hides.
    let by_request = if waited_for_others_ns > 0 { preempted } else { planned_slices as f64 };
    add(Kind::Preempted, preempted, by_request, pin);
    if pin.is_some() {
        let ran_elsewhere = change.after.last_cpu.filter(|_| change.after.last_cpu != pin);
        add(Kind::Migrated, change.counted(|task| task.migrations) as f64, 0.0, pin);
        add(Kind::RanElsewhere, f64::from(u8::from(ran_elsewhere.is_some())), 0.0, ran_elsewhere);
    }
    add(Kind::MajorFault, change.counted(|task| task.major_faults) as f64, 0.0, None);
}

/// For how long the initiator's thread neither ran nor waited for a CPU. Unless the block's plan is that it sleeps, it has no other
/// reason to, so that it was stopped (SIGSTOP, ptrace, the freezer of its cgroup) or waited for a disk.
fn absent_ns(changes: &[Change<'_>], initiator: Option<usize>, before: &Reading, after: &Reading, wall_ns: u64) -> u64 {
    let change = changes.iter().find(|change| change.thread.vcpu == initiator && !after.planned.initiator_sleeps);
    let absent_ns = |change: &Change<'_>| {
        let times = change.times()?;
        let stolen_ns = stolen_ns(change.thread.pin, before, after);
        Some(wall_ns.saturating_sub(times.ran_ns + times.waited_ns + stolen_ns))
    };
    change.and_then(absent_ns).unwrap_or(0)
}

/// What the hypervisor below has taken of a CPU, or (`None`) of all, at most: a thread's run time does not count it
/// (kernel/sched/core.c, update_rq_clock_task), and a tick shows only once it is full.
fn stolen_ns(pin: Option<usize>, before: &Reading, after: &Reading) -> u64 {
    let grown = |(number, cpu): (&usize, &Cpu)| {
        let is_of_thread = pin.is_none_or(|pin| pin == *number);
        cpu.steal_ticks.filter(|_| is_of_thread)?.checked_sub(before.cpus.get(number)?.steal_ticks?)
    };
    match after.cpus.iter().filter_map(grown).sum::<u64>() {
        0 => 0,
        ticks => (ticks + 1).saturating_mul(tick_ns()),
    }
}

/// A tick of `/proc/stat`, ns.
fn tick_ns() -> u64 {
    1_000_000_000 / clock_ticks_per_second().max(1)
}
