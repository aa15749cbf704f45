//! The interrupt side of one processor: its local APIC, its activity state, and what it sends.
//!
//! Whoever runs the processor passes in what the guest does ([`Processor::write_msr`] and its like, [`Processor::halt`],
//! [`Processor::write_cr8`]), and calls [`Processor::prepare`] before each entry into the guest. One thread owns a processor; the
//! service is shared.

use crate::addressing::Addressing;
use crate::capabilities::Capabilities;
use crate::local::{Effect, GeneralProtection, LocalApic};
use crate::registers::{APIC_BASE_MSR, TSC_DEADLINE_MSR, X2APIC_MSR, X2APIC_MSR_END};
use crate::requests::Requests;
use crate::service::{Fetch, Service};
use crate::timer::{Deadline, Now};

/// Of the page where the registers lie in xAPIC mode.
const PAGE_SIZE: u64 = 4096;

/// A processor, as it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Its APIC id (CPUID 0BH, EDX). In xAPIC mode the lowest eight bits show.
    pub id: u32,
    /// It is the bootstrap processor: it runs after a reset, where the others wait for a SIPI. Of a machine, one is.
    pub bootstrap: bool,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// A processor's activity state, between two stays in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Running code.
    Running,
    /// In HLT. An NMI ends it that is not blocked, and, if IF was set, an interrupt that can be taken.
    Halted {
        /// IF was set.
        interruptible: bool,
    },
    /// Reset, and not started: a SIPI ends it.
    WaitForSipi,
}

/// The end of a level-triggered interrupt. I/O APICs with this vector in an entry may raise it anew (SDM Vol. 3A 12.8.5; in KVM's
/// words KVM_EXIT_IOAPIC_EOI).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eoi {
    /// The interrupt's vector.
    pub vector: u8,
}

/// What a store to the page did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Where, in the page.
    pub offset: u32,
    /// It ended a level-triggered interrupt.
    pub eoi: Option<Eoi>,
}

/// A processor's interrupt side.
#[derive(Debug, Clone)]
pub struct Processor {
    pub(crate) local: LocalApic,
    index: usize,
    pub(crate) activity: Activity,
    /// What [`Processor::publish`] has published.
    published: Addressing,
    /// IA32_APIC_BASE has been written since the hypervisor was told.
    pub(crate) base_is_new: bool,
    /// NMIs were raised, and the hypervisor has not said since that none is pending.
    pub(crate) nmis_are_raised: bool,
}

impl Processor {
    /// The processor that `service` knows as `index`, after a reset.
    ///
    /// # Panics
    /// If the service knows no such processor.
    pub fn new<F: Fetch>(index: usize, setup: Setup, service: &Service<F>) -> Self {
        let Setup { id, bootstrap, capabilities } = setup;
        let local = LocalApic::new(id, bootstrap, capabilities);
        let published = local.addressing();
        service.inbox(index).publish(published.to_bits());
        let activity = if bootstrap { Activity::Running } else { Activity::WaitForSipi };
        Self { local, index, activity, published, base_is_new: false, nmis_are_raised: false }
    }

    /// Its local APIC.
    pub fn local(&self) -> &LocalApic {
        &self.local
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its activity state.
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// The guest has executed HLT, with IF as `interruptible` says.
    pub fn halt(&mut self, interruptible: bool) {
        self.activity = Activity::Halted { interruptible };
    }

    /// The guest reads guest-physical memory. `None`: not where the local APIC's registers lie. Otherwise `data` is what it reads, at
    /// this offset of the page.
    ///
    /// Of a register, a read that stays in its four bytes gives these; every other is zeros. With the local APIC switched off, or in
    /// x2APIC mode, all reads are ones.
    pub fn read_mmio<F: Fetch>(
        &mut self,
        service: &Service<F>,
        address: u64,
        data: &mut [u8],
        now: &dyn Fn() -> Now,
    ) -> Option<u32> {
        let offset = self.offset(address)?;
        self.local.load(offset, data, now, service.requests(self.index));
        Some(offset)
    }

    /// The guest writes guest-physical memory, as with [`Processor::read_mmio`]. What that sends has been sent when this returns.
    ///
    /// Only an aligned store of 32 bits writes a register. Others are lost, and so are all with the local APIC switched off or in
    /// x2APIC mode.
    pub fn write_mmio<F: Fetch>(
        &mut self,
        service: &Service<F>,
        address: u64,
        data: &[u8],
        now: &dyn Fn() -> Now,
    ) -> Option<Written> {
        let offset = self.offset(address)?;
        let effect = self.local.store(offset, data, now, service.requests(self.index));
        Some(Written { offset, eoi: self.carry_out(service, effect) })
    }

    /// The offset of an address in the page where the registers lie, whatever the mode.
    fn offset(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.local.page()).filter(|&offset| offset < PAGE_SIZE)?;
        u32::try_from(offset).ok()
    }

