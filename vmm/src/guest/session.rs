//! A booted guest, with its mailbox (the command page) and its doorbell: one command at a time.

pub use super::error::{Error, GivenUp};

use super::bug_check;
use super::delay::Delay;
use super::host_call::{self, HostCall, HostResults};
use super::host_caller::HostCaller;
use super::silence::{self, Diagnosis, Paused, Silence};
use crate::config;
use crate::events::clock::cycles;
use crate::events::exit::ExitKind;
use crate::host::Sources;
use crate::host::watch::{Thread, Watch};
use crate::vcpu::stop::{StopReason, Stopped};
use crate::vm::wire;
use crate::vm::{Hypervisor, Vm, VmConfig};
use guest_stub::abi::command::{Command, Payload};
use guest_stub::abi::{self, CommandPage, Mask, Report, UserPage};
use guest_stub::mask;
use rustix::thread::gettid;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vm_memory::GuestAddress;

/// How calls are made.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After which time a call is given up.
    pub deadline: Duration,
    /// Time between the targets' readiness and the send.
    pub settle: Duration,
}

impl Limits {
    /// Whether an interrupt that had not arrived when it was sent again was lost. The second send comes after half the deadline: where
    /// that is no longer than a thread may wait for its CPU, the first one may still have been on its way.
    pub(super) fn tell_lost_from_slow(self) -> bool {
        const LONGEST_WAIT: Duration = Duration::from_millis(50);
        self.deadline / 2 >= LONGEST_WAIT
    }
}

/// A booted guest that waits for a command.
#[derive(Debug)]
pub struct Session<'a> {
    vm: Vm,
    host_caller: HostCaller,
    image: &'a [u8],
    interrupted: &'a AtomicBool,
    limits: Limits,
    /// How long a target in state `out` is out, each time.
    out: Duration,
    delay: Delay,
    /// What is no call may take so long: a deadline of the calls may be short on purpose.
    patience: Duration,
    boot_time: Duration,
    paused: Paused,
    watch: Option<Watch>,
}

/// How often calls are disturbed.
pub(super) const DISTURB: Duration = Duration::from_millis(1);

/// Called every millisecond or so while calls are made.
pub type Disturb<'a> = &'a mut dyn FnMut(&Vm);

impl<'a> Session<'a> {
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
        let patience = limits.deadline.max(config::default_deadline(config.vcpus, config.cpus));
        let vm = Vm::start(hypervisor, config, patience)?;
        vm.parking().set_patience(parked(limits.deadline));
        let mut session = Self {
            host_caller: HostCaller::of(&vm),
            vm,
            image: config.image,
            interrupted,
            limits,
            out: config::OUT,
            delay: Delay::default(),
            patience,
            boot_time: Duration::ZERO,
            paused: Paused::new(),
            watch: None,
        };
        let report = session.wait_for_doorbell()?;
        session.expect_done(report, "booting", patience)?;
        session.boot_time = start.elapsed();
        Ok(session)
    }

    /// How many vCPUs.
    pub fn vcpus(&self) -> usize {
        self.vm.vcpus()
    }

    /// Frequency of the guest's TSC, kHz.
    pub fn tsc_khz(&self) -> u64 {
        self.vm.tsc().khz
    }

    /// From the first KVM ioctl to the doorbell that says that all processors are up.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// How calls are made.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How long a target in state `out` is out of the guest, each time.
    pub fn out(&self) -> Duration {
        self.out
    }

    /// Sets it, from the next block on.
    pub fn set_out(&mut self, out: Duration) {
        self.out = out;
    }

    /// Instructions that lengthen the calls of blocks.
    pub(super) fn delay_instructions(&self) -> u32 {
        self.delay.instructions
    }

    /// What is known of them.
    pub(super) fn delay_mut(&mut self) -> &mut Delay {
        &mut self.delay
    }

    /// The virtual machine.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// The host's side of broadcast calls, for threads that make many.
    pub fn host_caller(&self) -> &HostCaller {
        &self.host_caller
    }

    /// Makes a broadcast call from outside the guest: all of its targets run the worker at once, and this returns when all have.
    /// From any thread, while the vCPUs [`serve`](super::serve::serve).
    ///
    /// # Errors
    /// Every variant of [`host_call::Error`].
    pub fn broadcast(&self, call: &HostCall<'_>) -> Result<HostResults, host_call::Error> {
        self.host_caller.caller()?.broadcast(call)
    }

    /// Ends it. How many of its vCPUs' threads have panicked.
    pub fn end(self) -> usize {
        self.vm.end()
    }

    /// Looks from now on for what disturbs the blocks that this thread runs, of vCPUs that are pinned to `pin` in turn.
    pub fn watch_blocks(&mut self, pin: &[usize]) {
        let of_vcpu = |vcpu: usize| {
            Some(Thread { vcpu: Some(vcpu), id: self.vm.thread_id(vcpu)?, pin: config::cpu_of(pin, vcpu) })
        };
        let host = Thread { vcpu: None, id: gettid().as_raw_nonzero().get().unsigned_abs(), pin: None };
        let threads: Vec<Thread> = (0..self.vcpus()).filter_map(of_vcpu).chain([host]).collect();
        self.watch = Some(Watch::open(&Sources::system(), &threads));
    }

    /// What looks for disturbances, if something does.
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// As [`Session::watch`], to be told when a block begins and ends, and what the machine was like before.
    pub fn watch_mut(&mut self) -> Option<&mut Watch> {
        self.watch.as_mut()
    }

    /// The user wants to stop.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// A time in the guest's TSC cycles.
    pub(super) fn cycles(&self, time: Duration) -> u64 {
        cycles(time, self.tsc_khz())
    }

    /// How long what is no call may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }
}

