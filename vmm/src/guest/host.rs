//! Blocks and calls whose initiator is the host: all vCPUs stay in the target state meanwhile, vCPU 0 too.

use super::session::{BlockSpec, Error, Machine, user_word, wire};
use crate::events::clock::cycles;
use crate::events::samples::Block;
use crate::guest::calls::{Calls, CallsSpec, mask_of};
use crate::guest::host_calls::{self, HostCall, HostCaller, Results, Targets};
use crate::guest::rounds::Initiator;
use crate::vm::Vm;
use guest_stub::abi::command::Serve;
use guest_stub::abi::{self, Destination, Report, Set, Tally, TargetState, VECTOR_WAKE};
use guest_stub::plan::{Initiators, Plan, PlannedCall};
use guest_stub::{mask, verify};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use vm_memory::Bytes;

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

/// Words of a vCPU's user page, by their offset in it.
const READY: usize = offset_of!(abi::UserPage, ready);
const STOP: usize = offset_of!(abi::UserPage, stop);
const LAST_RUN: usize = offset_of!(abi::UserPage, last_run);

/// Whether all vCPUs are in their state, after `rounds` calls.
fn everybody_is_ready(vm: &Vm, rounds: u32) -> bool {
    (0..vm.vcpus()).all(|vcpu| {
        // Acquire pairs with the vCPU's own store.
        vm.memory().load::<u32>(user_word(vcpu, READY), Ordering::Acquire).is_ok_and(|ready| ready == rounds)
    })
}

/// Waits for them. `false`: in vain.
fn wait_until_ready(vm: &Vm, rounds: u32, deadline: Duration) -> bool {
    let start = Instant::now();
    while !everybody_is_ready(vm, rounds) {
        if start.elapsed() > deadline {
            return everybody_is_ready(vm, rounds);
        }
        std::thread::yield_now();
    }
    true
}

impl Machine<'_> {
    /// Puts all vCPUs into a state in which the host can call them ([`Vm::broadcast`]), from any thread; lets `calls` do so,
    /// and gets them out again.
    ///
    /// # Errors
    /// As [`Machine::run_block`]. After an error the machine is of no more use.
    pub fn serve<T>(&mut self, waiting: Waiting, calls: impl FnOnce(&Vm) -> T) -> Result<T, Error> {
        let command = Serve {
            target_state: waiting.target_state as u32,
            deadline: cycles(waiting.deadline, self.tsc_khz),
            ..Serve::default()
        };
        self.serve_command(&command, |vm| Ok(calls(vm))).map(|(result, _)| result)
    }

    /// As [`Machine::serve`], for a whole command, and with the guest's report at the end.
    fn serve_command<T>(
        &mut self,
        command: &Serve,
        calls: impl FnOnce(&Vm) -> Result<T, host_calls::Error>,
    ) -> Result<(T, Report), Error> {
        for vcpu in 0..self.vcpus() {
            self.vm.memory().store(NOT_IN_STATE, user_word(vcpu, READY), Ordering::Release)?;
        }
        self.command(command)?;
        let start = Instant::now();
        while !everybody_is_ready(&self.vm, 0) {
            if let Some(report) = self.hear(Duration::from_micros(50))? {
                self.expect_done(&report, "waiting for the host")?;
                return Err(Error::BadReport("vCPU 0 does not wait for the host".to_owned()));
            }
            if start.elapsed() > self.deadline * 2 {
                return Err(self.silent("waiting for the host", None, self.deadline));
            }
        }
        let result = match calls(&self.vm) {
            Ok(result) => result,
            Err(error) => return Err(self.host_call_failed(error)),
        };
        self.vm.memory().store(1_u32, user_word(0, STOP), Ordering::Release)?;
        self.vm.inject(0, crate::vcpu::interrupt::Injection::Fixed(VECTOR_WAKE))?;
        let report = self.wait_for_doorbell()?;
        self.expect_done(&report, "leaving the target state")?;
        Ok((result, report))
    }

    /// What has become of a vCPU that did not answer the host.
    fn host_call_failed(&mut self, error: host_calls::Error) -> Error {
        let (missing, deadline) = match error {
            host_calls::Error::Silent { missing, deadline } | host_calls::Error::Overstayed { missing, deadline } => {
                (missing, deadline)
            }
            error => return error.into(),
        };
        // A broken rule says more than the silence that it leaves.
        while let Some(stopped) = self.vm.wait(Duration::ZERO) {
            if let Err(error) = self.take_stop(stopped) {
                return error;
            }
        }
        if let Some(error) = self.ask_watchdogs() {
            return error;
        }
        let mut error = self.silent("broadcasting from the host", None, deadline);
        if let Error::Silent(diagnosis) = &mut error {
            diagnosis.missing = missing;
        }
        error
    }

    /// [`Machine::run_block`], where the host calls.
    pub(super) fn run_host_block(&mut self, spec: &BlockSpec) -> Result<Block, Error> {
        let asked = (spec.warmup + spec.rounds).min(abi::RING_SAMPLES);
        let running = self.start_recording(spec, Initiator::Host)?;
        let command = Serve {
            target_state: spec.target_state as u32,
            observe: spec.observe.into(),
            deadline: self.deadline_cycles,
            ..Serve::default()
        };
        let call = HostCall {
            worker: spec.worker,
            argument: spec.argument,
            targets: if spec.destination == Destination::Unicast { Targets::Each } else { Targets::All },
            observe: spec.observe,
            deadline: self.deadline,
        };
        let (settle, interrupted) = (self.settle, self.interrupted);
        let (calls, report) = self.serve_command(&command, |vm| {
            let mut caller = vm.host().caller()?;
            let mut calls = Vec::with_capacity(asked);
            while calls.len() < asked && !interrupted.load(Ordering::Relaxed) {
                if !wait_until_ready(vm, wire(calls.len()), call.deadline) {
                    let missing = (0..vm.vcpus()).collect();
                    return Err(host_calls::Error::Silent { missing, deadline: call.deadline });
                }
                let start = Instant::now();
                while start.elapsed() < settle {
                    std::hint::spin_loop();
                }
                calls.push(caller.broadcast(&call)?);
            }
            Ok(calls)
        })?;
        if calls.len() < asked {
            return Err(Error::Interrupted);
        }
        let left = self.stop_recording(running)?;
        let mut rounds = self.read_rounds(spec, asked, &left.rings)?;
        for (round, call) in rounds.iter_mut().zip(&calls) {
            round.belongs_to_host(call)?;
        }
        let resent = calls.iter().filter(|call| call.resent).count();
        let report = Report { resent: wire(resent), ..report };
        Ok(self.assess(spec, rounds, &report, left, asked))
    }

    /// [`Machine::run_calls`], where the host makes them: as many threads as there are to be initiators.
    pub(super) fn run_host_calls(&mut self, spec: &CallsSpec, disturb: &mut dyn FnMut(&Vm)) -> Result<Calls, Error> {
        self.drain_rings();
        let command = spec.serve_command(self.tsc_khz);
        let command = Serve { deadline: command.deadline.max(self.deadline_cycles), ..command };
        let asked: Vec<AtomicU32> = (0..self.vcpus()).map(|_| AtomicU32::new(0)).collect();
        let (hosts, report) = self.serve_command(&command, |vm| make_calls(vm, spec, &asked, disturb))?;
        self.drain_rings();
        let mut vcpus = (0..self.vcpus()).map(|vcpu| self.tally(vcpu)).collect::<Result<Vec<_>, Error>>()?;
        for ((_, of_vcpu), asked) in vcpus.iter_mut().zip(asked) {
            *of_vcpu = asked.into_inner();
        }
        let made = hosts.iter().map(|tally| tally.calls + tally.aborted).sum();
        vcpus.extend(hosts.into_iter().map(|tally| (tally, 0)));
        Ok(Calls { made, duplicate: report.duplicate, late: report.late, vcpus, by_host: true })
    }
}

