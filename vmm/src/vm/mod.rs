//! A virtual machine: KVM's objects, guest memory, and a thread for each vCPU.

pub mod bus;
pub mod cpuid;
mod create;
mod deadline_probe;
pub mod image;
pub mod msi;
pub mod paging;
pub mod registers;
mod tsc;
pub mod wire;

use crate::config::LocalApics;
use crate::events::clock;
use crate::events::counters::StatsFile;
use crate::events::stays::Ring;
use crate::guest::host_calls::{self, HostCall, HostCaller, Results};
use crate::vcpu::hooks::Hooks;
use crate::vcpu::kick::{self, Kick, Request};
use crate::vcpu::user_apic::{Board, UserApic};
use crate::vcpu::{News, Resume, Runner};
use bus::Bus;
use guest_stub::abi::{self, Boot};
use kipi_apic::service::Fetch;
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm, VcpuFd};
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_sys_util::signal::Killable;

/// Why a virtual machine could not be made.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no KVM device.
    #[error("no KVM here: {} does not exist (load kvm_intel or kvm_amd, enable virtualisation in the firmware, or pass --device)", .0.display())]
    NoDevice(PathBuf),
    /// The device may not be opened.
    #[error("no permission to use {} (join the group that owns it, usually with: sudo usermod -aG kvm $USER)", .0.display())]
    NoPermission(PathBuf),
    /// The device cannot be opened for another reason.
    #[error("cannot open {}: {source} (run 'kipi doctor' for what this host offers)", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The device is not KVM's, or is one from before 2007.
    #[error("{} is not a KVM device: its API version is {version}, not 12 (pass --device /dev/kvm)", path.display())]
    NotKvm {
        /// The device.
        path: PathBuf,
        /// What KVM_GET_API_VERSION returned.
        version: i32,
    },
    /// The local APIC would have to be emulated by us.
    #[error(
        "this KVM has no in-kernel irqchip (KVM_CAP_IRQCHIP is 0), which this route needs (use --route vmm, or another host)"
    )]
    NoIrqchip,
    /// More vCPUs than this KVM allows.
    #[error("{asked} vCPUs are more than this KVM allows: at most {allowed} (pass a smaller --vcpus)")]
    TooManyVcpus {
        /// Asked for.
        asked: usize,
        /// KVM_CAP_MAX_VCPUS.
        allowed: usize,
    },
    /// APIC ids above 254 need the 32-bit API.
    #[error("{0} vCPUs need 32-bit APIC ids, and this KVM has no KVM_CAP_X2APIC_API (pass --vcpus 254 or less)")]
    NoWideApicIds(usize),
    /// One of KVM's ioctls failed.
    #[error("{operation}: {source} (run 'kipi doctor' for what this host offers)")]
    Kvm {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        source: kvm_ioctls::Error,
    },
    /// Something of the operating system's failed.
    #[error("{operation}: {source}")]
    System {
        /// What was to be done.
        operation: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// Guest memory cannot be had.
    #[error("cannot set up {bytes} bytes of guest memory: {reason} (pass a smaller --vcpus)")]
    Memory {
        /// How much.
        bytes: u64,
        /// Why not.
        reason: String,
    },
    /// The guest image is unusable.
    #[error(transparent)]
    Guest(#[from] image::Error),
    /// The page tables do not fit.
    #[error(transparent)]
    Paging(#[from] paging::Error),
}

impl Error {
    /// Whether it is this host that cannot do it, and not the input that is wrong.
    pub fn is_host_limit(&self) -> bool {
        !matches!(self, Self::TooManyVcpus { .. } | Self::Guest(_))
    }
}

/// The version that every KVM has had since 2007.
const API_VERSION: i32 = 12;

fn kvm_error(operation: &'static str) -> impl Fn(kvm_ioctls::Error) -> Error {
    move |source| Error::Kvm { operation, source }
}

/// KVM, opened and found usable.
#[derive(Debug)]
pub struct Hypervisor {
    kvm: Kvm,
    cpuid: Vec<kvm_cpuid_entry2>,
    tsc_deadlines_exit: OnceLock<bool>,
}

impl Hypervisor {
    /// Opens the KVM device at `path`.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::NoPermission`], [`Error::Open`], [`Error::NotKvm`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|error| Error::Open { path: path.to_owned(), source: error.into() })?;
        let kvm = Kvm::new_with_path(name).map_err(|error| match error.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => Error::NoDevice(path.to_owned()),
            libc::EACCES | libc::EPERM => Error::NoPermission(path.to_owned()),
            errno => Error::Open { path: path.to_owned(), source: io::Error::from_raw_os_error(errno) },
        })?;
        let version = kvm.get_api_version();
        if version != API_VERSION {
            return Err(Error::NotKvm { path: path.to_owned(), version });
        }
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(kvm_error("KVM_GET_SUPPORTED_CPUID"))?;
        Ok(Self { kvm, cpuid: cpuid.as_slice().to_vec(), tsc_deadlines_exit: OnceLock::new() })
    }

    /// Whether guests here may use x2APIC mode.
    pub fn offers_x2apic(&self) -> bool {
        cpuid::offers_x2apic(&self.cpuid)
    }

    /// Whether what guests write to IA32_TSC_DEADLINE can be had in user space, for a local APIC there; tried once. Where it
    /// cannot, guests are not offered the timer's TSC-deadline mode.
    ///
    /// # Errors
    /// What KVM refuses: [`Error::Kvm`], [`Error::System`], [`Error::Memory`].
    pub fn tsc_deadlines_exit(&self) -> Result<bool, Error> {
        if let Some(&known) = self.tsc_deadlines_exit.get() {
            return Ok(known);
        }
        let exit = deadline_probe::deadlines_exit(&self.kvm, &create::to_cpuid(&self.cpuid)?)?;
        Ok(*self.tsc_deadlines_exit.get_or_init(|| exit))
    }

    /// The most vCPUs that this KVM and the guest's memory map allow.
    pub fn max_vcpus(&self) -> usize {
        self.kvm.get_max_vcpus().min(abi::MAX_VCPUS)
    }
}