/// The mailbox and the doorbell.
impl Session<'_> {
    /// Sends a command, and waits until vCPU 0 says that it is done. `within` is the time that the command gives.
    pub(super) fn run(
        &mut self,
        command: &impl Payload,
        operation: &'static str,
        within: Duration,
    ) -> Result<Report, Error> {
        self.send(command)?;
        let report = self.wait_for_doorbell()?;
        self.expect_done(report, operation, within)
    }

    pub(super) fn send(&self, command: &impl Payload) -> Result<(), Error> {
        let address = abi::COMMAND_PAGE + offset_of!(CommandPage, command) as u64;
        wire::write(self.vm.memory(), &Command::new(command), GuestAddress(address))?;
        self.vm.resume(0);
        Ok(())
    }

    /// Waits until vCPU 0 rings the doorbell, and reads what it says.
    pub(super) fn wait_for_doorbell(&mut self) -> Result<Report, Error> {
        const LOOK: Duration = Duration::from_millis(100);
        self.wait(LOOK, self.limits.deadline, &mut |_| ())
    }

    /// As [`Session::wait_for_doorbell`], while calls with this deadline are made and disturbed.
    pub(super) fn wait_while_disturbed(&mut self, deadline: Duration, disturb: Disturb<'_>) -> Result<Report, Error> {
        self.wait(DISTURB, deadline, disturb)
    }

    fn wait(&mut self, look: Duration, deadline: Duration, disturb: Disturb<'_>) -> Result<Report, Error> {
        let patience = (deadline * 3).max(self.patience) + Duration::from_secs(2);
        let mut progress = (self.calls_completed(), Instant::now());
        loop {
            // First: where every answer comes sooner than `look`, nobody would see it otherwise.
            if self.is_interrupted() {
                return Err(Error::Interrupted);
            }
            if let Some(report) = self.hear(look)? {
                return Ok(report);
            }
            let completed = self.calls_completed();
            if completed != progress.0 {
                progress = (completed, Instant::now());
            } else if progress.1.elapsed() > patience {
                self.ask_watchdogs()?;
                return Err(self.silent("waiting for the guest", Silence::NoProgress, patience, Vec::new(), false));
            }
            disturb(&self.vm);
        }
    }

    /// What a vCPU's thread reports next, if it reports something within `timeout`. `Some`: the doorbell.
    pub(super) fn hear(&mut self, timeout: Duration) -> Result<Option<Report>, Error> {
        let Some(Stopped { vcpu, reason, state }) = self.vm.wait(timeout) else { return Ok(None) };
        match reason {
            StopReason::Doorbell if vcpu == 0 => self.report().map(Some),
            StopReason::Doorbell => Err(Error::BadReport(format!("vCPU {vcpu} rings the doorbell, which is vCPU 0's"))),
            StopReason::Unhandled(exit) if exit.kind == ExitKind::BugCheck => Err(self.bug_check(vcpu)),
            StopReason::Unhandled(exit) => {
                let at = state.map(|at| format!(" at {}", super::place::place(self.image, at.rip)));
                Err(Error::Stopped { vcpu, exit, at: at.unwrap_or_default() })
            }
            StopReason::NotSent { errno } => {
                let source = std::io::Error::from_raw_os_error(errno);
                Err(crate::vm::Error::Kvm { operation: "KVM_SIGNAL_MSI", source }.into())
            }
            StopReason::NotPinned { cpu, errno } => {
                let source = std::io::Error::from_raw_os_error(errno);
                Err(crate::vm::Error::NotPinned { vcpu, cpu, source }.into())
            }
            StopReason::Paused => {
                self.paused.insert(vcpu, state);
                Ok(None)
            }
        }
    }

    /// What vCPU 0 has written before it rang the doorbell.
    fn report(&self) -> Result<Report, Error> {
        let address = abi::COMMAND_PAGE + offset_of!(CommandPage, report) as u64;
        Ok(wire::read(self.vm.memory(), GuestAddress(address))?)
    }

    /// Calls that vCPU 0 has completed in this block: what the watchdog takes for life.
    fn calls_completed(&self) -> u32 {
        self.user_word(0, offset_of!(UserPage, handled)).unwrap_or_default()
    }

    /// The report, unless it says that something did not happen `within` the time for it.
    pub(super) fn expect_done(
        &self,
        report: Report,
        operation: &'static str,
        within: Duration,
    ) -> Result<Report, Error> {
        let Some(silence) = Silence::told_by(&report)? else { return Ok(report) };
        let missing = members(&report.missing, self.vcpus());
        Err(self.silent(operation, silence, within, missing, true))
    }
}

