//! Who saw what a document tells of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// Who recorded an event, or counted exits.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Source {
    /// The guest, by its own stamps.
    Guest,
    /// KVM's statistics (KVM_GET_STATS_FD).
    Stats,
    /// The vCPUs' threads: KVM_RUN's returns.
    Vmm,
    /// The kernel's tracepoints.
    Kernel,
}

impl Source {
    /// All sources, in order.
    pub const ALL: [Self; 4] = [Self::Guest, Self::Stats, Self::Vmm, Self::Kernel];

    /// The name in documents and reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