fn require_irqchip(offered: bool) -> Result<(), Error> {
    offered.then_some(()).ok_or(Error::NoIrqchip)
}

/// The APIC ids of a machine's vCPUs. That of vCPU 0, the boot processor, is always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApicIds {
    /// Each vCPU's index.
    #[default]
    Consecutive,
    /// Falling, with gaps: no id is its vCPU's index but by chance. Up to 64 vCPUs have 8-bit ids.
    Sparse,
}

impl ApicIds {
    /// The id of vCPU `index` of `vcpus`.
    pub fn of(self, index: u32, vcpus: u32) -> u32 {
        match self {
            Self::Consecutive => index,
            Self::Sparse if index == 0 => 0,
            Self::Sparse => (vcpus - index) * 3 + 1 - index % 2,
        }
    }

    /// Whether all ids are below 255, as xAPIC ids have to be.
    pub fn fit_xapic(self, vcpus: usize) -> bool {
        (0..create::vcpu_count(vcpus)).all(|index| self.of(index, create::vcpu_count(vcpus)) < 255)
    }
}

/// What a virtual machine is to be.
#[derive(Debug, Clone)]
pub struct VmConfig<'a> {
    /// How many vCPUs, at least one.
    pub vcpus: usize,
    /// Which APIC ids they have.
    pub ids: ApicIds,
    /// Where their local APICs are.
    pub irqchip: LocalApics,
    /// CPUs to pin their threads to, in turn; empty: none.
    pub pin: &'a [usize],
    /// How many CPUs the vCPUs share: where there are more vCPUs, one that waits for long gives its CPU away.
    pub cpus: usize,
    /// The guest image.
    pub image: &'a [u8],
    /// KVM_CAP_HALT_POLL for this machine, ns; `None` leaves the host's setting.
    pub halt_poll_ns: Option<u32>,
}

