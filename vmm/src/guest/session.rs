//! A booted guest, and the protocol with it: one command at a time through the command page and the doorbell.

use super::recording::Left;
use crate::config::routes::{self, Route};
use crate::events::clock::{Exchange, cycles};
use crate::events::exit::{Exit, ExitKind};
use crate::events::kernel::{self, Tracer};
use crate::events::recording::Recording;
use crate::events::samples::Block;
use crate::events::stays::Stay;
use crate::guest::calls::{Calls, CallsSpec};
use crate::guest::diagnosis::{BugReport, Diagnosis};
use crate::guest::host_calls;
use crate::guest::rounds::{Initiator, RawRound, assess, check};
use crate::vcpu::interrupt::Injection;
use crate::vcpu::state::VcpuState;
use crate::vcpu::thread::{StopReason, Stopped};
use crate::vm::wire;
use crate::vm::{self, Hypervisor, Vm, VmConfig};
use guest_stub::abi::{
    self, BugCheck, CommandPage, Destination, Mask, Report, Rule, Sample, Status, Tally, TargetState, Worker, area,
    command::{self, Command, Payload},
};
use guest_stub::mask;
use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

/// Why a block has no result.
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
    /// Somebody did not take part, or nothing comes back at all.
    #[error("{0}")]
    Silent(Box<Diagnosis>),
    /// A call of the host could not be made.
    #[error(transparent)]
    HostCall(#[from] host_calls::Error),
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

/// One block of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSpec {
    /// How the interrupt travels.
    pub route: Route,
    /// How the targets are addressed.
    pub destination: Destination,
    /// What the targets do when it arrives.
    pub target_state: TargetState,
    /// Which vCPU calls, where it is not the host.
    pub initiator: usize,
    /// What runs.
    pub worker: Worker,
    /// With which argument.
    pub argument: u64,
    /// Whether each worker begins with an exit.
    pub observe: bool,
    /// What is recorded besides.
    pub recording: Recording,
    /// Rounds to throw away first.
    pub warmup: usize,
    /// Rounds to measure. With `warmup`, at most [`abi::RING_SAMPLES`].
    pub rounds: usize,
}

/// How a machine is run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After which time a call is given up, ns.
    pub deadline: Duration,
    /// Time between the targets' readiness and the send.
    pub settle: Duration,
}

/// What an operation of the calibration brought, in TSC cycles.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    /// Difference of two stamps in a row.
    pub stamp: Vec<i64>,
    /// From the guest's stamp to the VMM's, of one observed exit.
    pub exit_leg: Vec<i64>,
    /// Around one observed exit.
    pub exit_round_trip: Vec<i64>,
}

/// A booted guest that waits for a command.
#[derive(Debug)]
pub struct Machine<'a> {
    pub(super) vm: Vm,
    pub(super) image: &'a [u8],
    pub(super) interrupted: &'a AtomicBool,
    pub(super) tsc_khz: u64,
    pub(super) deadline_cycles: u64,
    pub(super) settle_cycles: u64,
    pub(super) settle: Duration,
    pub(super) deadline: Duration,
    pub(super) boot_time: Duration,
    /// Who records the kernel's events.
    pub(super) tracer: Option<Arc<Tracer>>,
    /// Where the vCPUs that have been paused are.
    pub(super) paused: BTreeMap<usize, Option<VcpuState>>,
}

/// How long the main thread sleeps between two looks at the interrupt flag and the guest's progress.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// How often calls are disturbed.
pub(super) const DISTURB: Duration = Duration::from_millis(1);
/// How long a vCPU's thread may take to leave the guest when it is kicked.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

