//! What kept a block from running undisturbed: who or what else used the machine meanwhile, or stopped it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// What happened.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// A vCPU's thread was ready to run, and its CPU ran something that is none of the machine's vCPUs
    /// (`/proc/PID/schedstat`).
    WaitedForCpu,
    /// A vCPU's thread slept, and its CPU did not idle: it ran something else (cpuidle's `time`).
    CpuBusy,
    /// A vCPU's thread lost its CPU although it was ready to run (`nonvoluntary_ctxt_switches`).
    Preempted,
    /// A pinned thread was moved to another CPU (`/proc/PID/sched`, `nr_migrations`).
    Migrated,
    /// A pinned thread ran on another CPU than its own.
    RanElsewhere,
    /// Somebody has changed the CPUs that a vCPU's thread may run on.
    AffinityChanged,
    /// A page had to be read from a disk.
    MajorFault,
    /// A cgroup of the process had used its quota of CPU time up (`cpu.stat`).
    Throttled,
    /// The hypervisor below ran something else on a CPU of the machine (`/proc/stat`).
    Steal,
    /// The highest frequency that a CPU may have was lowered (cpufreq's `scaling_max_freq`).
    FrequencyLimited,
    /// A CPU or its package was slowed down because it was hot (`thermal_throttle`).
    ThermalThrottle,
    /// The initiator's thread neither ran nor waited for a CPU: it was stopped, or waited for a disk.
    Stopped,
    /// Somebody stopped the process and continued it (SIGCONT). How long the initiator's thread neither ran nor waited for a CPU
    /// is the amount.
    Continued,
    /// The machine was suspended (CLOCK_BOOTTIME less CLOCK_MONOTONIC).
    Suspended,
}

impl Kind {
    /// Every kind, in the order in which reports name them.
    pub const ALL: [Self; 14] = [
        Self::WaitedForCpu,
        Self::CpuBusy,
        Self::Preempted,
        Self::Migrated,
        Self::RanElsewhere,
        Self::AffinityChanged,
        Self::MajorFault,
        Self::Throttled,
        Self::Steal,
        Self::FrequencyLimited,
        Self::ThermalThrottle,
        Self::Stopped,
        Self::Continued,
        Self::Suspended,
    ];

    /// The name in documents.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What an amount of it counts.
    pub fn unit(self) -> Unit {
        match self {
            Self::WaitedForCpu
            | Self::CpuBusy
            | Self::Throttled
            | Self::Steal
            | Self::Stopped
            | Self::Continued
            | Self::Suspended => Unit::Ns,
            Self::FrequencyLimited => Unit::Khz,
            Self::Preempted
            | Self::Migrated
            | Self::RanElsewhere
            | Self::AffinityChanged
            | Self::MajorFault
            | Self::ThermalThrottle => Unit::Times,
        }
    }
}

/// What an amount counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Times that it happened.
    Times,
    /// Kilohertz less than before.
    Khz,
}

/// One thing that disturbed a block, by more than its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disturbance {
    /// What happened.
    pub kind: Kind,
    /// How much of it.
    pub amount: f64,
    /// What the amount counts.
    pub unit: Unit,
    /// The vCPU whose thread it happened to; `null`: the host's thread, where the host makes the calls, a CPU,
    /// or the whole machine.
    pub vcpu: Option<usize>,
    /// The CPU that it happened on; `null`: it cannot be told, or was the whole machine.
    pub cpu: Option<usize>,
}