/// One vCPU's thread, as the machine sees it.
#[derive(Debug)]
struct Handle {
    kick: Arc<Kick>,
    thread_id: Arc<OnceLock<u32>>,
    ring: Arc<Ring>,
    resume: Option<Sender<Resume>>,
    thread: Option<JoinHandle<()>>,
    stats: Option<StatsFile>,
}

/// A running virtual machine. Dropping it stops and joins its threads.
#[derive(Debug)]
pub struct Vm {
    // Dropped in this order: the threads are joined first (`Drop`), then KVM's objects go, then the memory.
    handles: Vec<Handle>,
    news: Mutex<Receiver<(usize, News)>>,
    tsc: TscFacts,
    bus: Arc<Bus>,
    host: HostCaller,
    alarms: Option<JoinHandle<()>>,
    hooks: Arc<Hooks>,
    memory: GuestMemoryMmap,
    stats_error: Option<String>,
}

/// What was read about the vCPUs' TSCs before they ran.
#[derive(Debug, Clone)]
pub struct TscFacts {
    /// Frequency of the guest's TSC, kHz: KVM_GET_TSC_KHZ of vCPU 0, or measured where this KVM does not tell.
    pub khz: u64,
    /// Guest TSC minus host TSC of each vCPU.
    pub offsets: Vec<clock::Offset>,
}

/// Events that a vCPU's ring holds: a block's observed exits, and some for everything else.
const RING_EVENTS: usize = abi::RING_SAMPLES * 4;
/// A vCPU thread's stack, in bytes: the run loop is shallow, and there may be a thousand of them.
const STACK_BYTES: usize = 256 << 10;

impl Vm {
    /// Makes the machine and starts its threads; the guest begins to run, and gives its processors `deadline` to start.
    ///
    /// # Errors
    /// Every variant of [`enum@Error`] but those of [`Hypervisor::open`].
    pub fn start(hypervisor: &Hypervisor, config: &VmConfig<'_>, deadline: Duration) -> Result<Self, Error> {
        let allowed = hypervisor.max_vcpus();
        if config.vcpus > allowed {
            return Err(Error::TooManyVcpus { asked: config.vcpus, allowed });
        }
        if config.irqchip == LocalApics::Kernel {
            require_irqchip(hypervisor.kvm.check_extension(Cap::Irqchip))?;
        }
        kick::install_handler()
            .map_err(|source| Error::System { operation: "installing the kick's handler", source })?;
        let fd = hypervisor.kvm.create_vm().map_err(kvm_error("KVM_CREATE_VM"))?;
        let fd = Arc::new(fd);
        create::create_irqchip(&fd, config)?;
        create::set_halt_poll(&fd, config.halt_poll_ns)?;
        let memory = create::create_memory(&fd, config.vcpus)?;
        let loaded = create::load_guest(&memory, config)?;
        let vcpus = create::create_vcpus(&fd, hypervisor, config)?;
        let tsc = create::read_tsc(&vcpus)?;
        let boot = Boot {
            vcpus: create::vcpu_count(config.vcpus),
            x2apic: hypervisor.offers_x2apic().into(),
            deadline: clock::cycles(deadline, tsc.khz),
            yield_cpu: (config.vcpus > config.cpus).into(),
            reserved: 0,
            pageable_entry: loaded.pageable_entry,
        };
        let address = GuestAddress(abi::COMMAND_PAGE);
        wire::write(&memory, &boot, address).map_err(create::memory_error(config.vcpus))?;
        let (sender, news) = channel();
        let hooks = Arc::new(Hooks::for_vcpus(config.vcpus));
        let kicks = vcpus.iter().map(|vcpu| Kick::new(vcpu.as_raw_fd()).map(Arc::new)).collect::<Result<Vec<_>, _>>();
        let kicks = kicks.map_err(|source| Error::System { operation: "mapping a vCPU's run page", source })?;
        let (board, apics) = create::user_apics(config, &vcpus, &kicks, &tsc)?.unzip();
        create::start_first(&vcpus[0], loaded.entry)?;
        let bus = Arc::new(Bus::new(fd, config.ids, config.vcpus, board.clone()));
        let host = HostCaller::new(memory.clone(), bus.clone(), tsc.khz, tsc.offsets[0].cycles);
        let news = Mutex::new(news);
        let alarms = board.map(start_alarms).transpose()?;
        let mut vm = Self { handles: Vec::new(), news, tsc, bus, host, alarms, hooks, memory, stats_error: None };
        let mut apics = apics.into_iter().flatten();
        for (index, (vcpu, kick)) in vcpus.into_iter().zip(kicks).enumerate() {
            vm.start_thread(index, vcpu, kick, apics.next(), config, sender.clone())?;
        }
        Ok(vm)
    }

