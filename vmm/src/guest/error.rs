//! Why the guest did not do what it was asked for.

use super::bug_check::BugReport;
use super::host_call;
use super::silence::Diagnosis;
use crate::events::exit::Exit;
use crate::events::kernel;
use crate::events::samples::Block;
use crate::vm;
use thiserror::Error;

/// Why an operation has no result. After an error the session is of no more use.
#[derive(Debug, Error)]
pub enum Error {
    /// The machine could not be made.
    #[error(transparent)]
    Vm(#[from] vm::Error),
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
    /// The guest found a broken rule.
    #[error("{0}")]
    BugCheck(Box<BugReport>),
    /// A vCPU cannot go on.
    #[error("vCPU {vcpu} stopped: {exit}{at}")]
    Stopped {
        /// Which.
        vcpu: usize,
        /// Why.
        exit: Exit,
        /// Where, if it is known.
        at: String,
    },
    /// A call of a block was given up.
    #[error("{}", .0.diagnosis)]
    GivenUp(Box<GivenUp>),
    /// A vCPU did not take part in something else than a call of a block, or vCPU 0 does not come back at all.
    #[error("{0}")]
    Silent(Box<Diagnosis>),
    /// A call of the host could not be made.
    #[error(transparent)]
    HostCall(#[from] host_call::Error),
    /// The guest says what it cannot have seen.
    #[error("the guest's report makes no sense: {0} (the guest image is damaged or hostile)")]
    BadReport(String),
    /// The kernel's events cannot be recorded.
    #[error("recording the kernel's events: {0}")]
    Trace(#[from] kernel::Error),
    /// Guest memory cannot be accessed.
    #[error("accessing guest memory: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

impl Error {
    /// Whether it is this host that cannot do it: KVM_RUN's EAGAIN, time and again, is a limit of processes, and so is that a thread
    /// cannot be started, or that no file is left for the kernel's events.
    pub fn is_host_limit(&self) -> bool {
        match self {
            Self::Vm(error) => error.is_host_limit(),
            Self::Stopped { exit, .. } => exit.errno() == Some(libc::EAGAIN),
            Self::HostCall(error) => matches!(error, host_call::Error::NotStarted(_)),
            Self::Trace(error) => error.is_host_limit(),
            Self::Interrupted
            | Self::BugCheck(_)
            | Self::GivenUp(_)
            | Self::Silent(_)
            | Self::BadReport(_)
            | Self::Memory(_) => false,
        }
    }
}

/// A block that ended with a call that was given up.
#[derive(Debug)]
pub struct GivenUp {
    /// Who was silent, and where each vCPU was.
    pub diagnosis: Diagnosis,
    /// The rounds before that call; its integrity counts the call.
    pub block: Block,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::kernel::tracefs;
    use std::io;

    #[test]
    fn what_threads_or_files_lack_is_the_hosts_limit() {
        let recording = |errno| {
            let source = io::Error::from_raw_os_error(errno);
            let file = tracefs::Error::File { operation: "write to", file: "buffer_size_kb".to_owned(), source };
            Error::from(kernel::Error::from(file))
        };
        assert!(recording(libc::EMFILE).is_host_limit());
        assert!(!recording(libc::EIO).is_host_limit());
        let not_started = host_call::Error::NotStarted(io::Error::from_raw_os_error(libc::EAGAIN));
        assert!(Error::from(not_started).is_host_limit());
        assert!(!Error::from(host_call::Error::TooManyCallers).is_host_limit());
    }
}