impl<'a> Machine<'a> {
    /// Starts a guest and waits until all its processors are up.
    ///
    /// # Errors
    /// [`Error::Vm`], [`Error::Interrupted`], and what a guest that does not boot brings about.
    pub fn boot(
        hypervisor: &Hypervisor,
        config: &VmConfig<'a>,
        limits: Limits,
        interrupted: &'a AtomicBool,
    ) -> Result<Self, Error> {
        let start = Instant::now();
        let vm = Vm::start(hypervisor, config, limits.deadline)?;
        let tsc_khz = vm.tsc().khz;
        let mut machine = Self {
            vm,
            image: config.image,
            interrupted,
            tsc_khz,
            deadline_cycles: cycles(limits.deadline, tsc_khz),
            settle_cycles: cycles(limits.settle, tsc_khz),
            settle: limits.settle,
            deadline: limits.deadline,
            boot_time: Duration::ZERO,
            tracer: None,
            paused: BTreeMap::new(),
        };
        let report = machine.wait_for_doorbell()?;
        machine.expect_done(&report, "booting")?;
        machine.boot_time = start.elapsed();
        Ok(machine)
    }

    /// How many vCPUs.
    pub fn vcpus(&self) -> usize {
        self.vm.vcpus()
    }

    /// Frequency of the guest's TSC, kHz.
    pub fn tsc_khz(&self) -> u64 {
        self.tsc_khz
    }

    /// From the first KVM ioctl to the doorbell that says that all processors are up.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// Ends it. How many of its vCPUs' threads have panicked.
    pub fn end(self) -> usize {
        self.vm.end()
    }

    /// The virtual machine.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// Runs one block.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`]. After an error the machine is of no more use.
    pub fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, Error> {
        if routes::of(spec.route).is_host() {
            return self.run_host_block(spec);
        }
        let asked = (spec.warmup + spec.rounds).min(abi::RING_SAMPLES);
        let running = self.start_recording(spec, Initiator::of(spec))?;
        self.command(&command::Block {
            route: routes::of(spec.route).in_guest as u32,
            destination: spec.destination as u32,
            target_state: spec.target_state as u32,
            worker: spec.worker as u32,
            observe: spec.observe.into(),
            initiator: wire(spec.initiator),
            rounds: wire(asked),
            argument: spec.argument,
            settle: self.settle_cycles,
            deadline: self.deadline_cycles,
            reserved: 0,
        })?;
        let report = self.wait_for_doorbell()?;
        self.expect_done(&report, "broadcasting")?;
        if report.rounds as usize != asked {
            return Err(Error::BadReport(format!("{} rounds of {asked} are done", report.rounds)));
        }
        let left = self.stop_recording(running)?;
        let rounds = self.read_rounds(spec, asked, &left.rings)?;
        Ok(self.assess(spec, rounds, &report, left, asked))
    }

    pub(super) fn assess(
        &self,
        spec: &BlockSpec,
        rounds: Vec<RawRound>,
        report: &Report,
        mut left: Left,
        asked: usize,
    ) -> Block {
        let exits = std::mem::take(&mut left.exits);
        let mut block = assess(spec, rounds, report, exits, &left.events, asked);
        self.complete(&mut block, spec.recording, &left);
        block
    }

    /// Lets the guest's initiators make their calls, and reads what everybody has counted. `disturb` is called every
    /// millisecond or so meanwhile.
    ///
    /// # Errors
    /// As [`Machine::run_block`]; calls that were given up are counted, and no error.
    pub fn run_calls(&mut self, spec: &CallsSpec, disturb: &mut dyn FnMut(&Vm)) -> Result<Calls, Error> {
        if routes::of(spec.route).is_host() {
            return self.run_host_calls(spec, disturb);
        }
        self.drain_rings();
        self.command(&spec.calls_command(self.tsc_khz))?;
        let report = self.wait_for_doorbell_while(spec.deadline, Some(disturb))?;
        self.expect_done(&report, "broadcasting")?;
        self.drain_rings();
        let vcpus = (0..self.vcpus()).map(|vcpu| self.tally(vcpu)).collect::<Result<_, Error>>()?;
        Ok(Calls { made: report.rounds, duplicate: report.duplicate, late: report.late, vcpus, by_host: false })
    }

