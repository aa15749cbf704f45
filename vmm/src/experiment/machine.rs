//! A machine that blocks are run on: a virtual one, the host's own processors, the record of another one, or a test's invention.

use super::clock_partners::ClockPartners;
use crate::events::acts::Acted;
use crate::events::kernel::Tracer;
use crate::events::samples::Block;
use crate::guest::acts;
use crate::guest::blocks::{self, BlockSpec};
use crate::guest::calibration::{self, Calibration};
use crate::guest::delay::{self, Share};
use crate::guest::session::{self, Session};
use crate::host::watch::{Baseline, Watch};
use crate::native;
use crate::results::count::count;
use crate::results::disturbance::Kind;
use crate::results::ran_on::RanOn;
use crate::statistics::clock_error::{ClockError, Comparisons};
use guest_stub::abi::act::Act;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Why a machine did not do what it was asked for. After an error it is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call of a block was given up.
    #[error("{}", .0.silence)]
    GivenUp(Box<GivenUp>),
    /// Something else went wrong with a virtual machine.
    #[error(transparent)]
    Virtual(session::Error),
    /// The host's own processors could not be used.
    #[error(transparent)]
    Native(#[from] native::Error),
    /// A log of what another machine has run lacks the block, which is no fault of its calls.
    #[error("the log lacks the block")]
    NotRecorded,
}

/// A block that ended with a call that was given up.
#[derive(Debug)]
pub struct GivenUp {
    /// Who was silent, in words.
    pub silence: String,
    /// The rounds before that call; its integrity counts the call.
    pub block: Block,
}

impl Error {
    /// Whether the user wants to stop.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Virtual(session::Error::Interrupted) | Self::Native(native::Error::Interrupted))
    }
}

impl From<session::Error> for Error {
    fn from(error: session::Error) -> Self {
        if let session::Error::GivenUp(given_up) = error {
            let session::GivenUp { diagnosis, block } = *given_up;
            Self::GivenUp(Box::new(GivenUp { silence: diagnosis.to_string(), block }))
        } else {
            Self::Virtual(error)
        }
    }
}

/// What a measurement needs of a machine.
pub trait Machine {
    /// Runs one block.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`].
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, Error>;

    /// Runs one block whose calls are lengthened by a share of what they take, if this machine can do that: natively, they are not.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`].
    fn run_delayed_block(&mut self, spec: &BlockSpec, _: Share) -> Result<Block, Error> {
        self.run_block(spec)
    }

    /// Whether it has run already, and answers with what was recorded then.
    fn has_run(&self) -> bool {
        false
    }

    /// Measures the instruments, each so often.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`] but [`Error::GivenUp`].
    fn calibrate(&mut self, count: usize) -> Result<Calibration, Error>;

    /// Does one thing so often on the first vCPU, after `warmup` that do not count, to learn what it costs.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`] but [`Error::GivenUp`].
    fn act(&mut self, _: Act, _warmup: usize, _count: usize) -> Result<Acted, Error> {
        Ok(Acted::Absent("it is no virtual machine".to_owned()))
    }

    /// The frequency of the TSC that calls are stamped with, kHz.
    fn tsc_khz(&self) -> u64;

    /// Compares the clocks, of which earlier comparisons have told so much.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`] but [`Error::GivenUp`].
    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, Error>;

    /// How long it took to be up: a guest from KVM_CREATE_VM on.
    fn boot_time(&self) -> Duration;

    /// What a reader should know about this machine.
    fn warnings(&self) -> Vec<String>;

    /// The round trips, in cycles of the TSC, of a rendezvous of as many threads of the host as there are vCPUs, which sleep while they
    /// wait; `None`: there is nothing like it.
    ///
    /// # Errors
    /// [`Error::Native`].
    fn sleeping_threads(&mut self, _rounds: u32) -> Result<Option<Vec<i64>>, Error> {
        Ok(None)
    }

    /// Which disturbances of its blocks this host does not tell of; `None`: nobody looks for any.
    fn unknown_disturbances(&self) -> Option<BTreeSet<Kind>> {
        None
    }

    /// Where its vCPUs' threads ran, or those that native calls are of; empty: nobody has looked.
    fn ran_on(&self) -> Vec<RanOn> {
        Vec::new()
    }

    /// Looks for disturbances of a host that the run has found so, and adds what it has not yet looked at.
    fn compare_with(&mut self, _baseline: &mut Baseline) {}

    /// The name of an exit that the kernel's events tell of, by its reason and instruction set (KVM_ISA_*).
    fn exit_name(&self, reason: u64, _isa: u64) -> String {
        format!("exit {reason:#x}")
    }
}

impl<M: Machine + ?Sized> Machine for Box<M> {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, Error> {
        M::run_block(self, spec)
    }

    fn run_delayed_block(&mut self, spec: &BlockSpec, share: Share) -> Result<Block, Error> {
        M::run_delayed_block(self, spec, share)
    }

