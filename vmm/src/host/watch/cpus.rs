//! What slows the CPUs down: the hypervisor below, heat, and whoever lowers their frequency.

use super::file::Reread;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A CPU's counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cpu {
    /// Time that the hypervisor below has given to others, in ticks of USER_HZ (`/proc/stat`, proc(5)).
    pub(super) steal_ticks: Option<u64>,
    /// The highest frequency that it may have now, kHz (Documentation/admin-guide/pm/cpufreq.rst, `scaling_max_freq`).
    pub(super) most_khz: Option<u64>,
    /// Time that it has idled, up to the end of its last idle period, ns (Documentation/admin-guide/pm/cpuidle.rst, `time`).
    pub(super) idle_ns: Option<u64>,
    /// How often it and its package were slowed down because of heat (`thermal_throttle/*_throttle_count`).
    pub(super) throttle_count: Option<u64>,
}

/// Where they are read.
#[derive(Debug)]
pub(super) struct Cpus {
    stat: Reread,
    cpus: BTreeMap<usize, CpuFiles>,
}

#[derive(Debug)]
struct CpuFiles {
    most_khz: Reread,
    throttle_counts: [Reread; 2],
    /// `time` of each idle state.
    idle_us: Vec<Reread>,
}

impl Cpus {
    pub(super) fn open(proc: &Path, sys: &Path, cpus: BTreeSet<usize>) -> Self {
        let files = |cpu: usize| {
            let open = |name: &str| Reread::open(&sys.join(format!("devices/system/cpu/cpu{cpu}/{name}")));
            let throttle_counts = ["core", "package"];
            let idle_us = (0..).map(|state| open(&format!("cpuidle/state{state}/time"))).take_while(Reread::is_there);
            CpuFiles {
                most_khz: open("cpufreq/scaling_max_freq"),
                throttle_counts: throttle_counts.map(|what| open(&format!("thermal_throttle/{what}_throttle_count"))),
                idle_us: idle_us.collect(),
            }
        };
        Self { stat: Reread::open(&proc.join("stat")), cpus: cpus.into_iter().map(|cpu| (cpu, files(cpu))).collect() }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> BTreeMap<usize, Cpu> {
        let mut steal = self.stat.read(buffer).map(steal_ticks).unwrap_or_default();
        let mut of_cpu = |(&cpu, files): (&usize, &CpuFiles)| {
            let counts = files.throttle_counts.each_ref().map(|file| file.number(buffer));
            let most_khz = files.most_khz.number(buffer);
            let idle_us = files.idle_us.iter().filter_map(|file| file.number(buffer));
            let state = Cpu {
                steal_ticks: steal.remove(&cpu),
                most_khz,
                idle_ns: idle_us.reduce(u64::saturating_add).map(|us| us.saturating_mul(1_000)),
                throttle_count: counts.into_iter().flatten().reduce(u64::saturating_add),
            };
            (cpu, state)
        };
        self.cpus.iter().map(&mut of_cpu).collect()
    }
}

/// The ninth word of each line `cpuN user nice system idle iowait irq softirq steal ...`.
fn steal_ticks(stat: &str) -> BTreeMap<usize, u64> {
    let of_line = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split(' ');
        let cpu = words.next()?.parse().ok()?;
        Some((cpu, words.nth(7)?.parse().ok()?))
    };
    stat.lines().take_while(|line| line.starts_with("cpu")).filter_map(of_line).collect()
}
