//! Why a test did not pass, and whether that is evidence.

use crate::experiment::machine;
use crate::guest::host_call;
use crate::guest::session;
use crate::host::starvation::Starvation;
use guest_stub::abi::Rule;
use std::time::Duration;

/// Why a test did not pass.
#[derive(Debug)]
pub enum Verdict {
    /// It failed, for this reason.
    Failed(String),
    /// Something took too long, or followed from that: it failed, unless threads had no CPU.
    Overdue {
        /// What.
        reason: String,
        /// The time that it had.
        within: Duration,
        /// The longest time, meanwhile, in which a thread had next to nothing of a CPU; `None`: that of the whole run.
        starved: Option<Duration>,
    },
    /// It cannot be run here, for this reason.
    Skipped(String),
    /// It cannot be run here: one of this host's limits is in the way.
    HostLimit(Box<machine::Error>),
    /// The user wants to stop.
    Interrupted,
}

/// A call waits for two threads, one after the other, at most: the initiator, until it has sent, and a target.
const IN_TURN: u32 = 2;

impl Verdict {
    /// A failure.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }

    /// Something that has to happen `within` a time did not, or something else that follows from that.
    pub fn overdue(within: Duration, reason: impl Into<String>) -> Self {
        Self::Overdue { reason: reason.into(), within, starved: None }
    }

    /// The same; what was overdue had this time, or less.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        match self {
            Self::Overdue { reason, within, starved } => Self::Overdue { reason, within: within.min(time), starved },
            Self::Failed(_) | Self::Skipped(_) | Self::HostLimit(_) | Self::Interrupted => self,
        }
    }

    /// The same verdict; a failure's reason becomes what `change` makes of it.
    #[must_use]
    pub fn map_reason(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Failed(reason) => Self::Failed(change(reason)),
            Self::Overdue { reason, within, starved } => Self::Overdue { reason: change(reason), within, starved },
            Self::Skipped(_) | Self::HostLimit(_) | Self::Interrupted => self,
        }
    }

    /// What was overdue has failed if every thread had enough of a CPU in the time that there was. Else it stays overdue, and says
    /// for how long one had not. Without a watch, nobody knows.
    #[must_use]
    pub(super) fn decided(self, starvation: Option<&Starvation>) -> Self {
        match self {
            Self::Overdue { reason, within, starved } => {
                let starved = starved.or_else(|| starvation.map(Starvation::longest));
                match starved {
                    Some(starved) if starved * IN_TURN < within => Self::Failed(format!(
                        "{reason} (no thread lacked a CPU for longer than {} ms)",
                        starved.as_millis()
                    )),
                    Some(_) | None => Self::Overdue { reason, within, starved },
                }
            }
            Self::Failed(_) | Self::Skipped(_) | Self::HostLimit(_) | Self::Interrupted => self,
        }
    }
}

impl From<session::Error> for Verdict {
    fn from(error: session::Error) -> Self {
        use session::Error;
        let reason = error.to_string();
        match error {
            Error::Interrupted => Self::Interrupted,
            error if error.is_host_limit() => Self::HostLimit(Box::new(error.into())),
            Error::Silent(diagnosis) => Self::overdue(diagnosis.waited, reason),
            Error::GivenUp(given_up) => Self::overdue(given_up.diagnosis.waited, reason),
            Error::HostCall(
                host_call::Error::Busy(deadline)
                | host_call::Error::Silent { deadline, .. }
                | host_call::Error::Overstayed { deadline, .. },
            ) => Self::overdue(deadline, reason),
            Error::BugCheck(report) if report.rule == Some(Rule::WorkerOverstayed) => {
                Self::overdue(super::DEADLINE, reason)
            }
            Error::Vm(_)
            | Error::BugCheck(_)
            | Error::Stopped { .. }
            | Error::HostCall(_)
            | Error::BadReport(_)
            | Error::Trace(_)
            | Error::Memory(_) => Self::Failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm;
    use std::io;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn decided(within: u64, starved: u64) -> Verdict {
        Verdict::Overdue { reason: "late".to_owned(), within: ms(within), starved: Some(ms(starved)) }.decided(None)
    }

    #[test]
    fn who_had_a_cpu_and_was_late_has_failed() {
        assert!(
            matches!(decided(100, 10), Verdict::Failed(reason) if reason == "late (no thread lacked a CPU for longer than 10 ms)")
        );
        assert!(matches!(decided(100, 49), Verdict::Failed(_)));
    }

    #[test]
    fn who_had_none_has_not() {
        assert!(matches!(decided(100, 50), Verdict::Overdue { .. }), "two such threads in turn take all of it");
        assert!(matches!(Verdict::overdue(ms(100), "late").decided(None), Verdict::Overdue { .. }), "nobody knows");
    }

    #[test]
    fn a_hosts_limit_keeps_its_error() {
        let source = io::Error::from_raw_os_error(libc::EAGAIN);
        let error = session::Error::from(vm::Error::System { operation: "starting a vCPU's thread", source });
        let told = error.to_string();
        assert!(matches!(Verdict::from(error), Verdict::HostLimit(error) if error.to_string() == told));
        let not_limit = session::Error::BadReport("no vCPU".to_owned());
        assert!(matches!(Verdict::from(not_limit), Verdict::Failed(_)));
    }

    #[test]
    fn what_no_lack_of_cpu_explains_has_failed_whatever_threads_had() {
        let starvation = Starvation::watch().expect("a thread");
        assert!(matches!(Verdict::failed("twice").decided(Some(&starvation)), Verdict::Failed(_)));
        assert!(matches!(Verdict::overdue(ms(0), "at once").decided(Some(&starvation)), Verdict::Overdue { .. }));
        assert!(matches!(Verdict::overdue(ms(3_600_000), "never").decided(Some(&starvation)), Verdict::Failed(_)));
    }

    #[test]
    fn of_several_times_the_shortest_counts() {
        let verdict = Verdict::overdue(ms(100), "late").within(ms(20)).within(ms(50));
        assert!(matches!(verdict, Verdict::Overdue { within, .. } if within == ms(20)));
    }
}