    fn has_run(&self) -> bool {
        M::has_run(self)
    }

    fn calibrate(&mut self, count: usize) -> Result<Calibration, Error> {
        M::calibrate(self, count)
    }

    fn act(&mut self, act: Act, warmup: usize, count: usize) -> Result<Acted, Error> {
        M::act(self, act, warmup, count)
    }

    fn tsc_khz(&self) -> u64 {
        M::tsc_khz(self)
    }

    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, Error> {
        M::clock_error(self, earlier)
    }

    fn boot_time(&self) -> Duration {
        M::boot_time(self)
    }

    fn warnings(&self) -> Vec<String> {
        M::warnings(self)
    }

    fn sleeping_threads(&mut self, rounds: u32) -> Result<Option<Vec<i64>>, Error> {
        M::sleeping_threads(self, rounds)
    }

    fn unknown_disturbances(&self) -> Option<BTreeSet<Kind>> {
        M::unknown_disturbances(self)
    }

    fn ran_on(&self) -> Vec<RanOn> {
        M::ran_on(self)
    }

    fn compare_with(&mut self, baseline: &mut Baseline) {
        M::compare_with(self, baseline);
    }

    fn exit_name(&self, reason: u64, isa: u64) -> String {
        M::exit_name(self, reason, isa)
    }
}

pub struct VirtualMachine<'a> {
    session: Session<'a>,
    tracer: Option<Arc<Tracer>>,
    partners: ClockPartners,
    pin: Vec<usize>,
}

impl<'a> VirtualMachine<'a> {
    /// From a booted guest whose vCPUs are pinned to `pin` in turn, or may use all of `cpus`. `tracer` records the kernel's
    /// events, where a block asks for them.
    pub fn new(mut session: Session<'a>, tracer: Option<Arc<Tracer>>, pin: &[usize], cpus: &[usize]) -> Self {
        let partners = ClockPartners::choose(session.vcpus(), pin, cpus);
        session.watch_blocks(pin);
        Self { session, tracer, partners, pin: pin.to_vec() }
    }

    /// The guest.
    pub fn session(&self) -> &Session<'a> {
        &self.session
    }
}

impl Machine for VirtualMachine<'_> {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, Error> {
        Ok(blocks::run(&mut self.session, spec, self.tracer.as_deref())?)
    }

    fn run_delayed_block(&mut self, spec: &BlockSpec, share: Share) -> Result<Block, Error> {
        Ok(delay::run(&mut self.session, spec, share)?)
    }

    fn calibrate(&mut self, count: usize) -> Result<Calibration, Error> {
        Ok(calibration::calibrate(&mut self.session, count)?)
    }

    fn act(&mut self, act: Act, warmup: usize, count: usize) -> Result<Acted, Error> {
        Ok(acts::run(&mut self.session, act, warmup, count)?)
    }

    fn tsc_khz(&self) -> u64 {
        self.session.tsc_khz()
    }

    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, Error> {
        Ok(self.partners.clock_error(&mut self.session, earlier)?)
    }

    fn boot_time(&self) -> Duration {
        self.session.boot_time()
    }

    fn unknown_disturbances(&self) -> Option<BTreeSet<Kind>> {
        self.session.watch().map(Watch::unknown)
    }

    fn ran_on(&self) -> Vec<RanOn> {
        self.session.watch().map_or_else(Vec::new, |watch| watch.ran_on().to_vec())
    }

    fn compare_with(&mut self, baseline: &mut Baseline) {
        if let Some(watch) = self.session.watch_mut() {
            watch.compare_with(baseline);
        }
    }

    fn sleeping_threads(&mut self, rounds: u32) -> Result<Option<Vec<i64>>, Error> {
        let vcpus = self.session.vcpus();
        if vcpus < 2 {
            return Ok(None);
        }
        Ok(Some(native::crowd::round_trips(vcpus, &self.pin, rounds)?))
    }

    fn exit_name(&self, reason: u64, isa: u64) -> String {
        self.tracer.as_ref().map_or_else(|| format!("exit {reason:#x}"), |tracer| tracer.exit_name(reason, isa))
    }

    fn warnings(&self) -> Vec<String> {
        let vm = self.session.vm();
        let mut warnings = Vec::new();
        if let Some(error) = vm.stats_error() {
            warnings.push(format!(
                "KVM's own counters are missing ({error}): exits in the kernel are not counted, and that targets \
                 halted is known from the guest alone"
            ));
        }
        let dropped: u64 = (0..vm.vcpus()).map(|vcpu| vm.ring(vcpu).dropped()).sum();
        if dropped > 0 {
            warnings.push(format!(
                "{} found no room in the trace rings, without a stamp of the VMM",
                count(dropped, "exit")
            ));
        }
        warnings
    }
}
