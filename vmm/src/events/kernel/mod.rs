//! KVM's tracepoints, and the scheduler's for the vCPUs' threads, on the host's TSC.

pub mod format;
mod inhibits;
pub mod page;
pub mod tracefs;
mod tracepoints;
mod tracer;

pub use inhibits::Inhibits;
pub use tracepoints::Point;
pub use tracer::{Capture, Detail, Record, Tracer};

use thiserror::Error;

/// Why the kernel's events cannot be had.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Tracefs(#[from] tracefs::Error),
    /// This kernel has no tracepoints of KVM's, or KVM is not loaded.
    #[error("this kernel has no tracepoints of KVM (events/kvm is missing)")]
    NoKvm,
    /// This kernel cannot stamp with the TSC.
    #[error("this kernel's trace clocks have no x86-tsc")]
    NoTsc,
    /// This kernel does not say why it does not accelerate local APICs, or says it in another form.
    #[error("this kernel has no tracepoint kvm_apicv_inhibit_changed as kipi knows it (Linux 5.18)")]
    NoInhibits,
    /// So many records found no room in the trace buffer.
    #[error("records of the kernel's trace buffer are missing: {0}")]
    Incomplete(u64),
    /// The trace buffer is not laid out as it says.
    #[error(transparent)]
    Page(#[from] page::Error),
}

impl Error {
    /// Whether it is a limit of open files that keeps them away.
    pub fn is_host_limit(&self) -> bool {
        match self {
            Self::Tracefs(tracefs::Error::Mount(error) | tracefs::Error::File { source: error, .. }) => {
                matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
            }
            Self::Tracefs(tracefs::Error::NotPermitted(_))
            | Self::NoKvm
            | Self::NoTsc
            | Self::NoInhibits
            | Self::Incomplete(_)
            | Self::Page(_) => false,
        }
    }
}