/// What went wrong.
impl Session<'_> {
    fn bug_check(&self, reporter: usize) -> Error {
        match bug_check::read(&self.vm, self.image, reporter) {
            Ok(report) => Error::BugCheck(Box::new(report)),
            Err(error) => error.into(),
        }
    }

    /// Asks every vCPU for the bug check of a worker that overstays its deadline, which is the error.
    pub(super) fn ask_watchdogs(&self) -> Result<(), Error> {
        bug_check::ask_watchdogs(&self.vm).map_or(Ok(()), |vcpu| Err(self.bug_check(vcpu)))
    }

    /// [`Error::Silent`], after a look at where each vCPU was. `is_idle`: vCPU 0 has rung the doorbell.
    pub(super) fn silent(
        &self,
        operation: &'static str,
        silence: Silence,
        waited: Duration,
        missing: Vec<usize>,
        is_idle: bool,
    ) -> Error {
        let places = silence::places(&self.vm, self.image, &self.paused, is_idle);
        Error::Silent(Box::new(Diagnosis { operation, silence, waited, missing, places }))
    }
}

/// How long a vCPU sleeps at most before it looks for itself, where calls have this deadline: it is to see soon that it has passed.
pub(super) fn parked(deadline: Duration) -> Duration {
    deadline / 8
}

/// A number that the ABI's limits keep below 2^32.
pub(super) fn word(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The members of a processor mask that a machine of so many vCPUs has.
pub(super) fn members(members: &Mask, vcpus: usize) -> Vec<usize> {
    mask::indices(members).filter(|&vcpu| vcpu < vcpus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_a_short_deadline_a_second_send_is_no_evidence_of_a_loss() {
        let tell = |ms| Limits { deadline: Duration::from_millis(ms), settle: Duration::ZERO }.tell_lost_from_slow();
        assert_eq!([1, 99, 100, 4_000].map(tell), [false, false, true, true]);
    }

    #[test]
    fn a_mask_names_its_members_within_the_machine() {
        let mut mask = [0; abi::MASK_WORDS];
        mask[0] = 0b110;
        mask[1] = 1;
        assert_eq!(members(&mask, 65), [1, 2, 64]);
        assert_eq!(members(&[u64::MAX; abi::MASK_WORDS], 3), [0, 1, 2], "a hostile mask");
    }
}
