//! What changed and is no time.

use super::side::{Hosts, name_on};
use guest_stub::abi::cell::CellId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use strum::{IntoStaticStr, VariantArray};

/// Something that changed and is no time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The hosts whose runs are compared; left out where all are of one kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// The cell, where it is one's.
    pub cell: Option<CellId>,
    /// What exactly: an exit's source and reason, the name of an acceleration.
    pub subject: String,
    /// What it was.
    pub base: String,
    /// What it is.
    pub new: String,
    /// Whether that is worse.
    pub severity: Severity,
}

impl Finding {
    /// What changed, and where: `x2apic, all-but-self, halt, 2 vCPUs, guest: stats exits, each target`.
    pub fn name(&self) -> String {
        let Self { hosts, cell, subject, .. } = self;
        let in_cell = cell.map_or_else(|| subject.clone(), |cell| format!("{cell}: {subject}"));
        name_on(hosts.as_ref(), &in_cell)
    }
}

/// `x2apic, all-but-self, halt, 2 vCPUs, guest: stats exits, each target: 1.03 → 2.03`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.name(), self.base, self.new)
    }
}

/// Kinds of findings, in the order of output.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Calls were lost, duplicate, late or timed out.
    #[strum(serialize = "integrity")]
    Integrity,
    /// Only one side has the cell.
    #[strum(serialize = "cell")]
    Cell,
    /// An acceleration of local APICs ceased, or began.
    #[strum(serialize = "acceleration")]
    Acceleration,
    /// Exits a call changed.
    #[strum(serialize = "exits")]
    Exits,
    /// A run ended early.
    #[strum(serialize = "partial run")]
    PartialRun,
    /// A cell was never quiet.
    #[strum(serialize = "disturbed")]
    Disturbed,
}

impl FindingKind {
    /// All kinds, in order.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The new side is worse: status 1.
    Worse,
    /// The reader should know.
    Noted,
}
