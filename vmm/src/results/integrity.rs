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

    /// Adds another block's counts.
    pub fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.timed_out += other.timed_out;
    }
}