    fn start_thread(
        &mut self,
        index: usize,
        vcpu: VcpuFd,
        kick: Arc<Kick>,
        apic: Option<UserApic>,
        config: &VmConfig<'_>,
        news: Sender<(usize, News)>,
    ) -> Result<(), Error> {
        let ring = Arc::new(Ring::new(RING_EVENTS));
        let thread_id = Arc::new(OnceLock::new());
        let stats = match StatsFile::open(&vcpu) {
            Ok(stats) => Some(stats),
            Err(error) => {
                self.stats_error.get_or_insert_with(|| error.to_string());
                None
            }
        };
        let (resume, receiver) = channel();
        let cpu = (!config.pin.is_empty()).then(|| config.pin[index % config.pin.len()]);
        let runner = Runner {
            vcpu,
            index,
            bus: self.bus.clone(),
            apic: apic.map(Box::new),
            hooks: self.hooks.clone(),
            cpu,
            kick: kick.clone(),
            thread_id: thread_id.clone(),
            ring: ring.clone(),
            news,
            resume: receiver,
        };
        let thread = std::thread::Builder::new()
            .name(format!("vcpu{index}"))
            .stack_size(STACK_BYTES)
            .spawn(move || runner.run())
            .map_err(|source| Error::System { operation: "starting a vCPU's thread", source })?;
        self.handles.push(Handle { kick, thread_id, ring, resume: Some(resume), thread: Some(thread), stats });
        Ok(())
    }

    /// How many vCPUs.
    pub fn vcpus(&self) -> usize {
        self.handles.len()
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// What is known about the vCPUs' TSCs.
    pub fn tsc(&self) -> &TscFacts {
        &self.tsc
    }

    /// A vCPU's thread, as the kernel numbers it; `None`: it has not begun to run.
    pub fn thread_id(&self, vcpu: usize) -> Option<u32> {
        self.handles[vcpu].thread_id.get().copied()
    }

    /// A vCPU's record of exits.
    pub fn ring(&self, vcpu: usize) -> &Ring {
        &self.handles[vcpu].ring
    }

    /// A vCPU's KVM counters, where this KVM has them.
    pub fn stats(&self, vcpu: usize) -> Option<&StatsFile> {
        self.handles[vcpu].stats.as_ref()
    }

    /// Why some vCPU has no counters.
    pub fn stats_error(&self) -> Option<&str> {
        self.stats_error.as_deref()
    }

    /// What is to happen at exits.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Takes a vCPU out of the guest for `time`, then lets it go on. Whoever waits for news sees nothing of it.
    pub fn stall(&self, vcpu: usize, time: Duration) {
        self.hooks.stall(vcpu, time);
        self.kick(vcpu, Request::Run);
    }

    /// Raises an interrupt on a vCPU, from any thread.
    ///
    /// # Errors
    /// [`Error::Kvm`] if KVM does not take the message.
    pub fn inject(&self, vcpu: usize, injection: msi::Injection) -> Result<(), Error> {
        self.bus.raise(vcpu, injection).map(|_| ()).map_err(kvm_error("KVM_SIGNAL_MSI"))
    }

    /// Starts a broadcast call from outside: all of its targets run the worker at once, and this returns when all have. From
    /// any thread, while the vCPUs are in the guest with interrupts on ([`crate::guest::session::Machine::serve`]).
    ///
    /// # Errors
    /// Every variant of [`host_calls::Error`].
    pub fn broadcast(&self, call: &HostCall<'_>) -> Result<Results, host_calls::Error> {
        self.host.caller()?.broadcast(call)
    }

    /// The host's side of broadcast calls, for threads that make many.
    pub fn host(&self) -> &HostCaller {
        &self.host
    }

    /// The next thing that a vCPU's thread has to say, or `None` after `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<(usize, News)> {
        // Whoever panicked while it listened has taken nothing away.
        self.news.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(timeout).ok()
    }

