//! Where the threads of vCPUs, and those of native calls, really ran.

use super::cpu_list::ranges;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Where the thread of a vCPU was found, on all machines of the run that have this vCPU: a native call's thread of this number is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RanOn {
    /// The vCPU.
    pub vcpu: usize,
    /// The CPU that its thread was pinned to; `null`: to none.
    pub pin: Option<usize>,
    /// The CPUs that it had run on last when a block ended.
    pub cpus: BTreeSet<usize>,
    /// Whether somebody, or the kernel when a CPU went offline, changed the CPUs that it may use; `null`: this machine does not tell.
    pub affinity_changed: Option<bool>,
}

impl RanOn {
    /// Whether it may have run where it was not to.
    pub fn was_moved(&self) -> bool {
        self.affinity_changed == Some(true) || self.pin.is_some_and(|pin| self.cpus.iter().any(|&cpu| cpu != pin))
    }

    /// Adds what another machine found of the same vCPU.
    pub fn add(&mut self, other: &Self) {
        self.cpus.extend(&other.cpus);
        self.saw_affinity(other.affinity_changed);
    }

    /// Adds what has been seen of its affinity: that it was changed stands, and that it was not needs all to say so.
    pub fn saw_affinity(&mut self, changed: Option<bool>) {
        self.affinity_changed = match (self.affinity_changed, changed) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            (None, _) | (_, None) => None,
        };
    }
}

impl std::fmt::Display for RanOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cpus: Vec<usize> = self.cpus.iter().copied().collect();
        let noun = if cpus.len() == 1 { "CPU" } else { "CPUs" };
        write!(f, "thread {} ran on {noun} {}", self.vcpu, ranges(&cpus))?;
        match self.pin {
            Some(pin) => write!(f, ", pinned to CPU {pin}"),
            None => f.write_str(", pinned to none"),
        }?;
        if self.affinity_changed == Some(true) { f.write_str(", with its affinity changed") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_was_moved_if_it_left_its_cpu_or_might_have() {
        let mut ran_on = RanOn { vcpu: 1, pin: Some(1), cpus: BTreeSet::from([1]), affinity_changed: Some(false) };
        assert!(!ran_on.was_moved());
        assert!(RanOn { affinity_changed: Some(true), ..ran_on.clone() }.was_moved());
        ran_on.add(&RanOn { cpus: BTreeSet::from([0]), ..ran_on.clone() });
        assert!(ran_on.was_moved());
        assert_eq!(ran_on.to_string(), "thread 1 ran on CPUs 0-1, pinned to CPU 1");
        assert!(!RanOn { pin: None, ..ran_on }.was_moved(), "it may run anywhere");
    }

    #[test]
    fn an_affinity_is_unchanged_if_all_say_so() {
        let after = |seen: &[Option<bool>]| {
            let mut ran_on = RanOn { vcpu: 1, pin: None, cpus: BTreeSet::new(), affinity_changed: Some(false) };
            for &changed in seen {
                ran_on.saw_affinity(changed);
            }
            ran_on.affinity_changed
        };
        assert_eq!(after(&[Some(false), Some(false)]), Some(false));
        assert_eq!(after(&[Some(false), None, Some(false)]), None);
        assert_eq!(after(&[None, Some(true), None]), Some(true));
    }
}
