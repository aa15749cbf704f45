//! What decides how quickly a CPU wakes up and how fast it runs then, as the head of a measurement has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Idle states, frequencies, and what is done against vulnerabilities. What cannot be read is `null` or left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// cpuidle's driver (Documentation/admin-guide/pm/cpuidle.rst), such as `intel_idle` or `haltpoll`.
    pub idle_driver: Option<String>,
    /// cpuidle's governor, which chooses the idle state.
    pub idle_governor: Option<String>,
    /// The idle states of the first CPU that kipi may use, from the lightest on.
    pub idle_states: Vec<IdleState>,
    /// cpufreq's driver (Documentation/admin-guide/pm/cpufreq.rst), such as `intel_pstate`.
    pub frequency_driver: Option<String>,
    /// cpufreq's governors of the CPUs that kipi may use, each once.
    pub frequency_governors: BTreeSet<String>,
    /// Frequencies above the nominal one are allowed.
    pub boost: Option<bool>,
    /// CPUs whose frequency may not reach what the hardware can do: `scaling_max_freq` below `cpuinfo_max_freq`.
    pub limited: Vec<FrequencyLimit>,
    /// `mitigations=` of the kernel's command line.
    pub mitigations: Option<String>,
    /// What the kernel does against each vulnerability, `Not affected` left out.
    pub vulnerabilities: BTreeMap<String, String>,
}

/// An idle state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdleState {
    /// Its name, such as `C6`.
    pub name: String,
    /// How long it takes at most to leave it, µs.
    pub latency_us: Option<u64>,
    /// Somebody has disabled it.
    pub disabled: bool,
}

/// A CPU with a lowered frequency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrequencyLimit {
    /// The CPU.
    pub cpu: usize,
    /// What it may run at most, kHz.
    pub most_khz: u64,
    /// What the hardware can do, kHz.
    pub hardware_khz: u64,
}
