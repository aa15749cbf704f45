//! The sources of events that can be asked for, besides the guest.

use crate::results::source::Source;

/// All of them.
pub const ALL: &[Source] = &[Source::Stats, Source::Vmm, Source::Kernel];

/// What a source is, in one line for help texts.
pub const fn about(source: Source) -> &'static str {
    match source {
        Source::Guest => "the guest's own stamps",
        Source::Stats => "KVM's counters of each vCPU",
        Source::Vmm => "exits to the VMM, as the vCPUs' threads see them",
        Source::Kernel => "KVM's tracepoints and the scheduler's",
    }
}
