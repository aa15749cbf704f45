//! vCPUs that wait in a target state for calls of the host.

use super::host_call;
use super::session::{Error, Session};
use super::silence::Silence;
use crate::vcpu::interrupt::Injection;
use guest_stub::abi::command::Serve;
use guest_stub::abi::{Report, TargetState, UserPage, VECTOR_WAKE, Wait};
use guest_stub::rendezvous::LEAST_GRACE;
use std::mem::offset_of;
use std::time::{Duration, Instant};

/// How the vCPUs wait for the host's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// What they do meanwhile.
    pub target_state: TargetState,
    /// How long they may take to get there.
    pub deadline: Duration,
}

/// The guest's mark for a vCPU that is not in its state yet.
const NOT_IN_STATE: u32 = u32::MAX;

/// Puts all vCPUs into a state in which the host can call them ([`Session::broadcast`]), from any thread; lets `calls` do so,
/// and gets them out again.
///
/// # Errors
/// Every variant of [`enum@Error`] but [`Error::GivenUp`].
pub fn serve<T>(
    session: &mut Session<'_>,
    waiting: Waiting,
    calls: impl FnOnce(&Session<'_>) -> T,
) -> Result<T, Error> {
    let command = Serve {
        target_state: waiting.target_state as u32,
        wait: Wait::Spin as u32,
        deadline: session.cycles(waiting.deadline),
        ..Serve::default()
    };
    serve_command(session, &command, waiting.deadline, |session| Ok(calls(session))).map(|(result, _)| result)
}

/// As [`serve`], for a whole command, which gives the vCPUs `deadline`, and with the guest's report at the end.
pub(super) fn serve_command<T>(
    session: &mut Session<'_>,
    command: &Serve,
    deadline: Duration,
    calls: impl FnOnce(&Session<'_>) -> Result<T, host_call::Error>,
) -> Result<(T, Report), Error> {
    for vcpu in 0..session.vcpus() {
        session.set_user_word(vcpu, offset_of!(UserPage, ready), NOT_IN_STATE)?;
    }
    session.host_caller().set_wait(Wait::from_wire(command.wait).unwrap_or_default());
    session.send(command)?;
    let start = Instant::now();
    while !not_ready(session, 0).is_empty() {
        if let Some(report) = session.hear(Duration::from_micros(50))? {
            session.expect_done(report, "waiting for the host", deadline)?;
            return Err(Error::BadReport("vCPU 0 does not wait for the host".to_owned()));
        }
        // The guest gives up first, and says who is not ready.
        if start.elapsed() > deadline * 2 + Duration::from_secs(2) {
            let missing = not_ready(session, 0);
            return Err(session.silent("waiting for the host", Silence::NoAnswer, start.elapsed(), missing, false));
        }
    }
    let result = match calls(session) {
        Ok(result) => result,
        Err(error) => return Err(call_failed(session, error)),
    };
    session.set_user_word(0, offset_of!(UserPage, stop), 1)?;
    session.vm().inject(0, Injection::Fixed(VECTOR_WAKE))?;
    let report = session.wait_for_doorbell()?;
    let report = session.expect_done(report, "leaving the target state", deadline)?;
    Ok((result, report))
}

/// The vCPUs that are not in their state again after `rounds` calls.
fn not_ready(session: &Session<'_>, rounds: u32) -> Vec<usize> {
    let is_ready =
        |vcpu: usize| session.user_word(vcpu, offset_of!(UserPage, ready)).is_ok_and(|ready| ready == rounds);
    (0..session.vcpus()).filter(|&vcpu| !is_ready(vcpu)).collect()
}

/// Waits until all vCPUs are in their state again after `rounds` calls.
///
/// # Errors
/// [`host_call::Error::Silent`], with those that are not by the deadline.
pub(super) fn wait_until_ready(session: &Session<'_>, rounds: u32, deadline: Duration) -> Result<(), host_call::Error> {
    let start = Instant::now();
    loop {
        let is_over = start.elapsed() > deadline;
        let missing = not_ready(session, rounds);
        if missing.is_empty() {
            return Ok(());
        }
        if is_over {
            return Err(host_call::Error::Silent { missing, deadline });
        }
        std::thread::yield_now();
    }
}

/// What has become of vCPUs that did not answer the host.
fn call_failed(session: &mut Session<'_>, error: host_call::Error) -> Error {
    let has_begun = matches!(error, host_call::Error::Overstayed { .. });
    let (host_call::Error::Silent { missing, deadline } | host_call::Error::Overstayed { missing, deadline }) = error
    else {
        return error.into();
    };
    // A broken rule says more than the silence that follows it.
    for _ in 0..session.vcpus() {
        if let Err(error) = session.hear(Duration::ZERO) {
            return error;
        }
    }
    // A worker that has begun may have lacked a CPU only.
    if has_begun {
        std::thread::sleep(grace(session.tsc_khz()));
    }
    if let Err(error) = session.ask_watchdogs() {
        return error;
    }
    session.silent("broadcasting from the host", Silence::NoAnswer, deadline, missing, false)
}

/// What workers have beyond the deadline, and a little more, so that watchdogs find it over.
fn grace(tsc_khz: u64) -> Duration {
    Duration::from_millis(LEAST_GRACE / tsc_khz.max(1) + 10)
}
