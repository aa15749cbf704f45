//! What is recorded of a block besides the guest's own samples.

use super::samples::ExitSource;
use super::stays::Keep;

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
    /// Nothing.
    pub const NOTHING: Self = Self { stats: false, stays: Keep::Nothing, kernel: false };
    /// What can be counted without a trace.
    pub const COUNTS: Self = Self { stats: true, stays: Keep::Observed, kernel: false };
    /// All of it.
    pub const EVERYTHING: Self = Self { stats: true, stays: Keep::Everything, kernel: true };

    /// What one source alone records.
    pub const fn by(source: ExitSource) -> Self {
        match source {
            ExitSource::Stats => Self { stats: true, ..Self::NOTHING },
            ExitSource::Vmm => Self { stays: Keep::Everything, ..Self::NOTHING },
            ExitSource::Kernel => Self { kernel: true, ..Self::NOTHING },
        }
    }

    /// Whether rounds get a timeline.
    pub fn has_events(self) -> bool {
        self.kernel || self.stays == Keep::Everything
    }

    /// Whether exits are counted by `source`.
    pub fn counts(self, source: ExitSource) -> bool {
        match source {
            ExitSource::Stats => self.stats,
            ExitSource::Vmm => self.stays != Keep::Nothing,
            ExitSource::Kernel => self.kernel,
        }
    }
}
