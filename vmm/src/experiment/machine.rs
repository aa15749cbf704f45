//! A virtual machine as a source of blocks, with the bound of its clocks; and the proof that a route works.

use crate::config::routes::{self, Route};
use crate::config::{CellId, Observe};
use crate::events::clock;
use crate::events::kernel::Tracer;
use crate::events::recording::Recording;
use crate::events::samples::Block;
use crate::experiment::Source;
use crate::guest::blocks::{self, BlockSpec};
use crate::guest::calibration::{self, Calibration};
use crate::guest::clock_exchange;
use crate::guest::session::{self, Session};
use crate::vm::image;
use crate::vm::{ApicIds, Hypervisor, VmConfig};
use guest_stub::abi::{Destination, Worker};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How the placement of vCPUs on CPUs, and their TSC offsets, bound the clocks: exchanges stamps with one vCPU on each
/// other CPU, since vCPUs of one CPU with equal offsets read one TSC.
struct ClockPartners(Vec<usize>);

impl ClockPartners {
    /// The vCPUs to exchange stamps with.
    fn choose(vcpus: usize, pin: &[usize], cpus: usize) -> Self {
        if pin.is_empty() {
            return Self((1..vcpus.min(cpus.max(2))).collect());
        }
        let mut seen = vec![pin[0]];
        let mut partners = Vec::new();
        for vcpu in 1..vcpus {
            let cpu = pin[vcpu % pin.len()];
            if !seen.contains(&cpu) {
                seen.push(cpu);
                partners.push(vcpu);
            }
        }
        Self(partners)
    }
}

/// A virtual machine as a source of blocks.
pub struct MachineSource<'a> {
    session: Session<'a>,
    tracer: Option<Arc<Tracer>>,
    partners: ClockPartners,
}

impl<'a> MachineSource<'a> {
    /// From a booted machine whose vCPUs are pinned to `pin` in turn, or may use `cpus` CPUs. `tracer` records the kernel's
    /// events, where a block asks for them.
    pub fn new(session: Session<'a>, tracer: Option<Arc<Tracer>>, pin: &[usize], cpus: usize) -> Self {
        let partners = ClockPartners::choose(session.vcpus(), pin, cpus);
        Self { session, tracer, partners }
    }
}

impl Source for MachineSource<'_> {
    fn run_block(&mut self, spec: &BlockSpec) -> Result<Block, session::Error> {
        blocks::run(&mut self.session, spec, self.tracer.as_deref())
    }

    fn calibrate(&mut self) -> Result<Calibration, session::Error> {
        const PAIRS: usize = 200;
        calibration::calibrate(&mut self.session, PAIRS)
    }

    fn tsc_khz(&self) -> u64 {
        self.session.tsc_khz()
    }

    fn clock_error(&mut self) -> Result<(u64, String), session::Error> {
        // The ring of exchanges is full long before, unless the partner does not get its CPU.
        const TIME: Duration = Duration::from_millis(50);
        let offsets = &self.session.vm().tsc().offsets;
        let cycles = || offsets.iter().map(|offset| offset.cycles);
        let exact = offsets.iter().all(|offset| offset.method == clock::Method::Attribute);
        let spread = cycles().max().unwrap_or(0).abs_diff(cycles().min().unwrap_or(0));
        let offsets = match (exact, spread) {
            (true, 0) => "all vCPUs have one TSC offset (KVM_VCPU_TSC_OFFSET)".to_owned(),
            (true, _) => format!("TSC offsets differ by {spread} cycles (KVM_VCPU_TSC_OFFSET)"),
            (false, _) => "TSC offsets estimated by reading IA32_TSC between two host stamps".to_owned(),
        };
        let mut bounds = Vec::new();
        let mut exchanges = 0;
        for &partner in &self.partners.0 {
            let made = clock_exchange::exchange(&mut self.session, partner, TIME)?;
            exchanges += made.len();
            // No exchange within the time: the clocks may be that far apart.
            bounds.push(clock::bound(&made).unwrap_or(clock::cycles(TIME, self.tsc_khz())));
        }
        // vCPUs that share a partner's CPU read its TSC, with their own offset.
        let error = clock::skew_error(bounds).saturating_add(if exact { spread } else { 0 });
        let compared = self.partners.0.len();
        Ok((error, format!("{offsets}; {exchanges} exchanges of stamps with {compared} vCPUs on other CPUs")))
    }

    fn boot_time(&self) -> Duration {
        self.session.boot_time()
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

/// Makes one broadcast call over `route` on a fresh machine of two vCPUs: the proof that it works.
///
/// # Errors
/// Whatever goes wrong.
pub fn probe(hypervisor: &Hypervisor, route: Route, interrupted: &AtomicBool) -> Result<(), session::Error> {
    let config = VmConfig {
        vcpus: 2,
        ids: ApicIds::Consecutive,
        irqchip: routes::of(route).local_apics,
        pin: &[],
        cpus: 1,
        image: image::EMBEDDED,
        halt_poll_ns: None,
    };
    let limits = session::Limits { deadline: Duration::from_secs(4), settle: Duration::ZERO };
    let mut session = Session::boot(hypervisor, &config, limits, interrupted)?;
    let (destination, target_state) = (Destination::AllButSelf, routes::of(route).probe_state);
    let cell = CellId { route, destination, target_state, vcpus: 2, observe: Observe::Guest };
    let spec = BlockSpec {
        cell,
        initiator: 0,
        worker: Worker::Stamp,
        argument: 0,
        recording: Recording::COUNTS,
        warmup: 0,
        rounds: 1,
    };
    blocks::run(&mut session, &spec, None).map(|_| ())
}
