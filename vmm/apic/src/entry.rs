//! What lies between a vCPU's exit and its next entry: what its local APIC asks of whoever runs it.
//!
//! [`Processor::prepare`] decides, and [`Vcpu`] carries out: KVM's ioctls do, and so does a model of them, by which this seam is
//! tested without a hypervisor.

use crate::processor::{Activity, Processor};
use crate::service::{Fetch, Service};
use crate::timer::Now;

/// A vCPU, as its local APIC needs it.
pub trait Vcpu {
    /// What an operation fails with.
    type Error;

    /// Finishes the instruction of the last exit, if it is not finished: a hypervisor that hands an access to user space may
    /// finish the instruction at the next entry, over whatever was set meanwhile (KVM API, `kvm_run`: KVM_EXIT_IO, KVM_EXIT_MMIO,
    /// KVM_EXIT_X86_RDMSR). [`Processor::prepare`] calls it before everything here that sets registers.
    ///
    /// # Errors
    /// The hypervisor's.
    fn complete(&mut self) -> Result<(), Self::Error>;

    /// INIT: sets all registers to what it leaves (SDM Vol. 3A 10.1.1), IA32_APIC_BASE as given, and discards what was under way:
    /// NMIs that are pending or in service, exceptions, interrupts, the shadow of STI and MOV SS.
    ///
    /// # Errors
    /// The hypervisor's.
    fn reset(&mut self, apic_base: u64) -> Result<(), Self::Error>;

    /// SIPI: starts it in real mode at page `vector` (SDM Vol. 3A 10.4.4).
    ///
    /// # Errors
    /// The hypervisor's.
    fn start(&mut self, vector: u8) -> Result<(), Self::Error>;

    /// Tells it the value of IA32_APIC_BASE, by which CPUID shows whether there is a local APIC (SDM Vol. 3A 12.4.3).
    ///
    /// # Errors
    /// The hypervisor's.
    fn set_apic_base(&mut self, apic_base: u64) -> Result<(), Self::Error>;

    /// Makes an NMI pending. The vCPU takes one, and keeps one while NMIs are blocked (SDM Vol. 3A 7.7.1).
    ///
    /// # Errors
    /// The hypervisor's.
    fn raise_nmi(&mut self) -> Result<(), Self::Error>;

    /// What has become of NMIs that were raised.
    ///
    /// # Errors
    /// The hypervisor's.
    fn nmis(&self) -> Result<Nmis, Self::Error>;

    /// Whether it can be given an interrupt: none is under way, and IF is set.
    fn can_take_interrupt(&self) -> bool;

    /// Gives it an interrupt, which it takes at its next entry.
    ///
    /// # Errors
    /// The hypervisor's.
    fn interrupt(&mut self, vector: u8) -> Result<(), Self::Error>;
}

/// A vCPU's NMIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nmis {
    /// One or two are pending.
    pub pending: bool,
    /// One is in service: IRET has not ended it.
    pub blocked: bool,
}

/// What a vCPU's thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Enters the guest.
    Enter {
        /// The guest is to be left when it can take an interrupt.
        window: bool,
    },
    /// Sleeps, until something is left for this vCPU or its timer expires.
    Sleep,
}

impl Processor {
    /// Brings the vCPU to where its local APIC wants it, after an exit and before the next entry, and says what comes next.
    ///
    /// # Errors
    /// The first of the vCPU's.
    pub fn prepare<F: Fetch, V: Vcpu>(
        &mut self,
        service: &Service<F>,
        vcpu: &mut V,
        now: &dyn Fn() -> Now,
    ) -> Result<Next, V::Error> {
        let orders = self.take_events(service);
        if orders.reset {
            vcpu.complete()?;
            vcpu.reset(self.local().base())?;
        }
        if let Some(vector) = orders.start {
            vcpu.complete()?;
            vcpu.start(vector)?;
        }
        if orders.nmi {
            vcpu.raise_nmi()?;
        }
        self.tick(service, now);
        if !self.wake(service) {
            return Ok(Next::Sleep);
        }
        debug_assert_eq!(self.activity(), Activity::Running);
        if vcpu.can_take_interrupt()
            && let Some(vector) = self.acknowledge(service)
        {
            vcpu.interrupt(vector)?;
        }
        Ok(Next::Enter { window: self.is_interrupted(service) })
    }
}
