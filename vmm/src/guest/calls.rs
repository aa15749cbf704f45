//! Calls that initiators make of their own, any number at once, while every vCPU counts what it sees.

pub use super::calls_spec::{Calls, CallsSpec, Timer};

use super::host_calls;
use super::session::{Disturb, Error, Session, parked};
use crate::config::routes;

/// Lets the initiators make their calls, and reads what everybody has counted. Calls that are given up are counted, and no
/// error.
///
/// # Errors
/// Every variant of [`enum@Error`] but [`Error::GivenUp`].
pub fn run(session: &mut Session<'_>, spec: &CallsSpec, disturb: Disturb<'_>) -> Result<Calls, Error> {
    session.vm().parking().set_patience(parked(spec.deadline));
    if routes::of(spec.route).is_host() {
        return host_calls::run(session, spec, disturb);
    }
    session.take_stays();
    session.send(&spec.calls_command(session.tsc_khz()))?;
    let report = session.wait_while_disturbed(spec.deadline, disturb)?;
    let report = session.expect_done(report, "broadcasting", spec.deadline.max(session.patience()))?;
    session.take_stays();
    let vcpus = (0..session.vcpus()).map(|vcpu| session.tally(vcpu)).collect::<Result<_, Error>>()?;
    Ok(Calls { made: report.rounds, duplicate: report.duplicate, late: report.late, vcpus, by_host: false })
}
