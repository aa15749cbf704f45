//! One thing that vCPU 0 does again and again, to learn what it costs.

use super::session::{Error, Session, word};
use crate::config::acts;
use crate::events::acts::{ActBlock, ActCounts, Acted};
use crate::results::disturbance::{Disturbance, Kind};
use guest_stub::abi::act::Act;
use guest_stub::abi::{RING_SAMPLES, Report, Sample, command};
use std::time::Duration;

/// How long vCPU 0 sleeps before the deadline that wakes it: long enough to get into HLT where its instructions are emulated.
const SLEEP: Duration = Duration::from_micros(200);

/// Does `act` so often, at most [`RING_SAMPLES`] times, after `warmup` that do not count, and once more to count its exits.
///
/// # Errors
/// Every variant of [`enum@Error`] but [`Error::GivenUp`].
pub fn run(session: &mut Session<'_>, act: Act, warmup: usize, count: usize) -> Result<Acted, Error> {
    if act == Act::OutKvm
        && let Err(error) = session.vm().answer_port_in_kvm()
    {
        return Ok(Acted::Absent(error.to_string()));
    }
    let samples = (warmup + count).min(RING_SAMPLES);
    let command = command::Acts { act: act as u32, samples: word(samples), sleep: session.cycles(SLEEP) };
    if let Some(watch) = session.watch_mut() {
        watch.begin();
    }
    session.send(&command)?;
    if ring(session)?.rounds == 0 {
        return Ok(Acted::Absent(acts::lacks(act).to_owned()));
    }
    let before = counts(session);
    session.vm().resume(0);
    ring(session)?;
    let counts = counts(session).since(before);
    session.vm().resume(0);
    let report = ring(session)?;
    let mut disturbances = session.watch_mut().map_or_else(Vec::new, |watch| watch.end(Some(0)));
    disturbances.retain(|disturbance| concerns(act, disturbance));
    if report.rounds as usize != samples {
        return Err(Error::BadReport(format!("{} acts of {samples} are done", report.rounds)));
    }
    let acts = (warmup..samples).map(|number| session.sample(0, number)).collect::<Result<Vec<_>, _>>()?;
    let cycles = cycles(&acts);
    let missed = (acts.len() - cycles.len()) as u64;
    Ok(Acted::Done(ActBlock { cycles, missed, counts, disturbances, ..ActBlock::default() }))
}

/// What each act took that was what it should have been.
fn cycles(acts: &[Sample]) -> Vec<i64> {
    acts.iter().filter(|act| act.w != 0).map(|act| act.x.wrapping_sub(act.w).cast_signed()).collect()
}

/// Waits for a doorbell: one of two around the act whose exits are counted, or the one that ends the command.
fn ring(session: &mut Session<'_>) -> Result<Report, Error> {
    let report = session.wait_for_doorbell()?;
    session.expect_done(report, "measuring what an exit costs", session.patience())
}

/// What is counted of vCPU 0 until now. Counters that cannot be read are left out; `Vm::stats_error` says why.
fn counts(session: &Session<'_>) -> ActCounts {
    let stats = session.vm().stats(0).and_then(|stats| stats.read().ok()).unwrap_or_default();
    ActCounts {
        exits: stats.get("exits").copied(),
        emulated: stats.get("insn_emulation").copied(),
        returns: session.vm().ring(0).counts().map(|(_, count)| count).sum(),
    }
}

/// Whether something disturbs an act of vCPU 0. What happens to the others, which sleep, does not; and a vCPU that sleeps itself,
/// as the act asks for, has not been stopped.
fn concerns(act: Act, disturbance: &Disturbance) -> bool {
    let sleeps = act == Act::HltTimer && disturbance.kind == Kind::Stopped;
    disturbance.vcpu.is_none_or(|vcpu| vcpu == 0) && !sleeps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_that_was_not_what_it_should_have_been_has_taken_nothing() {
        let act = |w, x| Sample { w, x, ..Sample::default() };
        assert_eq!(cycles(&[act(10, 15), act(0, 0), act(20, 19)]), [5, -1], "a timer may come early");
    }

    #[test]
    fn only_what_happens_to_the_vcpu_that_acts_disturbs_it() {
        let of = |act, kind: Kind, vcpu| {
            let disturbance = Disturbance { kind, amount: 2e6, unit: kind.unit(), vcpu, cpu: None };
            concerns(act, &disturbance)
        };
        assert!(of(Act::Cpuid, Kind::CpuBusy, Some(0)) && of(Act::Cpuid, Kind::Suspended, None));
        assert!(!of(Act::Cpuid, Kind::CpuBusy, Some(1)));
        assert!(of(Act::Cpuid, Kind::Stopped, Some(0)) && of(Act::Hlt, Kind::Stopped, Some(0)));
        assert!(!of(Act::HltTimer, Kind::Stopped, Some(0)) && of(Act::HltTimer, Kind::Preempted, Some(0)));
    }
}
