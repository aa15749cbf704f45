//! What lies between a vCPU's exit and its next entry: what its local APIC asks of whoever runs it.
//!
//! [`Processor::prepare`] decides, and [`Vcpu`] carries out: KVM's ioctls do, and so does a model of them, by which this seam is
//! tested without a hypervisor.

use crate::inbox::Events;
use crate::local::Highest;
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

    /// INIT: sets all registers to what it leaves (SDM Vol. 3A 11.1.1), IA32_APIC_BASE as given, and discards what was under way:
    /// NMIs that are pending or in service, exceptions, interrupts, the shadow of STI and MOV SS.
    ///
    /// # Errors
    /// The hypervisor's.
    fn reset(&mut self, apic_base: u64) -> Result<(), Self::Error>;

    /// SIPI: starts it in real mode at page `vector` (SDM Vol. 3A 10.4.4). NMIs that are pending stay so.
    ///
    /// # Errors
    /// The hypervisor's.
    fn start(&mut self, vector: u8) -> Result<(), Self::Error>;

    /// Tells it the value of IA32_APIC_BASE, by which CPUID shows whether there is a local APIC (SDM Vol. 3A 12.4.3).
    ///
    /// # Errors
    /// The hypervisor's.
    fn set_apic_base(&mut self, apic_base: u64) -> Result<(), Self::Error>;

    /// Makes an NMI pending. The vCPU takes one, and keeps one while NMIs are blocked; further ones merge with that (SDM Vol. 3A
    /// 7.7.1). So does KVM_NMI.
    ///
    /// # Errors
    /// The hypervisor's.
    fn raise_nmi(&mut self) -> Result<(), Self::Error>;

    /// What has become of NMIs that were raised. Asked only while one of them may be pending.
    ///
    /// # Errors
    /// The hypervisor's.
    fn nmis(&self) -> Result<Nmis, Self::Error>;

    /// Whether it can be given an interrupt: IF is set and not in the shadow of an instruction, and no other event is under way. One
    /// is, too, while the last exit's instruction is unfinished and may end in an exception: a refused access to an MSR, the rest of an
    /// instruction that has read, a single step. The hypervisor raises that exception only when it finishes the instruction, and
    /// gave its answer (`kvm_run.ready_for_interrupt_injection`) before.
    fn can_take_interrupt(&mut self) -> bool;

    /// Gives it an interrupt, which it takes at its next entry.
    ///
    /// # Errors
    /// The hypervisor's.
    fn interrupt(&mut self, vector: u8) -> Result<(), Self::Error>;
}

/// A vCPU's NMIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nmis {
    /// One or two have not been taken.
    pub pending: bool,
    /// One is in service: IRET has not ended it.
    pub blocked: bool,
}

impl Nmis {
    /// One is taken at the next instruction.
    fn come_first(self) -> bool {
        self.pending && !self.blocked
    }
}

/// What a vCPU's thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Enters the guest, for an interrupt that waits.
    Enter(Wait),
    /// Sleeps, until something is left for this vCPU or its timer expires.
    Sleep,
}

/// What an interrupt waits for that is left for a vCPU which enters the guest. The guest can bring it about without an exit of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// No interrupt waits, or it waits for the EOI of another, which is an exit.
    Nothing,
    /// The guest is to be left when it can take an interrupt (`kvm_run.request_interrupt_window`).
    Window,
    /// The TPR alone holds it back: the guest is to be left when it has lowered CR8. Where the hypervisor does not do that by itself
    /// (KVM_EXIT_SET_TPR), somebody has to fetch the vCPU now and then.
    LowerTpr,
}

/// What messages without a vector ask of the vCPU, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Orders {
    reset: bool,
    start: Option<u8>,
    nmis: u8,
}

