//! Does the same to kipi's local APICs and to the manual's, and looks for a difference.

use super::operation::{Act, Operation};
use super::reference::{self, Choice, Message, REGISTERS, State, Whom};
use kipi_apic::ipi::{Delivery, Destination, Ipi};
use kipi_apic::local::GeneralProtection;
use kipi_apic::processor::{Activity, Orders, Processor};
use kipi_apic::service::{Fetch, Service};
use kipi_apic::timer::Now;
use kipi_apic::vectors::Vectors;
use std::collections::BTreeSet;

/// No thread has to be fetched: all are here.
#[derive(Debug)]
struct Nobody;

impl Fetch for Nobody {
    fn interrupt(&self) {
        unreachable!("no processor is in the guest");
    }

    fn wake(&self) {
        unreachable!("no processor sleeps");
    }
}

/// APIC ids with gaps, in no order, one of more than eight bits, two in one x2APIC cluster.
pub const IDS: [u32; 4] = [0, 7, 0x123, 5];

/// Both.
#[derive(Debug)]
pub struct Pair {
    service: Service<Nobody>,
    processors: Vec<Processor>,
    manual: reference::Machine,
    /// Up to when each of kipi's timers has run: it runs when its processor does something, the manual's always.
    up_to: [u64; IDS.len()],
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// All operations on a fresh machine.
///
/// # Panics
/// At the first difference.
pub fn run(operations: impl IntoIterator<Item = Operation>) {
    let mut pair = Pair::new();
    for operation in operations {
        pair.apply(operation);
    }
    (0..IDS.len()).for_each(|cpu| pair.expect_equal_registers(cpu));
}

impl Pair {
    /// After a reset.
    pub fn new() -> Self {
        let service = Service::new(IDS.map(|id| (id, Nobody)));
        let processors = (0..).zip(IDS).map(|(index, id)| Processor::new(index, id, &service)).collect();
        Self { service, processors, manual: reference::Machine::new(&IDS), up_to: [0; IDS.len()] }
    }

    /// Does it to both.
    ///
    /// # Panics
    /// If they differ in what comes back, in any interrupt or state afterwards, or in a register of this processor.
    pub fn apply(&mut self, operation: Operation) {
        let cpu = usize::from(operation.cpu) % IDS.len();
        self.act(cpu, operation.act);
        if !matches!(operation.act, Act::Pass(_)) {
            self.expect_equal_registers(cpu);
        }
        self.expect_equal(operation);
    }

    /// Sends processor 0 an interrupt that the manual's does not get: for a test of the comparison.
    ///
    /// # Panics
    /// If the comparison is any good.
    pub fn lose_an_interrupt(&self, vector: u8) {
        self.service.send(None, Ipi { delivery: Delivery::Fixed(vector), destination: Destination::Physical(IDS[0]) });
        self.expect_equal(Operation { cpu: 0, act: Act::Look });
    }

    fn now(&self) -> Now {
        Now { ns: self.manual.ns, tsc: self.manual.tsc() }
    }

    fn act(&mut self, cpu: usize, act: Act) {
        let x2apic = self.manual.cpus[cpu].mode() == reference::Mode::X2Apic;
        match act {
            Act::Read(number) if x2apic => self.read_msr(cpu, 0x800 + u32::from(number)),
            Act::Read(number) => self.read_page(cpu, u16::from(number) * 16),
            Act::ReadPage(offset) => self.read_page(cpu, offset),
            Act::ReadMsr(msr) => self.read_msr(cpu, msr),
            Act::Write(number, value) if x2apic => self.write_msr(cpu, 0x800 + u32::from(number), value),
            Act::Write(number, value) => self.write_page(cpu, u16::from(number) * 16, reduce(value)),
            Act::WritePage(offset, value) => self.write_page(cpu, offset, value),
            Act::WriteMsr(msr, value) => self.write_msr(cpu, msr, value),
            Act::Send { low, destination } if x2apic => {
                self.write_msr(cpu, 0x830, x2apic_destination(destination) << 32 | u64::from(low & 0xC_CFFF));
            }
            Act::Send { low, destination } => {
                self.write_page(cpu, 0x310, u32::from(destination) << 24);
                self.write_page(cpu, 0x300, low & 0xF_FFFF);
            }
            Act::ArmDeadline(cycles) => self.write_msr(cpu, 0x6E0, self.manual.tsc() + u64::from(cycles)),
            Act::WriteBase(bits, page) => self.write_base(cpu, u64::from(bits & 0xF) << 8 | u64::from(page) << 12),
            Act::WriteCr8(cr8) => {
                let cr8 = cr8 & 0xF;
                self.processors[cpu].follow_cr8(cr8.into());
                self.manual.write_cr8(cpu, cr8);
            }
            Act::Halt(interruptible) if self.processors[cpu].activity() == Activity::Running => {
                self.processors[cpu].halt(interruptible);
                self.manual.cpus[cpu].state = State::Halted(interruptible);
            }
            Act::Halt(_) => {}
            Act::Look => self.look(cpu),
            Act::Take => {
                let now = self.now();
                self.processors[cpu].tick(&self.service, &|| now);
                let taken = self.processors[cpu].acknowledge(&self.service);
                assert_eq!(taken, self.manual.take(cpu), "taken by processor {cpu}");
            }
            Act::Pass(ns) => self.manual.pass(ns.into()),
            Act::FromOutside { vector, delivery_mode, destination } => {
                self.send_from_outside(vector, delivery_mode, destination);
            }
        }
    }

