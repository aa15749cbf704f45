//! Exit statuses, and which one an error has.

use super::hints;
use crate::experiment::machine;
use crate::guest::session;
use crate::report::wrap::printable;
use crate::results::comparison::Overall;
use crate::{native, sandbox, vm};
use std::io::Write as _;
use std::process::ExitCode;

/// How a command ended (the table of exit statuses in the guide).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As asked.
    Good = 0,
    /// A call, a test or an output went wrong, or something is worse than it was.
    Failed = 1,
    /// What was asked for cannot be: options, files, combinations.
    BadInput = 2,
    /// Two sets of runs differ in something else than what was to be compared.
    NotComparable = 3,
    /// This host cannot do it (the kselftest skip code).
    HostCannot = 4,
    /// A comparison decides nothing, and was to (`--decide`).
    Undecided = 5,
    /// To `git bisect run`: nothing can be said of this version (`kipi bisect-step`).
    Skip = 125,
    /// To `git bisect run`: stop. It takes all smaller ones but 0 and 125 for a bad version, those of usage errors and panics, too.
    Stop = 128,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

impl Status {
    /// Those that a command can end with, in their order.
    pub(super) fn of_command(name: &str) -> &'static [Self] {
        match name {
            "compare" => &[Self::Good, Self::Failed, Self::BadInput, Self::NotComparable, Self::Undecided],
            "image" | "doctor" => &[Self::Good, Self::Failed, Self::BadInput, Self::HostCannot],
            "import" | "history" => &[Self::Good, Self::Failed, Self::BadInput],
            "bisect-step" => &[Self::Good, Self::Failed, Self::Skip, Self::Stop, Self::Interrupted],
            "measure" => {
                &[Self::Good, Self::Failed, Self::BadInput, Self::NotComparable, Self::HostCannot, Self::Interrupted]
            }
            _ => &[Self::Good, Self::Failed, Self::BadInput, Self::HostCannot, Self::Interrupted],
        }
    }

    /// What it means, in a line.
    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failed => {
                "a call or a check went wrong, something is worse than it was, or a result could not be written"
            }
            Self::BadInput => "bad usage or bad input",
            Self::NotComparable => "two sets of runs are not comparable",
            Self::HostCannot => "this host cannot do it",
            Self::Undecided => "a comparison decides nothing, with --decide",
            Self::Skip => "this version cannot be judged: git bisect run skips it",
            Self::Stop => "an error: git bisect run stops",
            Self::Interrupted => "interrupted, after what was measured has been written",
        }
    }

    /// A comparison's status; `decide`: that nothing is decided has one of its own.
    pub(super) fn of_comparison(verdict: Overall, decide: bool) -> Self {
        match verdict {
            Overall::Worse => Self::Failed,
            Overall::NotComparable => Self::NotComparable,
            Overall::Undecided if decide => Self::Undecided,
            Overall::Undecided | Overall::NothingWorse => Self::Good,
        }
    }

    /// The other one, if this one is good.
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::Good { other } else { self }
    }

    /// An error's status, where the machine could not be had.
    pub(super) fn of_vm(error: &vm::Error) -> Self {
        if error.is_host_limit() { Self::HostCannot } else { Self::BadInput }
    }

    /// An error's status, where a machine could not be had, or did not do what it was told.
    pub(super) fn of_machine(error: &machine::Error) -> Self {
        match error {
            machine::Error::GivenUp(_) | machine::Error::NotRecorded => Self::Failed,
            machine::Error::Virtual(error) => Self::of_session(error),
            machine::Error::Native(error) => Self::of_native(error),
        }
    }

    fn of_native(error: &native::Error) -> Self {
        match error {
            native::Error::Interrupted => Self::Interrupted,
            native::Error::NotPinned { .. } | native::Error::Alone => Self::BadInput,
            native::Error::Membarrier { .. }
            | native::Error::Rseq(_)
            | native::Error::Futex(_)
            | native::Error::NotStarted { .. } => Self::HostCannot,
            native::Error::Gone(_) => Self::Failed,
        }
    }

    /// As [`Status::of_machine`], of a virtual one.
    pub(super) fn of_session(error: &session::Error) -> Self {
        match error {
            session::Error::Interrupted => Self::Interrupted,
            session::Error::Vm(error) => Self::of_vm(error),
            error if error.is_host_limit() => Self::HostCannot,
            session::Error::BugCheck(_)
            | session::Error::Stopped { .. }
            | session::Error::GivenUp(_)
            | session::Error::Silent(_)
            | session::Error::HostCall(_)
            | session::Error::BadReport(_)
            | session::Error::Trace(_)
            | session::Error::Memory(_) => Self::Failed,
        }
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    status: Status,
    error: anyhow::Error,
}

impl Failure {
    /// Its status.
    pub(super) fn status(&self) -> Status {
        self.status
    }

    /// The same, with another status.
    pub(super) fn with_status(self, status: impl FnOnce(Status) -> Status) -> Self {
        Self { status: status(self.status), ..self }
    }

    pub(super) fn new(status: Status, error: impl Into<anyhow::Error>) -> Self {
        Self { status, error: error.into() }
    }

    /// One of the options, or what they name, is wrong.
    pub(super) fn bad_input(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Status::BadInput, error)
    }

    /// Something that should have worked did not.
    pub(super) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Status::Failed, error)
    }

    /// Says it, and is over.
    pub fn report(&self) -> Status {
        complain(&self.line());
        self.status
    }

    /// What it says.
    pub(super) fn line(&self) -> String {
        hints::line(self.error.as_ref())
    }
}

impl From<vm::Error> for Failure {
    fn from(error: vm::Error) -> Self {
        Self::new(Status::of_vm(&error), error)
    }
}

impl From<session::Error> for Failure {
    fn from(error: session::Error) -> Self {
        Self::new(Status::of_session(&error), error)
    }
}

impl From<machine::Error> for Failure {
    fn from(error: machine::Error) -> Self {
        Self::new(Status::of_machine(&error), error)
    }
}

/// One line on standard error, if there is one. Names of files and texts of documents may have anything in them.
pub(super) fn complain(line: &str) {
    // Its line has been printed, and what follows from it is no news.
    if sandbox::violation().is_some() {
        return;
    }
    // Nobody is left to be told.
    let _ = writeln!(std::io::stderr(), "kipi: {}", printable(line));
}
