//! Blocks whose initiator is the host: all vCPUs stay in the target state meanwhile, vCPU 0 too.

use super::block_spec::BlockSpec;
use super::host_call::{Callees, HostCall, HostResults};
use super::host_settle::HostSettle;
use super::rounds::Ended;
use super::serve::{serve_command, wait_until_ready};
use super::session::{Error, Session, word};
use guest_stub::abi::command::Serve;

/// Makes the calls of a block.
pub(super) fn run(session: &mut Session<'_>, spec: &BlockSpec) -> Result<Ended, Error> {
    let asked = spec.all_rounds();
    let limits = session.limits();
    let command = Serve {
        target_state: spec.cell.target_state as u32,
        observe: spec.is_observed().into(),
        wait: spec.cell.wait as u32,
        deadline: session.cycles(limits.deadline),
        ..Serve::default()
    };
    let call = HostCall {
        worker: spec.worker,
        argument: spec.argument,
        targets: Callees::everybody(spec.cell.destination),
        observe: spec.is_observed(),
        deadline: limits.deadline,
    };
    let settle = session.cycles(spec.settle(limits.settle));
    let mut by_host = Vec::with_capacity(asked);
    let served = serve_command(session, &command, limits.deadline, |session| {
        let mut settle = HostSettle::new(session, settle, spec.cell.target_state);
        let mut caller = session.host_caller().caller()?;
        let mark = |made: usize| {
            if spec.is_marked() && (made == spec.warmup || made == asked) {
                session.vm().counters().mark();
            }
        };
        while by_host.len() < asked && !session.is_interrupted() {
            mark(by_host.len());
            wait_until_ready(session, word(by_host.len()), call.deadline)?;
            let sent = by_host.last().map(|last: &HostResults| last.t0);
            settle.wait(session, by_host.len(), sent)?;
            by_host.push(caller.broadcast(&call)?);
        }
        mark(by_host.len());
        Ok(())
    });
    match served {
        Ok(_) if by_host.len() < asked => Err(Error::Interrupted),
        Ok(((), report)) => {
            Ok(Ended { completed: asked, duplicate: report.duplicate, late: report.late, by_host, given_up: None })
        }
        Err(Error::Silent(diagnosis)) => Ok(Ended::given_up(by_host.len(), by_host, *diagnosis)),
        Err(error) => Err(error),
    }
}
