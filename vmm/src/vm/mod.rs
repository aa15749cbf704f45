//! A virtual machine: KVM's objects, guest memory, and a thread for each vCPU.

mod apic_ids;
pub mod bus;
mod create;
pub mod device;
mod error;
mod hypercall_probe;
mod hyperv;
mod hypervisor;
pub mod image;
mod msi;
pub mod offers;
mod paging;
mod port_in_kvm;
mod registers;
mod stats;
mod threads;
pub mod wire;

use crate::config::{Interface, LocalApics, cpu_of};
use crate::events::clock::{self, CommonClock};
use crate::events::counters::StatsFile;
use crate::events::stays::Ring;
use crate::events::wakeups::Counters;
use crate::vcpu::away::Away;
use crate::vcpu::interrupt::{Injection, InterruptBus as _};
use crate::vcpu::parking::Parking;
use crate::vcpu::refusals::Refusals;
use crate::vcpu::stop::Stopped;
use crate::vcpu::test_hooks::TestHooks;
use crate::vcpu::thread::VcpuThread;
pub use apic_ids::ApicIds;
use bus::Bus;
use error::kvm_error;
pub use error::{Error, Limit};
use guest_stub::abi::{self, Boot};
pub use hypervisor::Hypervisor;
use kipi_kvm_apic::{Irqchip, Request};
use kvm_ioctls::{Cap, VcpuFd};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use threads::VcpuHandle;
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

/// What a virtual machine is to be.
#[derive(Debug, Clone)]
pub struct VmConfig<'a> {
    /// How many vCPUs, at least one.
    pub vcpus: usize,
    /// Which APIC ids they have.
    pub ids: ApicIds,
    /// Where their local APICs are.
    pub local_apics: LocalApics,
    /// The hypervisor's interface that the guest finds. Hyper-V's needs KVM's local APICs.
    pub interface: Interface,
    /// CPUs to pin their threads to, in turn; empty: none.
    pub pin: &'a [usize],
    /// How many CPUs the vCPUs share: where there are more vCPUs, one that waits for long gives its CPU away.
    pub cpus: usize,
    /// The guest image.
    pub image: &'a [u8],
    /// KVM_CAP_HALT_POLL for this machine, ns; `None` leaves the host's setting.
    pub halt_poll_ns: Option<u32>,
    /// Cycles that each vCPU's TSC is moved by before it runs, for tests of clocks that differ; empty: none.
    pub tsc_shifts: &'a [i64],
}

/// A running virtual machine. Dropping it stops and joins its threads.
#[derive(Debug)]
pub struct Vm {
    // Dropped in this order: the threads are joined first (`Drop`), then KVM's objects go, then the memory.
    vcpus: Vec<VcpuHandle>,
    stopped: Mutex<Receiver<Stopped>>,
    tsc: TscFacts,
    has_x2apic: bool,
    bus: Arc<Bus>,
    hooks: Arc<TestHooks>,
    parking: Arc<Parking>,
    counters: Arc<Counters>,
    memory: GuestMemoryMmap,
    stats_error: Option<String>,
    port_in_kvm: OnceLock<EventFd>,
}

/// What was read about the vCPUs' TSCs before they ran.
#[derive(Debug, Clone)]
pub struct TscFacts {
    /// Frequency of the guest's TSC, kHz: KVM_GET_TSC_KHZ of vCPU 0, or measured where this KVM does not tell.
    pub khz: u64,
    /// What brings the stamps of every vCPU and of the host onto one clock.
    pub clock: CommonClock,
}

