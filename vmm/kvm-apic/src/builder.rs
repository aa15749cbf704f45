//! Makes a machine's vCPUs with their local APICs: everything in the order in which KVM wants it.

use crate::cpuid;
use crate::deadline_probe;
use crate::error::{Error, Operation};
use crate::irqchip::{Irqchip, Shared, ThreadKick};
use crate::kick::{Kick, Signal};
use crate::msrs;
use crate::tsc;
use crate::vcpu::Vcpu;
use kipi_apic::processor::{Processor, Setup};
use kipi_apic::service::Service;
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Kvm, VmFd};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// What a machine's vCPUs are to be.
#[derive(Debug, Clone)]
pub struct Builder {
    ids: Vec<u32>,
    bootstrap: usize,
    cpuid: Option<Vec<kvm_cpuid_entry2>>,
    tsc_deadline: Option<bool>,
    signal: Option<Signal>,
}

/// A machine's vCPUs, and what they share.
#[derive(Debug)]
pub struct Machine {
    /// For interrupts from outside. It has to outlive the vCPUs' threads: their timers end with it.
    pub irqchip: Irqchip,
    /// The vCPUs, in the order of their ids. The bootstrap processor starts at the reset vector unless its registers are set; the
    /// others wait for its INIT and SIPI.
    pub vcpus: Vec<Vcpu>,
}

impl Builder {
    /// vCPUs with these APIC ids, the first of which is the bootstrap processor.
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Self {
        Self { ids: ids.into_iter().collect(), bootstrap: 0, cpuid: None, tsc_deadline: None, signal: None }
    }

    /// The bootstrap processor is another one, by its place in the list of ids.
    #[must_use]
    pub fn bootstrap(self, index: usize) -> Self {
        Self { bootstrap: index, ..self }
    }

    /// CPUID as the vCPUs are to show it, but for what is about their local APICs, which is put in: KVM_GET_SUPPORTED_CPUID's without
    /// this.
    #[must_use]
    pub fn cpuid(self, entries: Vec<kvm_cpuid_entry2>) -> Self {
        Self { cpuid: Some(entries), ..self }
    }

    /// Whether the timers have TSC deadlines: what [`deadline_probe::deadlines_exit`] says, which tries it, without this.
    #[must_use]
    pub fn tsc_deadline(self, offered: bool) -> Self {
        Self { tsc_deadline: Some(offered), ..self }
    }

    /// The signal that gets threads out of the guest: [`Signal::user`] without this.
    #[must_use]
    pub fn signal(self, signal: Signal) -> Self {
        Self { signal: Some(signal), ..self }
    }

    /// Makes them in `vm`, which has no irqchip and no vCPU yet.
    ///
    /// # Errors
    /// What KVM or the system refuses; [`Operation::CreateVcpu`] with EINVAL, too, if there is no vCPU, or no such bootstrap processor.
    pub fn build(self, kvm: &Kvm, vm: &VmFd) -> Result<Machine, Error> {
        let supported = self.cpuid.map_or_else(|| supported(kvm), Ok)?;
        let tsc_deadline = match self.tsc_deadline {
            Some(offered) => offered,
            None => deadline_probe::deadlines_exit(kvm, &supported)?,
        };
        let signal = self.signal.map_or_else(Signal::user, Ok)?;
        let mut made = Vec::with_capacity(self.ids.len());
        for &id in &self.ids {
            let fd = vm.create_vcpu(id.into()).map_err(Error::of(Operation::CreateVcpu))?;
            let mut entries = supported.clone();
            cpuid::adapt(&mut entries, id, tsc_deadline);
            fd.set_cpuid2(&cpuid::to_kvm(&entries)?).map_err(Error::of(Operation::SetCpuid2))?;
            let kick = Arc::new(Kick::new(fd.as_raw_fd(), signal)?);
            made.push((fd, entries, kick));
        }
        let (Some((first, ..)), true) = (made.first(), self.bootstrap < made.len()) else {
            return Err(Error { operation: Operation::CreateVcpu, errno: libc::EINVAL });
        };
        // Where KVM does not tell the offset, it cannot be set either: the guest then writes its TSC unseen.
        msrs::hand_over(vm, tsc::offset_attribute(first).is_some())?;
        let khz = tsc::khz(first);
        let kicks = made.iter().map(|(.., kick)| ThreadKick(kick.clone()));
        let shared = Arc::new(Shared::new(Service::new(self.ids.iter().copied().zip(kicks)), khz));
        let mut vcpus = Vec::with_capacity(made.len());
        for (index, (fd, entries, kick)) in made.into_iter().enumerate() {
            let setup = Setup {
                id: self.ids[index],
                bootstrap: index == self.bootstrap,
                capabilities: cpuid::capabilities(&entries),
            };
            let processor = Processor::new(index, setup, &shared.service);
            vcpus.push(Vcpu::new(fd, kick, shared.clone(), processor, &entries)?);
        }
        Ok(Machine { irqchip: Irqchip::start(shared)?, vcpus })
    }
}

fn supported(kvm: &Kvm) -> Result<Vec<kvm_cpuid_entry2>, Error> {
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(Error::of(Operation::GetSupportedCpuid))?;
    Ok(cpuid.as_slice().to_vec())
}
