//! A processor's interrupt side as plain data: what an embedder writes to a snapshot, or sends to another host.

use crate::inbox::Events;
use crate::local::LocalApic;
use crate::processor::{Activity, Processor};
use crate::service::{Fetch, Service};
use crate::timer::{Now, Timer, TimerMode};

/// What has changed in a processor since it was made ([`crate::processor::Setup`]). Registers are as software reads them, where
/// software can read them.
///
/// What a hypervisor holds of the processor is the embedder's to save: CR8, NMIs that are pending or in service, an interrupt that was
/// given to it and has not been taken (KVM_GET_VCPU_EVENTS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// What the processor does.
    pub activity: Activity,
    /// NMIs, INIT and SIPI that wait.
    pub events: Events,
    /// IA32_APIC_BASE.
    pub base: u64,
    /// TPR.
    pub tpr: u8,
    /// Bits 31:24 of the LDR in xAPIC mode. In x2APIC mode the LDR follows from the id.
    pub logical_id: u8,
    /// DFR.
    pub dfr: u32,
    /// SVR.
    pub svr: u32,
    /// ISR, the lowest vectors' register first.
    pub isr: [u32; 8],
    /// TMR.
    pub tmr: [u32; 8],
    /// IRR.
    pub irr: [u32; 8],
    /// ESR.
    pub esr: u32,
    /// Errors since the ESR was written, by its bits.
    pub errors: u32,
    /// ICR, in either mode.
    pub icr: u64,
    /// The LVT: timer, thermal sensor, performance counters, LINT0, LINT1, error.
    pub lvt: [u32; 6],
    /// The timer's initial count.
    pub initial_count: u32,
    /// The timer's divide configuration.
    pub divide: u32,
    /// Until the timer's running count reaches zero, ns. `None`: no count runs.
    pub timer_left: Option<u64>,
    /// IA32_TSC_DEADLINE, by the guest's TSC. Zero: not armed.
    pub tsc_deadline: u64,
    /// Software has enabled the local APIC since the last reset.
    pub was_enabled: bool,
}

impl Processor {
    /// Saves the processor, at this moment. Its machine stands still: nobody sends.
    pub fn save<F: Fetch>(&mut self, service: &Service<F>, now: Now) -> Saved {
        self.tick(service, &|| now);
        let inbox = service.inbox(self.index());
        let requests = self.requests(service);
        let LocalApic { tpr, logical_id, dfr, svr, isr, esr, errors, icr, lvt, ref timer, base, was_enabled, .. } =
            self.local;
        Saved {
            activity: self.activity,
            events: inbox.events(),
            base,
            tpr,
            logical_id,
            dfr,
            svr,
            isr,
            tmr: requests.tmr.registers(),
            irr: requests.irr.registers(),
            esr,
            errors,
            icr,
            lvt,
            initial_count: timer.initial(),
            divide: timer.divide(),
            timer_left: timer.left(now),
            tsc_deadline: timer.deadline(),
            was_enabled,
        }
    }

    /// Makes the processor what was saved, at this moment: what was left of the timer's count starts now. Its machine stands still, as
    /// with [`Processor::save`]; id and capabilities are those that the processor was made with, and have to be the saved one's.
    /// [`Processor::prepare`] then tells the hypervisor the value of IA32_APIC_BASE.
    pub fn restore<F: Fetch>(&mut self, service: &Service<F>, saved: &Saved, now: Now) {
        let Saved { activity, events, base, tpr, logical_id, dfr, svr, isr, tmr, irr, esr, errors, .. } = *saved;
        let Saved { icr, lvt, initial_count, divide, timer_left, tsc_deadline, was_enabled, .. } = *saved;
        let [timer_entry, ..] = lvt;
        let mode = TimerMode::of_lvt(timer_entry);
        let timer = Timer::restore(mode, initial_count, divide, timer_left, tsc_deadline, now);
        let after_reset = LocalApic::new(self.local.id, false, self.local.capabilities);
        let registers = LocalApic { base, tpr, logical_id, dfr, svr, isr, esr, errors, icr, lvt, ..after_reset };
        let local = LocalApic { timer, was_enabled, ..registers };
        let inbox = service.inbox(self.index());
        service.set_tmr(self.index(), tmr);
        inbox.irr().set_registers(irr);
        inbox.set_events(events);
        self.replace(service, local, activity);
    }
}