    /// Whether an MSR is the local APIC's: IA32_APIC_BASE, IA32_TSC_DEADLINE, and those of x2APIC mode. Their accesses belong to
    /// [`Processor::read_msr`] and [`Processor::write_msr`], in all modes.
    pub fn owns_msr(msr: u32) -> bool {
        matches!(msr, APIC_BASE_MSR | TSC_DEADLINE_MSR | X2APIC_MSR..=X2APIC_MSR_END)
    }

    /// The guest reads an MSR.
    ///
    /// # Errors
    /// [`GeneralProtection`], which the guest is to get.
    pub fn read_msr<F: Fetch>(
        &mut self,
        service: &Service<F>,
        msr: u32,
        now: &dyn Fn() -> Now,
    ) -> Result<u64, GeneralProtection> {
        match msr {
            APIC_BASE_MSR => Ok(self.local.base()),
            _ => self.local.read_msr(msr, now, service.requests(self.index)),
        }
    }

    /// The guest writes an MSR. What that sends has been sent when this returns, and whoever sends from here on sees the new mode.
    /// It may end a level-triggered interrupt.
    ///
    /// # Errors
    /// [`GeneralProtection`], which the guest is to get.
    pub fn write_msr<F: Fetch>(
        &mut self,
        service: &Service<F>,
        msr: u32,
        value: u64,
        now: &dyn Fn() -> Now,
    ) -> Result<Option<Eoi>, GeneralProtection> {
        let effect = if msr == APIC_BASE_MSR {
            let was = self.local.base();
            // What the timer has raised so far belongs to the mode that ends.
            self.tick(service, now);
            self.local.set_base(value)?;
            self.base_is_new |= value != was;
            Effect::None
        } else {
            self.local.write_msr(msr, value, now, service.requests(self.index))?
        };
        Ok(self.carry_out(service, effect))
    }

    /// The guest has written CR8, and whoever runs it has seen the write.
    pub fn write_cr8(&mut self, cr8: u64) {
        self.local.set_cr8(cr8 & 0xF);
    }

    /// CR8 has this value, and whether it was written is not known. A value that the TPR has already leaves the TPR's subclass.
    pub fn follow_cr8(&mut self, cr8: u64) {
        if cr8 & 0xF != self.local.cr8() {
            self.write_cr8(cr8);
        }
    }

    /// Raises the timer's interrupt, if it has expired.
    pub(crate) fn tick<F: Fetch>(&mut self, service: &Service<F>, now: &dyn Fn() -> Now) {
        self.local.tick(now, service.requests(self.index));
    }

    /// When [`Processor::prepare`] has to be called next, for the timer.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.local.next_deadline()
    }

    /// Whether there is an interrupt that changes what the processor does: one that it could take, but for IF while it runs.
    pub fn has_news<F: Fetch>(&self, service: &Service<F>) -> bool {
        match self.activity {
            Activity::Running | Activity::Halted { interruptible: true } => self.is_interrupted(service),
            Activity::Halted { interruptible: false } | Activity::WaitForSipi => false,
        }
    }

    /// Whether an interrupt waits that the processor's priority lets through.
    pub fn is_interrupted<F: Fetch>(&self, service: &Service<F>) -> bool {
        self.local.pending(service.requests(self.index)).is_some()
    }

    pub(crate) fn requests<'a, F: Fetch>(&self, service: &'a Service<F>) -> Requests<'a> {
        service.requests(self.index)
    }

    fn carry_out<F: Fetch>(&mut self, service: &Service<F>, effect: Effect) -> Option<Eoi> {
        match effect {
            Effect::Send(ipi) => {
                service.send(Some(self.index), ipi);
            }
            Effect::FirstEnable => {
                self.published = self.local.addressing();
                service.inbox(self.index).enable(self.published.to_bits());
            }
            // Of all others, it may have been a register that says how this local APIC is addressed.
            Effect::None => self.publish(service),
            Effect::EndOfInterrupt { vector, level: true } => return Some(Eoi { vector }),
            Effect::Unsent(_) | Effect::EndOfInterrupt { level: false, .. } => {}
        }
        None
    }

    /// Lets senders see how this local APIC is addressed.
    pub(crate) fn publish<F: Fetch>(&mut self, service: &Service<F>) {
        let addressing = self.local.addressing();
        if addressing != self.published {
            self.published = addressing;
            service.inbox(self.index).publish(addressing.to_bits());
        }
    }

    /// INIT: lets senders see that nothing may come any more, and drops what has come.
    pub(crate) fn reset<F: Fetch>(&mut self, service: &Service<F>) {
        self.local.init();
        self.activity = if self.local.is_bootstrap() { Activity::Running } else { Activity::WaitForSipi };
        self.published = self.local.addressing();
        service.inbox(self.index).reset(self.published.to_bits());
        service.set_tmr(self.index, [0; 8]);
    }

    /// A processor in place of this one, with all that is the processor's own; senders see it at once.
    pub(crate) fn replace<F: Fetch>(&mut self, service: &Service<F>, local: LocalApic, activity: Activity) {
        (self.local, self.activity) = (local, activity);
        (self.base_is_new, self.nmis_are_raised) = (true, true);
        self.publish(service);
    }
}

#[cfg(test)]
mod tests;
