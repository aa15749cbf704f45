//! A machine that blocks are run on: a virtual one, or a test's invention.

use super::clock_partners::ClockPartners;
use crate::events::kernel::Tracer;
use crate::events::samples::Block;
use crate::guest::blocks::{self, BlockSpec};
use crate::guest::calibration::{self, Calibration};
use crate::guest::session::{self, Session};
use crate::host::watch::{Baseline, Watch};
use crate::results::disturbance::Kind;
use crate::statistics::clock_error::{ClockError, Comparisons};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What a measurement needs of a machine.
pub trait Machine {
    /// Runs one block.
    ///
    /// # Errors
    /// As [`blocks::run`]. After an error the machine is of no more use.
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, session::Error>;

    /// Measures the instruments, each so often.
    ///
    /// # Errors
    /// As [`calibration::calibrate`].
    fn calibrate(&mut self, count: usize) -> Result<Calibration, session::Error>;

    /// The frequency of the guest's TSC, kHz.
    fn tsc_khz(&self) -> u64;

    /// Compares the clocks, of which earlier comparisons have told so much.
    ///
    /// # Errors
    /// As [`crate::guest::clock_exchange::exchange`].
    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, session::Error>;

    /// From KVM_CREATE_VM until the guest was up.
    fn boot_time(&self) -> Duration;

    /// What a reader should know about this machine.
    fn warnings(&self) -> Vec<String>;

    /// Which disturbances of its blocks this host does not tell of; `None`: nobody looks for any.
    fn unknown_disturbances(&self) -> Option<BTreeSet<Kind>> {
        None
    }

    /// Looks for disturbances of a host that the run has found so, and adds what it has not yet looked at.
    fn compare_with(&mut self, _baseline: &mut Baseline) {}

    /// The name of an exit that the kernel's events tell of, by its reason and instruction set (KVM_ISA_*).
    fn exit_name(&self, reason: u64, _isa: u64) -> String {
        format!("exit {reason:#x}")
    }
}

pub struct VirtualMachine<'a> {
    session: Session<'a>,
    tracer: Option<Arc<Tracer>>,
    partners: ClockPartners,
}

impl<'a> VirtualMachine<'a> {
    /// From a booted guest whose vCPUs are pinned to `pin` in turn, or may use all of `cpus`. `tracer` records the kernel's
    /// events, where a block asks for them.
    pub fn new(mut session: Session<'a>, tracer: Option<Arc<Tracer>>, pin: &[usize], cpus: &[usize]) -> Self {
        let partners = ClockPartners::choose(session.vcpus(), pin, cpus);
        session.watch_blocks(pin);
        Self { session, tracer, partners }
    }

    /// The guest.
    pub fn session(&self) -> &Session<'a> {
        &self.session
    }
}

impl Machine for VirtualMachine<'_> {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, session::Error> {
        blocks::run(&mut self.session, spec, self.tracer.as_deref())
    }

    fn calibrate(&mut self, count: usize) -> Result<Calibration, session::Error> {
        calibration::calibrate(&mut self.session, count)
    }

    fn tsc_khz(&self) -> u64 {
        self.session.tsc_khz()
    }

    fn clock_error(&mut self, earlier: &Comparisons) -> Result<ClockError, session::Error> {
        self.partners.clock_error(&mut self.session, earlier)
    }

    fn boot_time(&self) -> Duration {
        self.session.boot_time()
    }

    fn unknown_disturbances(&self) -> Option<BTreeSet<Kind>> {
        self.session.watch().map(Watch::unknown)
    }

    fn compare_with(&mut self, baseline: &mut Baseline) {
        if let Some(watch) = self.session.watch_mut() {
            watch.compare_with(baseline);
        }
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
            warnings.push(format!("{dropped} exits found no room in the trace rings and have no VMM stamp"));
        }
        warnings
    }
}
