//! From options to virtual machines: the device, the image, the limits of this process.

use super::hints;
use super::interrupts::INTERRUPTED;
use super::status::{Failure, Status};
use crate::config::CellId;
use crate::config::{Call, Config, HostOffers, LocalApics, MachineSpec, Refused, plan, routes};
use crate::events::kernel::{Detail, Tracer};
use crate::experiment;
use crate::experiment::machine::{self, Machine, VirtualMachine};
use crate::experiment::native::NativeMachine;
use crate::guest::session::{self, Limits, Session};
use crate::host::latency::{self, LatencyLimit};
use crate::host::{self, Sources};
use crate::results::acceleration::Acceleration;
use crate::results::source::Source;
use crate::vm::{self, ApicIds, Hypervisor, VmConfig, image, offers};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

/// The CPUs that this process may use.
pub(super) fn allowed_cpus() -> Vec<usize> {
    host::Machine::read().allowed_cpus.filter(|cpus| !cpus.is_empty()).unwrap_or_else(|| vec![0])
}

/// KVM, which is opened when a virtual machine needs it: without one, a host needs no KVM.
pub(super) struct Kvm<'a> {
    device: &'a Path,
    opened: OnceCell<Hypervisor>,
}

impl<'a> Kvm<'a> {
    pub(super) fn at(device: &'a Path) -> Self {
        Self { device, opened: OnceCell::new() }
    }

    /// # Errors
    /// As [`Hypervisor::open`].
    pub(super) fn open(&self) -> Result<&Hypervisor, vm::Error> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = Hypervisor::open(self.device)?;
        Ok(self.opened.get_or_init(|| opened))
    }

    /// What the host offers to the routes of a measurement: of KVM nothing, if none of them has a virtual machine.
    ///
    /// # Errors
    /// As [`Hypervisor::open`].
    pub(super) fn offers(&self, config: &Config) -> Result<HostOffers, vm::Error> {
        let is_native = config.routes.iter().all(|&route| routes::of(route).is_native());
        if is_native { Ok(offers::without_kvm()) } else { Ok(self.open()?.offers_to(&config.routes)) }
    }
}

/// The guest image at `path`, or the one that kipi was built with.
pub(super) fn image(path: Option<&Path>) -> Result<Cow<'static, [u8]>, Failure> {
    path.map_or(Ok(Cow::Borrowed(image::EMBEDDED)), |path| {
        image::read(path).map(Cow::Owned).map_err(Failure::bad_input)
    })
}

/// The cells that can be measured here, and those that cannot.
pub(super) fn cells(config: &Config, offers: HostOffers) -> Result<(Vec<CellId>, Vec<Refused>), Failure> {
    let (cells, refused) = plan(config, offers);
    if cells.is_empty() { Err(nothing_to_measure(&refused)) } else { Ok((cells, refused)) }
}

/// Refuses to lengthen calls that cannot be: those that no vCPU makes have no worker that a vCPU could delay, and the calls that are
/// tried before a block find nobody in a state that the host puts targets into.
pub(super) fn refuse_delay(config: &Config, cells: &[CellId]) -> Result<(), Failure> {
    let Some(delay) = config.injected_delay else { return Ok(()) };
    let cannot =
        |cell: &&CellId| cell.call == Call::Ping || routes::of(cell.route).is_host() || cell.target_state.is_away();
    cells.iter().filter(|cell| delay.is_of(cell)).find(cannot).map_or(Ok(()), |cell| {
        Err(Failure::bad_input(anyhow::anyhow!(
            "--inject: {cell}: only broadcast calls that a vCPU makes, of targets that the host does not keep from the guest, can be \
             lengthened (leave such cells out)"
        )))
    })
}

fn nothing_to_measure(refused: &[Refused]) -> Failure {
    let is_the_hosts = refused.iter().any(|refused| refused.refusal.is_the_hosts());
    let error = anyhow::anyhow!("nothing can be measured: {}", hints::refusals(refused));
    Failure::new(if is_the_hosts { Status::HostCannot } else { Status::BadInput }, error)
}

/// Each vCPU needs two descriptors; the usual soft limit is 1024, the hard one is larger.
pub(super) fn raise_open_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it cannot be raised, the vCPU that finds none left says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// What the processor does to accelerate the local APICs of the largest virtual machine that had them in KVM; none where no cell had
/// one. It boots a machine of its own, which would delay the first broadcast: it comes after what has been measured.
pub(super) fn apic_acceleration(kvm: &Kvm<'_>, measured: impl IntoIterator<Item = CellId>) -> Vec<Acceleration> {
    let own = measured.into_iter().filter(|cell| cell.under.is_none());
    let machines = own.map(|cell| MachineSpec::of(&cell));
    let in_kvm = machines.filter(|machine| machine.local_apics == Some(LocalApics::Kernel));
    // KVM has been opened for these cells.
    let Some((vcpus, hypervisor)) = in_kvm.map(|machine| machine.vcpus).max().zip(kvm.open().ok()) else {
        return Vec::new();
    };
    experiment::acceleration::find(hypervisor, &host::read_facts(&Sources::system()), vcpus, &INTERRUPTED)
}

/// Limits how long CPUs take to leave an idle state, as long as the value lives.
pub(super) fn limit_latency(config: &Config) -> Result<Option<LatencyLimit>, Failure> {
    let Some(us) = config.latency_us else { return Ok(None) };
    let limit = LatencyLimit::hold(Path::new(latency::DEVICE), us.try_into().unwrap_or(i32::MAX)).map_err(|error| {
        let error = anyhow::anyhow!(
            "cannot write {}: {error} (run as root, let your group write it, or leave --latency away)",
            latency::DEVICE
        );
        Failure::new(Status::HostCannot, error)
    })?;
    Ok(Some(limit))
}

/// Opens the kernel's events, if they are among `sources`. What the kernel does not give is noted there, to be said in the
/// result.
pub(super) fn open_tracer(sources: &mut [(Source, Option<String>)], detail: Detail) -> Option<Arc<Tracer>> {
    let (_, refusal) = sources.iter_mut().find(|(source, _)| *source == Source::Kernel)?;
    match Tracer::open(detail) {
        Ok(tracer) => Some(Arc::new(tracer)),
        Err(error) => {
            *refusal = Some(error.to_string());
            None
        }
    }
}

/// Boots a machine of a measurement.
pub(super) fn boot<'a>(
    kvm: &Kvm<'_>,
    config: &'a Config,
    image: &'a [u8],
    MachineSpec { vcpus, local_apics, interface }: MachineSpec,
    tracer: Option<Arc<Tracer>>,
) -> Result<Box<dyn Machine + 'a>, machine::Error> {
    let limits = Limits { deadline: config.deadline(vcpus), settle: config.settle };
    let Some(local_apics) = local_apics else {
        return Ok(Box::new(NativeMachine::start(vcpus, &config.pin, limits, &INTERRUPTED)?));
    };
    let vm = VmConfig {
        vcpus,
        ids: ApicIds::Consecutive,
        local_apics,
        interface,
        pin: &config.pin,
        cpus: config.shared_cpus(),
        image,
        halt_poll_ns: config.halt_poll_ns,
        tsc_shifts: &[],
    };
    let hypervisor = kvm.open().map_err(session::Error::from)?;
    let mut session = Session::boot(hypervisor, &vm, limits, &INTERRUPTED)?;
    session.set_out(config.out);
    Ok(Box::new(VirtualMachine::new(session, tracer, &config.pin, &config.cpus)))
}
