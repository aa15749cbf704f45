//! Who records events besides the guest.

use crate::results::source::Source;

/// A source of events that is not the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitSource {
    /// KVM's per-vCPU statistics (KVM_GET_STATS_FD).
    Stats,
    /// KVM_RUN returns, seen by the vCPU's thread.
    Vmm,
    /// KVM's tracepoints, within the calls: from the send to the last participant's return.
    Kernel,
}

impl ExitSource {
    /// Every source.
    pub const ALL: &[Self] = &[Self::Stats, Self::Vmm, Self::Kernel];

    /// What it is, in one line for help texts.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Stats => "KVM's counters of each vCPU",
            Self::Vmm => "exits to the VMM, as the vCPUs' threads see them",
            Self::Kernel => "KVM's tracepoints and the scheduler's",
        }
    }

    /// The name in output and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Vmm => "vmm",
            Self::Kernel => "kernel",
        }
    }
}

impl From<ExitSource> for Source {
    fn from(source: ExitSource) -> Self {
        match source {
            ExitSource::Stats => Self::Stats,
            ExitSource::Vmm => Self::Vmm,
            ExitSource::Kernel => Self::Kernel,
        }
    }
}