    pub(super) fn tally(&self, vcpu: usize) -> Result<(Tally, u32), Error> {
        let place = GuestAddress(abi::vcpu_area(vcpu) + area::TALLY);
        let tally: Tally = wire::read(self.vm.memory(), place)?;
        Ok((tally, self.vm.memory().read_obj(user_word(vcpu, offset_of!(abi::UserPage, asked)))?))
    }

    /// Measures the instruments on vCPU 0, `count` times.
    ///
    /// # Errors
    /// As [`Machine::run_block`].
    pub fn calibrate(&mut self, count: usize) -> Result<Calibration, Error> {
        let count = count.min(abi::RING_SAMPLES);
        self.drain_rings();
        self.command(&command::Calibrate { samples: wire(count) })?;
        let report = self.wait_for_doorbell()?;
        self.expect_done(&report, "calibrating")?;
        let stays = self.drain_rings();
        let mut stamps = self.vmm_stamps(0, &stays[0]);
        let mut calibration = Calibration::default();
        for number in 0..count {
            let sample = self.sample(0, number)?;
            let difference = |later: u64, earlier: u64| later.wrapping_sub(earlier).cast_signed();
            calibration.stamp.push(difference(sample.t1, sample.t0));
            calibration.exit_round_trip.push(difference(sample.x, sample.w));
            if let Some(stamp) = stamps.remove(&sample.generation) {
                calibration.exit_leg.push(difference(stamp, sample.w));
            }
        }
        Ok(calibration)
    }

    /// Exchanges stamps between vCPU 0 and `partner` for at most `time`.
    ///
    /// # Errors
    /// As [`Machine::run_block`].
    pub fn exchange_clocks(&mut self, partner: usize, time: Duration) -> Result<Vec<Exchange>, Error> {
        self.command(&command::ClockExchange {
            partner: wire(partner),
            reserved: 0,
            duration: cycles(time, self.tsc_khz),
            deadline: self.deadline_cycles,
        })?;
        let report = self.wait_for_doorbell()?;
        self.expect_done(&report, "comparing clocks")?;
        (0..(report.rounds as usize).min(abi::RING_SAMPLES))
            .map(|number| {
                let sample = self.sample(0, number)?;
                Ok(Exchange { sent: sample.t0, answered: sample.w, received: sample.t2 })
            })
            .collect()
    }

    pub(super) fn command(&self, payload: &impl Payload) -> Result<(), Error> {
        let address = abi::COMMAND_PAGE + offset_of!(CommandPage, command) as u64;
        wire::write(self.vm.memory(), &Command::new(payload), GuestAddress(address))?;
        self.vm.resume(0);
        Ok(())
    }

    /// Waits until vCPU 0 has nothing more to do, and reads what it says.
    pub(super) fn wait_for_doorbell(&mut self) -> Result<Report, Error> {
        self.wait_for_doorbell_while(self.deadline, None)
    }

    /// As [`Machine::wait_for_doorbell`], while calls with this deadline are made and disturbed.
    pub(super) fn wait_for_doorbell_while(
        &mut self,
        deadline: Duration,
        mut disturb: Option<&mut dyn FnMut(&Vm)>,
    ) -> Result<Report, Error> {
        let look = if disturb.is_some() { DISTURB } else { LOOK };
        let patience = deadline * 3 + Duration::from_secs(2);
        let mut progress = (self.calls_completed(), Instant::now());
        loop {
            // First: where every answer comes sooner than `look`, nobody would see it otherwise.
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if let Some(report) = self.hear(look)? {
                return Ok(report);
            }
            let completed = self.calls_completed();
            if completed != progress.0 {
                progress = (completed, Instant::now());
            } else if progress.1.elapsed() > patience {
                return Err(self
                    .ask_watchdogs()
                    .unwrap_or_else(|| self.silent("waiting for the guest", None, patience)));
            }
            if let Some(disturb) = &mut disturb {
                disturb(&self.vm);
            }
        }
    }

    /// What a vCPU's thread has to say next, if it says something within `timeout`: the report, if it is the doorbell.
    pub(super) fn hear(&mut self, timeout: Duration) -> Result<Option<Report>, Error> {
        self.vm.wait(timeout).map_or(Ok(None), |stopped| self.take_stop(stopped))
    }