    fn look(&mut self, cpu: usize) {
        let now = self.now();
        let processor = &mut self.processors[cpu];
        let Orders { reset, start, nmi } = processor.take_events(&self.service);
        processor.tick(&self.service, &|| now);
        let runs = processor.wake(&self.service);
        assert_eq!((reset, start, nmi), self.manual.look(cpu), "orders to processor {cpu}");
        assert_eq!(runs, self.manual.cpus[cpu].state == State::Running, "processor {cpu} runs");
    }

    fn read_page(&mut self, cpu: usize, offset: u16) {
        let now = self.now();
        let processor = &mut self.processors[cpu];
        let address = processor.local().page() + u64::from(offset);
        let Some(register) = processor.register_at(address) else {
            let mode = self.manual.cpus[cpu].mode();
            assert!(offset >= 4096 || mode != reference::Mode::XApic, "{offset:#x} is in the page");
            return;
        };
        let value = processor.read_mmio(&self.service, register, &|| now);
        assert_eq!(value, self.manual.read_page(cpu, offset), "processor {cpu} reads {offset:#x}");
    }

    fn write_page(&mut self, cpu: usize, offset: u16, value: u32) {
        let now = self.now();
        let processor = &mut self.processors[cpu];
        let address = processor.local().page() + u64::from(offset);
        let Some(register) = processor.register_at(address) else { return };
        processor.write_mmio(&self.service, register, value, &|| now);
        let choice = self.manual.write_page(cpu, offset, value);
        self.follow_choice(choice);
    }

    fn read_msr(&mut self, cpu: usize, msr: u32) {
        let now = self.now();
        let value = self.processors[cpu].read_msr(&self.service, msr, &|| now);
        let expected = self.manual.read_msr(cpu, msr);
        assert_eq!(value.ok(), expected.ok(), "processor {cpu} reads MSR {msr:#x}");
    }

    fn write_msr(&mut self, cpu: usize, msr: u32, value: u64) {
        let now = self.now();
        let written = self.processors[cpu].write_msr(&self.service, msr, value, &|| now);
        let expected = self.manual.write_msr(cpu, msr, value);
        assert_eq!(written.is_ok(), expected.is_ok(), "processor {cpu} writes {value:#x} to MSR {msr:#x}");
        self.follow_choice(expected.ok().flatten());
    }

    /// What KVM would refuse does not get as far as the processor.
    fn write_base(&mut self, cpu: usize, base: u64) {
        if self.manual.write_base(cpu, base).is_ok() {
            self.processors[cpu].follow_base(&self.service, base);
        } else {
            let refused = self.processors[cpu].local().clone().set_base(base, 52);
            assert_eq!(refused, Err(GeneralProtection), "processor {cpu} writes {base:#x} to IA32_APIC_BASE");
        }
    }

