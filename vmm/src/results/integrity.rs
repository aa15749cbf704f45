//! Calls that went wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calls that went wrong. Any of them fails the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Integrity {
    /// Calls for which somebody arrived only after a second send.
    pub lost: u64,
    /// Interrupts that nobody had asked for.
    pub duplicate: u64,
    /// Interrupts that came when their call had been given up.
    pub late: u64,
    /// Calls that were given up.
    pub timed_out: u64,
}

impl Integrity {
    /// Whether every call went right.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// What went wrong, with its count: `2 lost`, `1 timed out`.
    pub fn faults(&self) -> Vec<String> {
        let Self { lost, duplicate, late, timed_out } = *self;
        let faults = [(lost, "lost"), (duplicate, "duplicate"), (late, "late"), (timed_out, "timed out")];
        faults.iter().filter(|(count, _)| *count > 0).map(|(count, fault)| format!("{count} {fault}")).collect()
    }

    /// Adds another block's counts.
    pub fn add(&mut self, other: Self) {
        self.lost = self.lost.saturating_add(other.lost);
        self.duplicate = self.duplicate.saturating_add(other.duplicate);
        self.late = self.late.saturating_add(other.late);
        self.timed_out = self.timed_out.saturating_add(other.timed_out);
    }
}