/// All calls of all threads, and what each thread has counted.
fn make_calls(
    vm: &Vm,
    spec: &CallsSpec,
    asked: &[AtomicU32],
    disturb: &mut dyn FnMut(&Vm),
) -> Result<Vec<Tally>, host_calls::Error> {
    let threads = spec.initiators.len();
    let running = AtomicUsize::new(threads);
    let host = vm.host();
    let memory = vm.memory();
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|rank| {
                let running = &running;
                scope.spawn(move || {
                    let calls = HostCalls { host, spec, rank, vcpus: asked.len(), asked };
                    let made = calls.make_all(&|vcpu| memory.load(user_word(vcpu, LAST_RUN), Ordering::Relaxed).ok());
                    running.fetch_sub(1, Ordering::Relaxed);
                    made
                })
            })
            .collect();
        while running.load(Ordering::Relaxed) > 0 {
            disturb(vm);
            std::thread::sleep(super::session::DISTURB);
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
    fn make_all(&self, last_run: &dyn Fn(usize) -> Option<u32>) -> Result<Tally, host_calls::Error> {
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
            std::thread::sleep(Duration::from_nanos(pause));
            let these: Vec<usize> = mask::indices(&members).collect();
            let call = HostCall {
                worker: self.spec.worker,
                argument,
                targets: match (self.spec.set, self.spec.destination) {
                    (Set::Everybody, Destination::Unicast) => Targets::Each,
                    (Set::Everybody, _) => Targets::All,
                    _ => Targets::These(&these),
                },
                observe: self.spec.observe,
                deadline: self.spec.deadline,
            };
            let look = |results: &Results| self.look(results, argument, &mut tally, last_run);
            match caller.broadcast_and(&call, look) {
                Ok(results) => {
                    tally.calls += 1;
                    tally.resent += u32::from(results.resent);
                    let is_stranger = |vcpu: &usize| !mask::contains(&members, *vcpu);
                    let ran = |vcpu: &usize| last_run(*vcpu) == Some(results.generation);
                    tally.wrong_participant += wire((0..self.vcpus).filter(is_stranger).filter(ran).count());
                }
                Err(host_calls::Error::Silent { missing, .. }) => {
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
    fn look(&self, results: &Results, argument: u64, tally: &mut Tally, last_run: &dyn Fn(usize) -> Option<u32>) {
        for &(vcpu, value) in &results.values {
            tally.wrong_result += u32::from(value != verify::result_of(argument, vcpu));
            tally.wrong_participant += u32::from(last_run(vcpu) != Some(results.generation));
            self.asked[vcpu].fetch_add(1, Ordering::Relaxed);
        }
    }
}