    pub(super) fn take_stop(&mut self, stopped: Stopped) -> Result<Option<Report>, Error> {
        let Stopped { vcpu, reason, state } = stopped;
        match reason {
            StopReason::Doorbell if vcpu == 0 => {
                let address = abi::COMMAND_PAGE + offset_of!(CommandPage, report) as u64;
                Ok(Some(wire::read(self.vm.memory(), GuestAddress(address))?))
            }
            StopReason::Doorbell => Err(Error::BadReport(format!("vCPU {vcpu} rings the doorbell, which is vCPU 0's"))),
            StopReason::Unhandled(exit) if exit.kind == ExitKind::BugCheck => Err(self.bug_check(vcpu)),
            StopReason::Unhandled(exit) => {
                let at = state.map_or_else(String::new, |at| format!(" at {}", self.place(at.rip)));
                Err(Error::Stopped { vcpu, exit, at })
            }
            StopReason::Paused => {
                self.paused.insert(vcpu, state);
                Ok(None)
            }
        }
    }

    /// Sends every vCPU an NMI: one whose worker overstays its deadline answers with a bug check.
    pub(super) fn ask_watchdogs(&self) -> Option<Error> {
        for vcpu in 0..self.vcpus() {
            // What cannot be asked does not answer.
            let _ = self.vm.inject(vcpu, Injection::Nmi);
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(Stopped { vcpu, reason: StopReason::Unhandled(exit), .. }) = self.vm.wait(LOOK)
                && exit.kind == ExitKind::BugCheck
            {
                return Some(self.bug_check(vcpu));
            }
        }
        None
    }

    /// Calls that vCPU 0 has completed in this block: what the watchdog takes for life.
    fn calls_completed(&self) -> u32 {
        let handled = user_word(0, offset_of!(abi::UserPage, handled));
        self.vm.memory().read_obj(handled).unwrap_or_default()
    }

    pub(super) fn expect_done(&mut self, report: &Report, operation: &'static str) -> Result<(), Error> {
        match Status::from_wire(report.status) {
            Some(Status::Done) => Ok(()),
            Some(Status::Aborted | Status::NotReady | Status::NotResponding) => {
                Err(self.silent(operation, Some(report), self.deadline))
            }
            Some(Status::BadCommand) => Err(Error::BadReport("it does not know the command".to_owned())),
            None => Err(Error::BadReport(format!("status {}", report.status))),
        }
    }

    fn bug_check(&self, reporter: usize) -> Error {
        let address = abi::COMMAND_PAGE + offset_of!(CommandPage, bug_check) as u64;
        match wire::read(self.vm.memory(), GuestAddress(address)) {
            Ok(bug) => Error::BugCheck(Box::new(BugReport::new(&bug, reporter, self.place_of_bug(&bug)))),
            Err(error) => error.into(),
        }
    }

