use super::*;
use crate::addressing::Addressing;
use crate::capabilities::{Capabilities, DeliveryStatus};
use crate::ipi::{Delivery, Destination, Ipi};
use crate::processor::Setup;
use crate::registers::{APIC_BASE_MSR, EOI, ICR, SVR, SVR_ENABLE, TPR};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::convert::Infallible;

/// What was done to the vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Complete,
    Reset(u64),
    Start(u8),
    Base(u64),
    Nmi,
    Interrupt(u8),
}
use Done::{Base, Complete, Interrupt, Nmi, Reset, Start};

/// A vCPU that notes what is done to it.
struct Recorder {
    done: Vec<Done>,
    nmis: Nmis,
    /// How often it was asked for its NMIs.
    asked: Cell<u32>,
    can_take_interrupt: bool,
}

impl Vcpu for Recorder {
    type Error = Infallible;

    fn complete(&mut self) -> Result<(), Infallible> {
        self.done.push(Complete);
        Ok(())
    }

    fn reset(&mut self, apic_base: u64) -> Result<(), Infallible> {
        self.done.push(Reset(apic_base));
        self.nmis = Nmis::default();
        Ok(())
    }

    fn start(&mut self, vector: u8) -> Result<(), Infallible> {
        self.done.push(Start(vector));
        Ok(())
    }

    fn set_apic_base(&mut self, apic_base: u64) -> Result<(), Infallible> {
        self.done.push(Base(apic_base));
        Ok(())
    }

    fn raise_nmi(&mut self) -> Result<(), Infallible> {
        self.done.push(Nmi);
        self.nmis.pending = true;
        Ok(())
    }

    fn nmis(&self) -> Result<Nmis, Infallible> {
        self.asked.set(self.asked.get() + 1);
        Ok(self.nmis)
    }

    fn can_take_interrupt(&mut self) -> bool {
        self.can_take_interrupt
    }

    fn interrupt(&mut self, vector: u8) -> Result<(), Infallible> {
        self.done.push(Interrupt(vector));
        self.can_take_interrupt = false;
        Ok(())
    }
}

struct Nobody;

impl Fetch for Nobody {
    fn interrupt(&self) {}

    fn wake(&self) {}
}

const PAGE: u64 = 0xFEE0_0000;

/// A processor, enabled by software, with all that belongs to it.
struct Machine {
    service: Service<Nobody>,
    processor: Processor,
    vcpu: Recorder,
}

impl Machine {
    fn new(bootstrap: bool) -> Self {
        let service = Service::new([(0, Nobody)]);
        let capabilities = Capabilities {
            address_bits: 48,
            x2apic: true,
            tsc_deadline: true,
            icr_delivery_status: DeliveryStatus::Ignored,
        };
        let processor = Processor::new(0, Setup { id: 0, bootstrap, capabilities }, &service);
        let vcpu = Recorder { done: vec![], nmis: Nmis::default(), asked: Cell::new(0), can_take_interrupt: true };
        let mut machine = Self { service, processor, vcpu };
        machine.store(SVR, SVR_ENABLE | 0xFF);
        machine
    }

    fn store(&mut self, offset: u32, value: u32) {
        let address = PAGE + u64::from(offset);
        let written = self.processor.write_mmio(&self.service, address, &value.to_le_bytes(), &Now::default);
        assert_eq!(written.map(|written| written.offset), Some(offset));
    }

    fn write_base(&mut self, base: u64) {
        let written = self.processor.write_msr(&self.service, APIC_BASE_MSR, base, &Now::default);
        assert_eq!(written, Ok(None));
    }

    fn send(&self, delivery: Delivery) {
        assert_eq!(self.service.send(None, Ipi::new(delivery, Destination::All)).accepted, 1);
    }

    fn prepare(&mut self) -> Next {
        let Ok(next) = self.processor.prepare(&self.service, &mut self.vcpu, &Now::default);
        next
    }

    /// What is done to the vCPU, and what comes next.
    fn prepared(&mut self) -> (Next, Vec<Done>) {
        self.vcpu.done.clear();
        let next = self.prepare();
        (next, self.vcpu.done.clone())
    }
}

