//! Calls that the host makes, from as many threads as there are to be initiators, while every vCPU counts what it sees.

use super::calls_spec::{Calls, CallsSpec, mask_of};
use super::host_call::{self, Callees, HostCall, HostResults};
use super::host_caller::HostCaller;
use super::serve::serve_command;
use super::session::{DISTURB, Disturb, Error, Session, word};
use guest_stub::abi::command::Serve;
use guest_stub::abi::{Set, Tally, UserPage};
use guest_stub::plan::{Initiators, Plan, PlannedCall};
use guest_stub::{mask, verify};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::Duration;

/// [`calls::run`](super::calls::run), where the host makes them.
pub(super) fn run(session: &mut Session<'_>, spec: &CallsSpec, disturb: Disturb<'_>) -> Result<Calls, Error> {
    session.take_stays();
    // Not that of the calls, which may be short on purpose.
    let deadline = spec.deadline.max(session.limits().deadline);
    let command = Serve { deadline: session.cycles(deadline), ..spec.serve_command(session.tsc_khz()) };
    let asked: Vec<AtomicU32> = (0..session.vcpus()).map(|_| AtomicU32::new(0)).collect();
    let (hosts, report) =
        serve_command(session, &command, deadline, |session| make_calls(session, spec, &asked, disturb))?;
    session.take_stays();
    let mut vcpus = (0..session.vcpus()).map(|vcpu| session.tally(vcpu)).collect::<Result<Vec<_>, Error>>()?;
    for ((_, of_vcpu), asked) in vcpus.iter_mut().zip(asked) {
        *of_vcpu = asked.into_inner();
    }
    let made = hosts.iter().map(|tally| tally.calls + tally.aborted).sum();
    vcpus.extend(hosts.into_iter().map(|tally| (tally, 0)));
    Ok(Calls { made, duplicate: report.duplicate, late: report.late, vcpus, by_host: true })
}

/// All calls of all threads, and what each thread has counted.
fn make_calls(
    session: &Session<'_>,
    spec: &CallsSpec,
    asked: &[AtomicU32],
    disturb: Disturb<'_>,
) -> Result<Vec<Tally>, host_call::Error> {
    let threads = spec.initiators.len();
    let host = session.host_caller();
    thread::scope(|scope| {
        let start = |rank| {
            let make_all = move || {
                let calls = HostCalls { host, spec, rank, vcpus: asked.len(), asked };
                calls.make_all(&|vcpu| session.user_word(vcpu, offset_of!(UserPage, last_run)).ok())
            };
            Builder::new().spawn_scoped(scope, make_all)
        };
        // Where one cannot be started, those before it make their calls until the scope ends.
        let started = (0..threads).map(start).collect::<Result<Vec<_>, _>>().map_err(host_call::Error::NotStarted)?;
        while !started.iter().all(ScopedJoinHandle::is_finished) {
            disturb(session.vm());
            thread::sleep(DISTURB);
        }
        started
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// What one thread's calls have in common.
struct HostCalls<'a> {
    host: &'a HostCaller,
    spec: &'a CallsSpec,
    rank: usize,
    vcpus: usize,
    /// Completed calls that each vCPU took part in.
    asked: &'a [AtomicU32],
}

impl HostCalls<'_> {
    /// `last_run` reads the generation of the last worker that ran on a vCPU.
    fn make_all(&self, last_run: &dyn Fn(usize) -> Option<u32>) -> Result<Tally, host_call::Error> {
        let mut caller = self.host.caller()?;
        let initiators = Initiators {
            set: self.spec.set,
            members: &mask_of(&self.spec.members),
            processors: &mask_of(&[]),
            count: self.spec.initiators.len(),
            vcpus: self.vcpus,
            seed: self.spec.seed,
            pause: u64::try_from(self.spec.pause.as_nanos()).unwrap_or(u64::MAX),
        };
        let mut plan = Plan::new(initiators, self.rank, caller.number());
        let mut tally = Tally::default();
        for _ in 0..self.spec.calls {
            let PlannedCall { pause, members, argument } = plan.next_call();
            thread::sleep(Duration::from_nanos(pause));
            let these: Vec<usize> = mask::indices(&members).collect();
            let call = HostCall {
                worker: self.spec.worker,
                argument,
                targets: match self.spec.set {
                    Set::Everybody => Callees::everybody(self.spec.destination),
                    Set::Mask | Set::Random | Set::Disjoint | Set::Overlapping | Set::Nobody | Set::Itself => {
                        Callees::These(&these)
                    }
                },
                observe: self.spec.observe,
                deadline: self.spec.deadline,
            };
            let look = |results: &HostResults| self.look(results, argument, &mut tally, last_run);
            match caller.broadcast_and(&call, look) {
                Ok(results) => {
                    tally.calls += 1;
                    tally.resent += u32::from(results.resent);
                    let is_stranger = |vcpu: &usize| !mask::contains(&members, *vcpu);
                    let ran = |vcpu: &usize| last_run(*vcpu) == Some(results.generation);
                    tally.wrong_participant += word((0..self.vcpus).filter(is_stranger).filter(ran).count());
                }
                Err(host_call::Error::Silent { missing, .. }) => {
                    if tally.aborted == 0 {
                        tally.missing = mask_of(&missing);
                    }
                    tally.aborted += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tally)
    }

    /// While nobody else calls the targets.
    fn look(&self, results: &HostResults, argument: u64, tally: &mut Tally, last_run: &dyn Fn(usize) -> Option<u32>) {
        for &(vcpu, value) in &results.values {
            tally.wrong_result += u32::from(value != verify::result_of(argument, vcpu));
            tally.wrong_participant += u32::from(last_run(vcpu) != Some(results.generation));
            self.asked[vcpu].fetch_add(1, Ordering::Relaxed);
        }
    }
}