impl Processor {
    /// Brings the vCPU to where its local APIC wants it, after an exit and before the next entry, and says what comes next.
    ///
    /// Before the thread goes into the guest or to sleep, it has to say so ([`crate::presence`]) and then to ask
    /// [`Processor::is_settled`]; if it is not, the thread stays, and calls this again.
    ///
    /// # Errors
    /// The first of the vCPU's. What else was to be done to the vCPU is lost then: it cannot go on.
    pub fn prepare<F: Fetch, V: Vcpu>(
        &mut self,
        service: &Service<F>,
        vcpu: &mut V,
        now: &dyn Fn() -> Now,
    ) -> Result<Next, V::Error> {
        self.carry_out_orders(service, vcpu)?;
        self.tick(service, now);
        // The TPR may have changed by CR8.
        self.publish(service);
        if !self.is_running(service, vcpu)? {
            return Ok(Next::Sleep);
        }
        let requests = self.requests(service);
        let vector = match self.local.highest(requests) {
            Highest::Pending(vector) => vector,
            Highest::Held => return Ok(Next::Enter(Wait::LowerTpr)),
            Highest::Nothing => return Ok(Next::Enter(Wait::Nothing)),
        };
        // Whoever has sent this vector may have sent an NMI or INIT before: these are not overtaken. The look comes after the one that
        // has found the vector, and what is given is that vector, not a later one.
        let events_come_first = service.inbox(self.index()).has_events();
        if events_come_first || !vcpu.can_take_interrupt() || self.nmis(vcpu)?.come_first() {
            return Ok(Next::Enter(Wait::Window));
        }
        self.local.acknowledge(vector, requests);
        vcpu.interrupt(vector)?;
        // All that waits and is no higher than this one waits for its EOI.
        Ok(Next::Enter(if self.is_interrupted(service) { Wait::Window } else { Wait::Nothing }))
    }

    /// Whether nothing has come since [`Processor::prepare`] has said what comes next. The thread asks after it has said where it goes:
    /// what comes later finds it there.
    pub fn is_settled<F: Fetch>(&self, service: &Service<F>, next: Next) -> bool {
        let has_news = match next {
            // What comes now is given when the window opens.
            Next::Enter(Wait::Window) => false,
            Next::Enter(Wait::LowerTpr) | Next::Sleep => self.has_news(service),
            // One that is held back is news, too: nobody would fetch this vCPU when it lowers its TPR.
            Next::Enter(Wait::Nothing) => self.local.highest(self.requests(service)) != Highest::Nothing,
        };
        !has_news && !service.inbox(self.index()).has_events()
    }

    fn carry_out_orders<F: Fetch, V: Vcpu>(&mut self, service: &Service<F>, vcpu: &mut V) -> Result<(), V::Error> {
        let orders = self.take_events(service);
        if orders.reset {
            vcpu.complete()?;
            vcpu.reset(self.local.base())?;
            (self.base_is_new, self.nmis_are_raised) = (false, false);
        }
        if self.base_is_new {
            vcpu.complete()?;
            vcpu.set_apic_base(self.local.base())?;
            self.base_is_new = false;
        }
        if let Some(vector) = orders.start {
            vcpu.complete()?;
            vcpu.start(vector)?;
        }
        for _ in 0..orders.nmis {
            self.nmis_are_raised = true;
            vcpu.raise_nmi()?;
        }
        Ok(())
    }

    /// Takes NMI, INIT and SIPI out of the inbox, and says what they ask for (SDM Vol. 3A 10.4.1). An NMI that comes to a processor in
    /// wait-for-SIPI pends, and is taken when that starts.
    fn take_events<F: Fetch>(&mut self, service: &Service<F>) -> Orders {
        let inbox = service.inbox(self.index());
        if !inbox.has_events() {
            return Orders::default();
        }
        let Events { nmis, init, sipi } = inbox.take_events();
        if init {
            self.reset(service);
        }
        let start = sipi.filter(|_| self.activity == Activity::WaitForSipi);
        if start.is_some() {
            self.activity = Activity::Running;
        }
        Orders { reset: init, start, nmis }
    }

    /// Ends a HLT, if something does. Whether the processor runs code.
    fn is_running<F: Fetch, V: Vcpu>(&mut self, service: &Service<F>, vcpu: &V) -> Result<bool, V::Error> {
        match self.activity {
            Activity::Running => Ok(true),
            Activity::WaitForSipi => Ok(false),
            Activity::Halted { .. } => {
                let ends = self.nmis(vcpu)?.come_first() || self.has_news(service);
                if ends {
                    self.activity = Activity::Running;
                }
                Ok(ends)
            }
        }
    }

    /// The vCPU's NMIs. It is asked only while one that was raised may be pending, so that a vCPU without NMIs pays for no ioctl.
    ///
    /// KVM gives an interrupt before an NMI that it holds pending (`kvm_check_and_inject_events`, `interrupt.injected`), and leaves
    /// the guest at HLT with an NMI pending that the shadow of STI has held back. So the one must not be given to it, and the other must
    /// not sleep.
    fn nmis<V: Vcpu>(&mut self, vcpu: &V) -> Result<Nmis, V::Error> {
        if !self.nmis_are_raised {
            return Ok(Nmis::default());
        }
        let nmis = vcpu.nmis()?;
        self.nmis_are_raised = nmis.pending;
        Ok(nmis)
    }
}

#[cfg(test)]
mod tests;
