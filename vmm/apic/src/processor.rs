//! The interrupt side of one processor: its local APIC, what HLT, INIT, SIPI and NMI do to it, and what it sends.
//!
//! Nothing here knows how guest code is run. Whoever runs it passes in what the guest has written, and asks what to do before
//! the next stay in the guest: [`Processor::take_events`], [`Processor::tick`], [`Processor::wake`], then
//! [`Processor::acknowledge`] when the guest can take an interrupt. One thread owns a processor; the service is shared.

use crate::addressing::Mode;
use crate::local::{Effect, GeneralProtection, LocalApic};
use crate::service::{Fetch, Service};
use crate::timer::{Deadline, Now};
use crate::vectors::Vectors;

/// Of the page where the registers lie in xAPIC mode.
const PAGE_SIZE: u64 = 4096;
/// Bits of a guest-physical address, as many as a processor can have (SDM Vol. 3A 12.4.4: MAXPHYADDR). Whoever runs the
/// guest knows of fewer.
const ADDRESS_BITS: u32 = 52;

/// A processor's activity state, between two stays in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Running code.
    Running,
    /// In HLT. An NMI ends it, and, if IF was set, an interrupt that can be taken.
    Halted {
        /// IF was set.
        interruptible: bool,
    },
    /// Reset, and not started: a SIPI ends it.
    WaitForSipi,
}

/// What messages without a vector ask of whoever runs the guest, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orders {
    /// INIT: put the processor's registers back to what they are after a reset.
    pub reset: bool,
    /// SIPI: start at this vector, in real mode (SDM Vol. 3A 10.4.3).
    pub start: Option<u8>,
    /// Give the guest an NMI.
    pub nmi: bool,
}

/// A processor's interrupt side.
#[derive(Debug, Clone)]
pub struct Processor {
    local: LocalApic,
    index: usize,
    activity: Activity,
}

impl Processor {
    /// The processor that `service` knows as `index`, after a reset. Number 0 is the bootstrap processor, and runs.
    pub fn new<F: Fetch>(index: usize, id: u32, service: &Service<F>) -> Self {
        let bootstrap = index == 0;
        let activity = if bootstrap { Activity::Running } else { Activity::WaitForSipi };
        let processor = Self { local: LocalApic::new(id, bootstrap), index, activity };
        processor.publish(service);
        processor
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

    /// Which register a guest-physical address is, in xAPIC mode: its offset in the page.
    pub fn register_at(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.local.page())?;
        let is_in = self.local.mode() == Mode::XApic && offset < PAGE_SIZE;
        is_in.then(|| u32::try_from(offset).ok())?
    }

    /// The guest reads the register at `offset`.
    pub fn read_mmio<F: Fetch>(&mut self, service: &Service<F>, offset: u32, now: &dyn Fn() -> Now) -> u32 {
        self.local.read_mmio(offset, now, self.irr(service))
    }

    /// The guest writes the register at `offset`. What that sends has been sent when this returns.
    pub fn write_mmio<F: Fetch>(&mut self, service: &Service<F>, offset: u32, value: u32, now: &dyn Fn() -> Now) {
        let effect = self.local.write_mmio(offset, value, now, self.irr(service));
        self.carry_out(service, effect);
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
        self.local.read_msr(msr, now, self.irr(service))
    }

    /// The guest writes an MSR, as with [`Processor::write_mmio`].
    ///
    /// # Errors
    /// [`GeneralProtection`], which the guest is to get.
    pub fn write_msr<F: Fetch>(
        &mut self,
        service: &Service<F>,
        msr: u32,
        value: u64,
        now: &dyn Fn() -> Now,
    ) -> Result<(), GeneralProtection> {
        let effect = self.local.write_msr(msr, value, now, self.irr(service))?;
        self.carry_out(service, effect);
        Ok(())
    }

    /// IA32_APIC_BASE has this value, which somebody else has checked and keeps (KVM does).
    pub fn follow_base<F: Fetch>(&mut self, service: &Service<F>, base: u64) {
        if base == self.local.base() {
            return;
        }
        // A step that is not allowed has led through the disabled state.
        if self.local.set_base(base, ADDRESS_BITS).is_err() {
            self.local.disable();
            self.irr(service).clear();
            // A value that is refused all the same leaves it disabled.
            let _ = self.local.set_base(base, ADDRESS_BITS);
        }
        if self.local.mode() == Mode::Disabled {
            self.irr(service).clear();
        }
        self.publish(service);
    }

    /// CR8 has this value.
    pub fn follow_cr8(&mut self, cr8: u64) {
        self.local.set_cr8(cr8);
    }

    /// Takes NMI, INIT and SIPI out of the inbox, and says what they ask for (SDM Vol. 3A 10.4.1).
    pub fn take_events<F: Fetch>(&mut self, service: &Service<F>) -> Orders {
        let inbox = service.inbox(self.index);
        if !inbox.has_events() {
            return Orders::default();
        }
        let events = inbox.take_events();
        if events.init {
            self.local.init();
            inbox.irr().clear();
            self.publish(service);
            self.activity = if self.local.is_bootstrap() { Activity::Running } else { Activity::WaitForSipi };
        }
        let start = events.sipi.filter(|_| self.activity == Activity::WaitForSipi);
        if start.is_some() {
            self.activity = Activity::Running;
        }
        let nmi = events.nmi && self.activity != Activity::WaitForSipi;
        if nmi {
            self.activity = Activity::Running;
        }
        Orders { reset: events.init, start, nmi }
    }

    /// Raises the timer's interrupt, if it has expired.
    pub fn tick<F: Fetch>(&mut self, service: &Service<F>, now: &dyn Fn() -> Now) {
        self.local.tick(now, self.irr(service));
    }

    /// When [`Processor::tick`] has to be called next.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.local.next_deadline()
    }

    /// Ends a HLT, if an interrupt does. Whether the processor runs code.
    pub fn wake<F: Fetch>(&mut self, service: &Service<F>) -> bool {
        if matches!(self.activity, Activity::Halted { .. }) && self.has_news(service) {
            self.activity = Activity::Running;
        }
        self.activity == Activity::Running
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
        self.local.pending(self.irr(service)).is_some()
    }

    /// Whether it is the TPR alone that holds an interrupt back.
    pub fn is_held_by_tpr<F: Fetch>(&self, service: &Service<F>) -> bool {
        self.local.held_by_tpr(self.irr(service))
    }

    /// The guest takes the next interrupt, if there is one: this is its vector.
    pub fn acknowledge<F: Fetch>(&mut self, service: &Service<F>) -> Option<u8> {
        self.local.acknowledge(self.irr(service))
    }

    fn irr<'a, F: Fetch>(&self, service: &'a Service<F>) -> &'a Vectors {
        service.inbox(self.index).irr()
    }

    fn carry_out<F: Fetch>(&self, service: &Service<F>, effect: Effect) {
        match effect {
            Effect::Send(ipi) => {
                service.send(Some(self.index), ipi);
            }
            // Of all others, it may have been a register that says how this local APIC is addressed.
            Effect::None => self.publish(service),
            Effect::Unsent(_) | Effect::EndOfInterrupt(_) => {}
        }
    }

    /// Lets senders see how this local APIC is addressed.
    fn publish<F: Fetch>(&self, service: &Service<F>) {
        service.inbox(self.index).publish(self.local.addressing().to_bits());
    }
}
