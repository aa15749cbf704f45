//! What the scheduler says about a thread (proc(5), Documentation/scheduler/sched-stats.rst).

use super::file::Reread;
use super::modes::Ticks;
use crate::host::parse_cpu_list;
use std::path::Path;

/// A thread's counters since it began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Task {
    /// `schedstat`: time that it ran, and that it was ready to run and waited, ns.
    pub(super) times: Option<Times>,
    /// `nonvoluntary_ctxt_switches` of `status`.
    pub(super) involuntary_switches: Option<u64>,
    /// The CPUs that it may run on: `Cpus_allowed_list` of `status`.
    pub(super) allowed_cpus: Option<Vec<usize>>,
    /// `majflt` of `stat`.
    pub(super) major_faults: Option<u64>,
    /// The CPU that it ran on last: `processor` of `stat`.
    pub(super) last_cpu: Option<usize>,
    /// `utime`, `stime` and `guest_time` of `stat`.
    pub(super) ticks: Option<Ticks>,
    /// `se.nr_migrations` of `sched`.
    pub(super) migrations: Option<u64>,
}

/// A thread's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Times {
    pub(super) ran_ns: u64,
    pub(super) waited_ns: u64,
}

/// Where they are read.
#[derive(Debug)]
pub(super) struct TaskFiles {
    schedstat: Reread,
    status: Reread,
    stat: Reread,
    sched: Reread,
}

impl TaskFiles {
    pub(super) fn open(proc: &Path, id: u32) -> Self {
        let open = |name: &str| Reread::open(&proc.join(format!("self/task/{id}/{name}")));
        Self { schedstat: open("schedstat"), status: open("status"), stat: open("stat"), sched: open("sched") }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Task {
        let times = self.schedstat.read(buffer).and_then(times);
        let status = self.status.read(buffer);
        let value = |name: &str| status?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let involuntary_switches = value("nonvoluntary_ctxt_switches").and_then(|value| value.trim().parse().ok());
        let allowed_cpus = value("Cpus_allowed_list").and_then(parse_cpu_list);
        let stat = self.stat.read(buffer);
        // Fields are numbered from 1 in proc(5). The second, a name in parentheses, may hold spaces and parentheses.
        let field = |number: usize| stat?.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok();
        let (major_faults, last_cpu) = (field(12), field(39).and_then(|cpu: u64| cpu.try_into().ok()));
        let ticks = || Some(Ticks { user: field(14)?, kernel: field(15)?, guest: field(43)? });
        let ticks = ticks();
        let migrations = self.sched.read(buffer).and_then(migrations);
        Task { times, involuntary_switches, allowed_cpus, major_faults, last_cpu, ticks, migrations }
    }
}

/// For how long a thread of this process has been ready to run and waited for a CPU, since it began; `None`: the kernel does not say.
pub fn waited_ns(id: u32) -> Option<u64> {
    let schedstat = std::fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).ok()?;
    times(&schedstat).map(|times| times.waited_ns)
}

/// A kernel that does not keep the times says "0 0 0", which no thread that reads it has.
fn times(schedstat: &str) -> Option<Times> {
    let mut numbers = schedstat.split_whitespace().map(|number| number.parse::<u64>().ok());
    let (ran_ns, waited_ns, slices) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (slices > 0).then_some(Times { ran_ns, waited_ns })
}

fn migrations(sched: &str) -> Option<u64> {
    let line = sched.lines().find(|line| line.starts_with("se.nr_migrations"))?;
    line.split_once(':')?.1.trim().parse().ok()
}