    /// Where the rule was broken: the guest says, but for a worker that does not return. That one is looked up.
    fn place_of_bug(&self, bug: &BugCheck) -> String {
        let vcpu = bug.vcpu as usize;
        if Rule::from_wire(bug.rule) != Some(Rule::WorkerOverstayed) || bug.rip != 0 || vcpu >= self.vcpus() {
            return self.place(bug.rip);
        }
        self.vm.pause(vcpu);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(Stopped { vcpu: from, reason: StopReason::Paused, state: Some(at) }) = self.vm.wait(LOOK)
                && from == vcpu
            {
                return self.place(at.rip);
            }
        }
        "an unknown place".to_owned()
    }

    fn place(&self, rip: u64) -> String {
        crate::guest::diagnosis::place(self.image, rip)
    }

    /// Gets every vCPU out of the guest and says where each was.
    pub(super) fn silent(&mut self, operation: &'static str, report: Option<&Report>, waited: Duration) -> Error {
        let vcpus = self.vcpus();
        (0..vcpus).for_each(|vcpu| self.vm.pause(vcpu));
        let mut states: Vec<Option<VcpuState>> = vec![None; vcpus];
        let mut answers = self.paused.len();
        for (&vcpu, &state) in &self.paused {
            states[vcpu] = state;
        }
        let start = Instant::now();
        while answers < vcpus && start.elapsed() < PATIENCE {
            // A vCPU that has rung the doorbell waits outside the guest, and does not answer.
            if report.is_some() && answers == vcpus - 1 && states[0].is_none() {
                break;
            }
            if let Some(stopped) = self.vm.wait(LOOK) {
                states[stopped.vcpu] = stopped.state;
                answers += 1;
            }
        }
        let missing = report.map_or_else(Vec::new, |report| members(&report.missing, vcpus));
        let places = states.into_iter().map(|at| at.map(|at| (at, self.place(at.rip)))).collect();
        Error::Silent(Box::new(Diagnosis {
            operation,
            round: report.map(|report| report.rounds),
            generation: report.map(|report| report.generation).filter(|&generation| generation != 0),
            status: report.and_then(|report| Status::from_wire(report.status)),
            waited,
            missing,
            places,
        }))
    }

    /// The VMM's stamps of a vCPU's observed exits by generation, in the guest's clock.
    fn vmm_stamps(&self, vcpu: usize, stays: &[Stay]) -> BTreeMap<u32, u64> {
        let offset = self.vm.tsc().offsets[vcpu].cycles;
        let observed = stays.iter().filter(|stay| stay.exit.kind == ExitKind::Observe);
        observed
            .filter_map(|stay| {
                let generation = u32::try_from(stay.exit.payload).ok()?;
                Some((generation, stay.returned.wrapping_add_signed(offset)))
            })
            .collect()
    }

    fn sample(&self, vcpu: usize, number: usize) -> Result<Sample, Error> {
        let address = abi::vcpu_area(vcpu) + area::RING + (number * size_of::<Sample>()) as u64;
        Ok(wire::read(self.vm.memory(), GuestAddress(address))?)
    }

    /// Reads every vCPU's samples and puts them together by round.
    pub(super) fn read_rounds(
        &self,
        spec: &BlockSpec,
        asked: usize,
        stays: &[Vec<Stay>],
    ) -> Result<Vec<RawRound>, Error> {
        let vcpus = self.vcpus();
        // The host's stamps come into vCPU 0's sample.
        let first = if routes::of(spec.route).is_host() { 0 } else { spec.initiator };
        let mut rounds = (0..asked)
            .map(|number| {
                let stamps = self.sample(first, number)?;
                Ok(RawRound { stamps, samples: Vec::with_capacity(vcpus), vmm: Vec::with_capacity(vcpus) })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        for (vcpu, stays) in stays.iter().enumerate() {
            let mut stamps = self.vmm_stamps(vcpu, stays);
            for (number, round) in rounds.iter_mut().enumerate() {
                let generation = round.stamps.generation;
                let sample = self.sample(vcpu, number)?;
                check(spec, vcpu, &sample, generation)?;
                round.samples.push(sample);
                round.vmm.push(stamps.remove(&generation));
            }
        }
        Ok(rounds)
    }
}

/// Where a word of a vCPU's user page lies, by its offset in it.
pub(super) fn user_word(vcpu: usize, offset: usize) -> GuestAddress {
    GuestAddress(abi::vcpu_area(vcpu) + area::USER + offset as u64)
}

/// A number that the ABI's limits keep below 2^32.
pub(super) fn wire(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The members of a processor mask that this machine has.
fn members(members: &Mask, vcpus: usize) -> Vec<usize> {
    mask::indices(members).filter(|&vcpu| vcpu < vcpus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_names_its_members_within_the_machine() {
        let mut mask = [0; abi::MASK_WORDS];
        mask[0] = 0b110;
        mask[1] = 1;
        assert_eq!(members(&mask, 65), [1, 2, 64]);
        assert_eq!(members(&[u64::MAX; abi::MASK_WORDS], 3), [0, 1, 2], "a hostile mask");
    }
}