const ENTER: Next = Next::Enter(Wait::Nothing);
const WINDOW: Next = Next::Enter(Wait::Window);
const HELD: Next = Next::Enter(Wait::LowerTpr);

#[test]
fn an_exit_is_completed_before_registers_are_set() {
    let mut machine = Machine::new(false);
    assert_eq!(machine.prepared(), (Next::Sleep, vec![]));
    machine.send(Delivery::Init);
    machine.send(Delivery::Sipi(8));
    let base = PAGE | 0x800;
    assert_eq!(machine.prepared(), (ENTER, vec![Complete, Reset(base), Complete, Start(8)]));
    machine.write_base(PAGE | 0xC00);
    assert_eq!(machine.prepared(), (ENTER, vec![Complete, Base(PAGE | 0xC00)]));
    assert_eq!(machine.prepared(), (ENTER, vec![]), "told once");
    machine.write_base(PAGE);
    machine.write_base(PAGE | 0x800);
    machine.send(Delivery::Init);
    assert_eq!(machine.prepared(), (Next::Sleep, vec![Complete, Reset(PAGE | 0x800)]), "INIT tells it, too");
}

#[test]
fn init_to_itself_resets() {
    let mut machine = Machine::new(true);
    machine.store(ICR, 0x4500);
    assert_eq!(machine.prepared(), (ENTER, vec![Complete, Reset(PAGE | 0x900)]));
}

#[test]
fn nmis_are_raised_one_by_one() {
    let mut machine = Machine::new(true);
    machine.send(Delivery::Nmi);
    assert_eq!(machine.prepared(), (ENTER, vec![Nmi]));
    (0..3).for_each(|_| machine.send(Delivery::Nmi));
    assert_eq!(machine.prepared(), (ENTER, vec![Nmi, Nmi]));
}

#[test]
fn an_nmi_before_the_start_comes_after_it() {
    let mut machine = Machine::new(false);
    machine.send(Delivery::Nmi);
    assert_eq!(machine.prepared(), (Next::Sleep, vec![Nmi]), "it pends");
    machine.send(Delivery::Sipi(8));
    assert_eq!(machine.prepared(), (ENTER, vec![Complete, Start(8)]));
}

#[test]
fn an_interrupt_waits_for_a_raised_nmi() {
    let mut machine = Machine::new(true);
    machine.send(Delivery::Nmi);
    machine.send(Delivery::Fixed(0x51));
    assert_eq!(machine.prepared(), (WINDOW, vec![Nmi]));
    assert_eq!(machine.prepared(), (WINDOW, vec![]), "left before the NMI was taken");
    machine.vcpu.nmis = Nmis { pending: true, blocked: true };
    assert_eq!(machine.prepared(), (ENTER, vec![Interrupt(0x51)]), "the second NMI waits for IRET");
}

#[test]
fn who_has_no_nmis_is_not_asked_for_them() {
    let mut machine = Machine::new(true);
    machine.send(Delivery::Fixed(0x51));
    machine.prepare();
    machine.processor.halt(true);
    machine.prepare();
    assert_eq!(machine.vcpu.asked.get(), 0);
    machine.send(Delivery::Nmi);
    machine.prepare();
    machine.vcpu.nmis = Nmis { pending: false, blocked: true };
    machine.processor.halt(false);
    assert_eq!((machine.prepare(), machine.prepare()), (Next::Sleep, Next::Sleep));
    assert_eq!(machine.vcpu.asked.get(), 2, "at the NMI and at the HLT after it, and no more");
}

#[test]
fn a_blocked_nmi_does_not_end_hlt() {
    let mut machine = Machine::new(true);
    machine.vcpu.nmis.blocked = true;
    machine.processor.halt(false);
    machine.send(Delivery::Nmi);
    assert_eq!(machine.prepared(), (Next::Sleep, vec![Nmi]));
    machine.send(Delivery::Fixed(0x51));
    assert_eq!(machine.prepared(), (Next::Sleep, vec![]), "nor an interrupt, with IF clear");
    machine.processor.halt(true);
    assert_eq!(machine.prepared(), (ENTER, vec![Interrupt(0x51)]));
}