/// Stays that a vCPU's ring holds: a block's observed exits, and some for everything else.
const RING_STAYS: usize = abi::RING_SAMPLES * 4;

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
        if config.local_apics == LocalApics::Kernel {
            hypervisor::require_irqchip(hypervisor.kvm.check_extension(Cap::Irqchip))?;
        }
        let fd = hypervisor.kvm.create_vm().map_err(kvm_error("KVM_CREATE_VM"))?;
        let fd = Arc::new(fd);
        create::create_local_apics(&fd, config)?;
        create::set_halt_poll(&fd, config.halt_poll_ns)?;
        let memory = create::create_memory(&fd, config.vcpus)?;
        let loaded = create::load_guest(&memory, config)?;
        let (vcpus, irqchip) = create::create_vcpus(&fd, hypervisor, config)?;
        create::shift_tscs(&vcpus, config.tsc_shifts)?;
        let tsc = create::read_tsc(&vcpus)?;
        create::tell_clock(&memory, &tsc.clock)?;
        let has_x2apic = hypervisor.offers_x2apic();
        let boot = Boot {
            vcpus: create::vcpu_count(config.vcpus),
            x2apic: has_x2apic.into(),
            deadline: clock::cycles(deadline, tsc.khz),
            yield_cpu: (config.vcpus > config.cpus).into(),
            hyperv: (config.interface == Interface::HyperV).into(),
            pageable_entry: loaded.pageable_entry,
            bell: 0,
            init_wait: 0,
            sipi_vector: abi::SIPI_VECTOR.into(),
            reserved: 0,
        };
        let address = GuestAddress(abi::COMMAND_PAGE);
        wire::write(&memory, &boot, address).map_err(create::memory_error(config.vcpus))?;
        let (sender, stopped) = channel();
        let hooks = Arc::new(TestHooks::for_vcpus(config.vcpus));
        create::start_first(vcpus[0].0.fd(), loaded.entry)?;
        let bus = Arc::new(Bus::new(fd, config.ids, config.vcpus, irqchip));
        let stopped = Mutex::new(stopped);
        let (counters, stats_error) = open_counters(vcpus.iter().map(|(vcpu, _)| vcpu.fd()));
        let counters = Arc::new(counters);
        let parking = Arc::new(Parking::new(memory.clone()));
        let clock = Arc::new(tsc.clock.clone());
        let port_in_kvm = OnceLock::new();
        let mut vm = Self {
            vcpus: Vec::new(),
            stopped,
            tsc,
            has_x2apic,
            bus,
            hooks,
            parking,
            counters,
            memory,
            stats_error,
            port_in_kvm,
        };
        for (index, (vcpu, kick)) in vcpus.into_iter().enumerate() {
            let (resume, receiver) = channel();
            let thread = VcpuThread {
                vcpu,
                index,
                bus: vm.bus.clone(),
                hooks: vm.hooks.clone(),
                parking: vm.parking.clone(),
                cpu: cpu_of(config.pin, index),
                kick,
                ring: Arc::new(Ring::new(RING_STAYS)),
                away: Away::of(index, vm.memory.clone(), clock.clone()),
                counters: vm.counters.clone(),
                stopped: sender.clone(),
                resume: receiver,
                refusals: Refusals::default(),
            };
            vm.vcpus.push(VcpuHandle::start(thread, resume)?);
        }
        Ok(vm)
    }

    /// How many vCPUs.
    pub fn vcpus(&self) -> usize {
        self.vcpus.len()
    }

    /// Whether its CPUID offers x2APIC mode.
    pub fn has_x2apic(&self) -> bool {
        self.has_x2apic
    }

    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// What carries interrupts to the vCPUs, from any thread.
    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// Where vCPUs sleep that wait for each other.
    pub fn parking(&self) -> &Arc<Parking> {
        &self.parking
    }

    /// What is known about the vCPUs' TSCs.
    pub fn tsc(&self) -> &TscFacts {
        &self.tsc
    }

    /// A vCPU's thread, as the kernel numbers it; `None`: it has not begun to run.
    pub fn thread_id(&self, vcpu: usize) -> Option<u32> {
        self.vcpus[vcpu].kick.thread_id()
    }

    /// The CPU that a vCPU's thread is pinned to; `None`: it is not.
    pub fn cpu_of(&self, vcpu: usize) -> Option<usize> {
        self.vcpus[vcpu].cpu
    }

    /// A vCPU's record of exits.
    pub fn ring(&self, vcpu: usize) -> &Ring {
        &self.vcpus[vcpu].ring
    }

    /// A vCPU's KVM counters, where this KVM has them.
    pub fn stats(&self, vcpu: usize) -> Option<&StatsFile> {
        self.counters.of(vcpu)
    }

    /// KVM's counters of all vCPUs.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Why some vCPU has no counters.
    pub fn stats_error(&self) -> Option<&str> {
        self.stats_error.as_deref()
    }

    /// Has KVM answer [`abi::PORT_IN_KVM`] from now on. Not from the start: it waits until no vCPU is in KVM's list of ports.
    ///
    /// # Errors
    /// [`Error::Kvm`], [`Error::System`].
    pub fn answer_port_in_kvm(&self) -> Result<(), Error> {
        if self.port_in_kvm.get().is_none() {
            let _ = self.port_in_kvm.set(port_in_kvm::register(self.bus.vm())?);
        }
        Ok(())
    }

    /// What a conformance test wants to happen at exits.
    pub fn hooks(&self) -> &TestHooks {
        &self.hooks
    }

    /// Takes a vCPU out of the guest for `time`, then lets it go on. [`Vm::wait`] sees nothing of it.
    pub fn stall(&self, vcpu: usize, time: Duration) {
        self.hooks.stall(vcpu, time);
        self.vcpus[vcpu].kick.ask(Request::Run);
    }

    /// Raises an interrupt on a vCPU, from any thread.
    ///
    /// # Errors
    /// [`Error::Kvm`] if KVM does not take the message.
    pub fn inject(&self, vcpu: usize, injection: Injection) -> Result<(), Error> {
        let delivered = self.bus.raise(vcpu, injection);
        delivered.map(|_| ()).map_err(|source| Error::Kvm { operation: "KVM_SIGNAL_MSI", source })
    }

    /// Waits until a vCPU's thread has stopped; `None`: none has within `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<Stopped> {
        // A thread that panicked while it waited has taken nothing away.
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(timeout).ok()
    }

    /// Lets a vCPU's thread go on, which has stopped.
    pub fn resume(&self, vcpu: usize) {
        self.vcpus[vcpu].resume();
    }

    /// Gets a vCPU out of the guest. Its thread stops ([`StopReason::Paused`](crate::vcpu::stop::StopReason)), unless it has
    /// stopped already.
    pub fn pause(&self, vcpu: usize) {
        self.vcpus[vcpu].kick.ask(Request::Pause);
    }

    /// Messages that the user-space local APICs had no use for ([`Irqchip::ignored`]).
    pub fn ignored_messages(&self) -> u64 {
        self.bus.irqchip().map_or(0, Irqchip::ignored)
    }

    /// Ends it, as dropping does. How many of its threads have panicked.
    pub fn end(mut self) -> usize {
        self.join()
    }

    fn join(&mut self) -> usize {
        self.vcpus.iter_mut().for_each(VcpuHandle::end);
        // A panic has been printed by its thread.
        let threads = self.vcpus.iter_mut().filter_map(VcpuHandle::take);
        let panicked = threads.map(JoinHandle::join).filter(Result::is_err).count();
        panicked + usize::from(self.bus.irqchip().is_some_and(Irqchip::end))
    }
}

/// The counters of these vCPUs, and the first reason why one has none.
fn open_counters<'a>(vcpus: impl Iterator<Item = &'a VcpuFd>) -> (Counters, Option<String>) {
    let mut first_error = None;
    let mut open = |vcpu| stats::open(vcpu).map_err(|error| first_error.get_or_insert_with(|| error.to_string())).ok();
    let files = vcpus.map(&mut open).collect();
    (Counters::new(files), first_error)
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.join();
    }
}
