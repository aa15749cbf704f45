//! What is recorded of a block besides the guest's own samples.

use super::stays::Keep;
use crate::results::source::Source;

/// What is recorded of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recording {
    /// KVM's counters are read before and after it.
    pub stats: bool,
    /// What the vCPUs' threads keep of their stays in the guest.
    pub stays: Keep,
    /// The kernel's tracepoints are on.
    pub kernel: bool,
}

impl Recording {
    pub const NOTHING: Self = Self { stats: false, stays: Keep::Nothing, kernel: false };
    /// What can be counted without a trace.
    pub const COUNTS: Self = Self { stats: true, stays: Keep::Observed, kernel: false };
    /// All of it.
    pub const EVERYTHING: Self = Self { stats: true, stays: Keep::Everything, kernel: true };

    /// What one source alone records.
    pub const fn by(source: Source) -> Self {
        match source {
            Source::Guest => Self::NOTHING,
            Source::Stats => Self { stats: true, ..Self::NOTHING },
            Source::Vmm => Self { stays: Keep::Everything, ..Self::NOTHING },
            Source::Kernel => Self { kernel: true, ..Self::NOTHING },
        }
    }

    /// Whether rounds get a timeline.
    pub fn has_events(self) -> bool {
        self.kernel || self.stays == Keep::Everything
    }

    /// Whether exits are counted by `source`.
    pub fn counts(self, source: Source) -> bool {
        match source {
            Source::Guest => false,
            Source::Stats => self.stats,
            Source::Vmm => self.stays != Keep::Nothing,
            Source::Kernel => self.kernel,
        }
    }
}