#[test]
fn hlt_with_an_nmi_that_a_shadow_has_held_back_does_not_sleep() {
    let mut machine = Machine::new(true);
    machine.send(Delivery::Nmi);
    machine.prepare();
    machine.processor.halt(true);
    assert_eq!(machine.prepared(), (ENTER, vec![]));
}

#[test]
fn an_interrupt_opens_a_window_for_the_next() {
    let mut machine = Machine::new(true);
    machine.vcpu.can_take_interrupt = false;
    machine.send(Delivery::Fixed(0x51));
    assert_eq!(machine.prepared(), (WINDOW, vec![]));
    machine.vcpu.can_take_interrupt = true;
    machine.send(Delivery::Fixed(0x41));
    assert_eq!(machine.prepared(), (ENTER, vec![Interrupt(0x51)]), "0x41 waits for the EOI");
    machine.send(Delivery::Fixed(0x61));
    assert_eq!(machine.prepared(), (WINDOW, vec![]));
}

#[test]
fn what_comes_after_the_look_keeps_the_thread_out_of_the_guest() {
    let mut machine = Machine::new(true);
    let next = machine.prepare();
    assert!(machine.processor.is_settled(&machine.service, next));
    machine.send(Delivery::Fixed(0x51));
    assert!(!machine.processor.is_settled(&machine.service, ENTER));
    assert!(machine.processor.is_settled(&machine.service, WINDOW), "it is given when the window opens");
    machine.send(Delivery::Nmi);
    assert!(!machine.processor.is_settled(&machine.service, WINDOW));
}

/// Vector 0x51's class, as a value of CR8.
const CLASS: u64 = 5;

#[test]
fn who_runs_a_vcpu_is_told_that_its_tpr_holds_an_interrupt_back() {
    let mut machine = Machine::new(true);
    machine.processor.write_cr8(CLASS);
    machine.send(Delivery::Fixed(0x51));
    assert_eq!(machine.prepared(), (HELD, vec![]));
    machine.send(Delivery::Fixed(0x61));
    assert_eq!(machine.prepared(), (ENTER, vec![Interrupt(0x61)]), "0x51 waits for an EOI");
    machine.store(EOI, 0);
    machine.vcpu.can_take_interrupt = true;
    assert_eq!(machine.prepared(), (HELD, vec![]), "0x51 waits for the TPR again");
    machine.processor.write_cr8(CLASS - 1);
    assert_eq!(machine.prepared(), (ENTER, vec![Interrupt(0x51)]));
}

/// Nobody fetches a vCPU that is in the guest for what it had not announced to wait for.
#[test]
fn what_the_tpr_holds_back_and_comes_after_the_look_keeps_the_thread_out_of_the_guest() {
    let mut machine = Machine::new(true);
    machine.processor.write_cr8(CLASS);
    assert_eq!(machine.prepare(), ENTER);
    machine.send(Delivery::Fixed(0x51));
    assert!(!machine.processor.is_settled(&machine.service, ENTER));
    assert_eq!(machine.prepare(), HELD);
    assert!(machine.processor.is_settled(&machine.service, HELD), "whoever runs it looks at CR8");
    machine.send(Delivery::Fixed(0x61));
    assert!(!machine.processor.is_settled(&machine.service, HELD), "this one goes through");
}

#[test]
fn cr8_is_published_for_lowest_priority() {
    let mut machine = Machine::new(true);
    machine.processor.write_cr8(9);
    machine.prepare();
    let priority = |machine: &Machine| Addressing::from_bits(machine.service.inbox(0).published()).priority;
    assert_eq!(priority(&machine), 9);
    machine.store(TPR, 0x25);
    assert_eq!(priority(&machine), 2, "a store at once");
    machine.processor.follow_cr8(2);
    assert_eq!(machine.processor.local().cr8(), 2);
    machine.processor.follow_cr8(3);
    machine.prepare();
    assert_eq!(priority(&machine), 3);
}