    /// Lets a vCPU that rang the doorbell or was paused go on.
    pub fn resume(&self, vcpu: usize) {
        let handle = &self.handles[vcpu];
        handle.kick.clear();
        if let Some(resume) = &handle.resume {
            // Fails if the thread has ended, which is then known already.
            let _ = resume.send(Resume);
        }
    }

    /// Gets a vCPU out of the guest. [`News::Paused`] follows, unless it is out already.
    pub fn pause(&self, vcpu: usize) {
        self.kick(vcpu, Request::Pause);
    }

    fn kick(&self, vcpu: usize, request: Request) {
        let handle = &self.handles[vcpu];
        handle.kick.ask(request);
        if let Some(thread) = &handle.thread {
            // Fails if the thread has ended: then there is nobody to kick.
            let _ = thread.kill(kick::signal());
        }
        if let Some(board) = self.bus.board() {
            board.service.fetch(vcpu).wake();
        }
    }
}

/// Starts the thread that watches the timers of local APICs in user space.
fn start_alarms(board: Arc<Board>) -> Result<JoinHandle<()>, Error> {
    let builder = std::thread::Builder::new().name("apic-timers".to_owned()).stack_size(STACK_BYTES);
    let started = builder.spawn(move || board.run_alarms());
    started.map_err(|source| Error::System { operation: "starting the local APICs' timer thread", source })
}

impl Vm {
    /// Ends it, as dropping does. How many of its vCPUs' threads have panicked.
    pub fn end(mut self) -> usize {
        self.stop()
    }

    /// Messages that the user-space local APICs had no use for ([`kipi_apic::service::Service::ignored`]).
    pub fn ignored_messages(&self) -> u64 {
        self.bus.board().map_or(0, |board| board.service.ignored())
    }

    fn stop(&mut self) -> usize {
        for vcpu in 0..self.handles.len() {
            self.handles[vcpu].resume = None;
            self.kick(vcpu, Request::Stop);
        }
        if let Some(board) = self.bus.board() {
            board.stop();
        }
        // A panic has been printed by its thread.
        let threads = self.handles.iter_mut().filter_map(|handle| handle.thread.take()).chain(self.alarms.take());
        threads.map(JoinHandle::join).filter(Result::is_err).count()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kvm_without_irqchip_is_a_host_that_cannot_do_it() {
        let error = require_irqchip(false).unwrap_err();
        assert!(error.is_host_limit());
        assert!(error.to_string().contains("no in-kernel irqchip"));
        assert!(require_irqchip(true).is_ok());
    }

    #[test]
    fn what_is_not_kvm_is_named() {
        let error = Hypervisor::open(Path::new("/nonexistent/kvm")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/kvm does not exist"), "{error}");
        let error = Hypervisor::open(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("/dev/null is not a KVM device"), "{error}");
    }
}