    fn send_from_outside(&mut self, vector: u8, delivery_mode: u8, destination: u8) {
        let (to, whom) = match destination {
            0xFF => (Destination::All, Whom::All),
            0xFE => (Destination::AllButSelf, Whom::Others),
            0xFD => (Destination::Itself, Whom::Itself),
            logical if logical & 0x80 != 0 => {
                let mda = u32::from(logical & 0x7F);
                (Destination::Logical(mda), Whom::Logical(mda))
            }
            physical => {
                let id = IDS.get(usize::from(physical)).copied().unwrap_or(physical.into());
                (Destination::Physical(id), Whom::Physical(id))
            }
        };
        let delivery_mode = delivery_mode % 8;
        let delivery = match delivery_mode {
            0 => Delivery::Fixed(vector),
            1 => Delivery::LowestPriority(vector),
            2 => Delivery::Smi,
            4 => Delivery::Nmi,
            5 => Delivery::Init,
            6 => Delivery::Sipi(vector),
            _ => Delivery::ExtInt,
        };
        self.service.send(None, Ipi { delivery, destination: to });
        let choice = self.manual.send(None, Message { delivery_mode, vector, whom });
        self.follow_choice(choice);
    }

    /// A lowest-priority message went to one of several, where the manual leaves the choice.
    fn follow_choice(&mut self, choice: Option<Choice>) {
        let Some(Choice { candidates, vector }) = choice else { return };
        let has_it = |index: usize| self.service.inbox(index).irr().contains(vector);
        let got_it: Vec<usize> = candidates.iter().copied().filter(|&index| has_it(index)).collect();
        assert!(!got_it.is_empty(), "nobody of {candidates:?} has got {vector:#x}");
        let new = got_it.iter().filter(|&&index| self.manual.cpus[index].irr.insert(vector)).count();
        assert!(new <= 1, "{new} processors have got {vector:#x}");
    }

    fn expect_equal(&self, after: Operation) {
        for (index, processor) in self.processors.iter().enumerate() {
            if self.up_to[index] != self.manual.ns && processor.next_deadline().is_some() {
                continue;
            }
            let irr = self.service.inbox(index).irr();
            let manual = &self.manual.cpus[index];
            assert_eq!(set(irr), manual.irr, "IRR of processor {index} after {after:x?}");
            assert_eq!(processor.local().base(), manual.base, "base of processor {index} after {after:x?}");
            assert_eq!(processor.local().pending(irr), manual.deliverable(), "processor {index} after {after:x?}");
            let state = match processor.activity() {
                Activity::Running => State::Running,
                Activity::Halted { interruptible } => State::Halted(interruptible),
                Activity::WaitForSipi => State::WaitForSipi,
            };
            assert_eq!(state, manual.state, "processor {index} after {after:x?}");
            let events = manual.nmi || manual.init || manual.sipi.is_some();
            assert_eq!(self.service.inbox(index).has_events(), events, "events of processor {index} after {after:x?}");
        }
    }

    /// Reads every register of `cpu` that can be read.
    fn expect_equal_registers(&mut self, cpu: usize) {
        use reference::Access::{Ro, Rw};
        let now = self.now();
        let irr = self.service.inbox(cpu).irr();
        self.processors[cpu].tick(&self.service, &|| now);
        self.up_to[cpu] = now.ns;
        let mut local = self.processors[cpu].local().clone();
        let manual = &self.manual.cpus[cpu];
        let mode = manual.mode();
        for &(number, xapic, x2apic, _) in REGISTERS {
            let value = match mode {
                reference::Mode::X2Apic if matches!(x2apic, Ro | Rw) => {
                    local.read_msr(0x800 + u32::from(number), &|| now, irr).ok()
                }
                reference::Mode::XApic if matches!(xapic, Ro | Rw) => {
                    Some(local.read_mmio(u32::from(number) << 4, &|| now, irr).into())
                }
                _ => continue,
            };
            assert_eq!(value, Some(manual.read(number, now.ns)), "register {number:#x} of processor {cpu} in {mode:?}");
        }
    }
}

fn set(vectors: &Vectors) -> BTreeSet<u8> {
    (0..=u8::MAX).filter(|&vector| vectors.contains(vector)).collect()
}

/// As much of a value as xAPIC mode takes.
fn reduce(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A destination that may hit: one of the ids, a cluster, or everybody.
fn x2apic_destination(choice: u8) -> u64 {
    match choice {
        0xFF => 0xFFFF_FFFF,
        cluster if cluster & 0xC0 == 0xC0 => (u64::from(cluster & 1) * 0x0012_0000) | (1 << (cluster >> 1 & 0xF)),
        id => IDS.get(usize::from(id)).copied().unwrap_or(id.into()).into(),
    }
}
