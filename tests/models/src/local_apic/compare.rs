//! Does the same to kipi's local APICs and to the manual's, and looks for a difference.

mod guest;
mod messages;
mod state;

use super::hypervisor::{Fault, Kvm};
use super::operation::{Act, Operation};
use super::reference::{self, Features};
use kipi_apic::capabilities::{Capabilities, DeliveryStatus};
use kipi_apic::entry::Next;
use kipi_apic::ipi::{Delivery, Destination, Ipi};
use kipi_apic::processor::{Processor, Setup};
use kipi_apic::service::{Fetch, Service};
use kipi_apic::timer::Now;

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

const ALL: Features = Features { address_bits: 52, x2apic: true, tsc_deadline: true, icr_bit_12_reserved: false };

/// APIC ids with gaps, in no order, one of more than 20 bits, two in one x2APIC cluster; and a feature of each that the others differ
/// in.
pub const CPUS: [(u32, Features); 4] = [
    (0, ALL),
    (7, Features { tsc_deadline: false, ..ALL }),
    (0x10_0123, Features { icr_bit_12_reserved: true, ..ALL }),
    (5, Features { address_bits: 36, x2apic: false, ..ALL }),
];

/// Both.
#[derive(Debug)]
pub struct Pair {
    service: Service<Nobody>,
    processors: Vec<Processor>,
    vcpus: Vec<Kvm>,
    manual: reference::Machine,
    /// What kipi's clock shows when the manual's shows zero.
    epoch: u64,
    /// Of the last entry: the guest is left when an interrupt window opens.
    window: bool,
    /// The processor whose guest has not been left since.
    in_guest: Option<usize>,
    /// Who has looked, and is about to go where it says.
    going: [Option<Next>; CPUS.len()],
}

impl Default for Pair {
    fn default() -> Self {
        Self::new(Fault::None)
    }
}

/// All operations on a fresh machine.
///
/// # Panics
/// At the first difference.
pub fn run(operations: impl IntoIterator<Item = Operation>) {
    run_with(Fault::None, operations);
}

/// All operations on a fresh machine whose hypervisor makes this mistake: for a test of the comparison.
///
/// # Panics
/// At the first difference.
pub fn run_with(fault: Fault, operations: impl IntoIterator<Item = Operation>) {
    let mut pair = Pair::new(fault);
    for operation in operations {
        pair.apply(operation);
    }
    (0..CPUS.len()).for_each(|cpu| pair.look(cpu));
    (0..CPUS.len()).for_each(|cpu| pair.expect_equal_registers(cpu));
}

fn processors(service: &Service<Nobody>) -> Vec<Processor> {
    let setup = |index: usize, (id, features): (u32, Features)| Setup {
        id,
        bootstrap: index == 0,
        capabilities: Capabilities {
            address_bits: features.address_bits,
            x2apic: features.x2apic,
            tsc_deadline: features.tsc_deadline,
            icr_delivery_status: if features.icr_bit_12_reserved {
                DeliveryStatus::Reserved
            } else {
                DeliveryStatus::Ignored
            },
        },
    };
    (0..).zip(CPUS).map(|(index, cpu)| Processor::new(index, setup(index, cpu), service)).collect()
}

fn service() -> Service<Nobody> {
    Service::new(CPUS.map(|(id, _)| (id, Nobody)))
}

impl Pair {
    /// After a reset.
    pub fn new(fault: Fault) -> Self {
        let service = service();
        let processors = processors(&service);
        let vcpus = processors.iter().map(|processor| Kvm::new(processor.local().base(), fault)).collect();
        Self {
            service,
            processors,
            vcpus,
            manual: reference::Machine::new(&CPUS),
            epoch: 0,
            window: false,
            in_guest: None,
            going: [None; CPUS.len()],
        }
    }

    /// Does it to both.
    ///
    /// # Panics
    /// If they differ in what comes back, in any interrupt or state afterwards, or in a register of this processor.
    pub fn apply(&mut self, operation: Operation) {
        let cpu = usize::from(operation.cpu) % CPUS.len();
        // Whatever else happens fetches whoever is in the guest.
        let in_guest = self.in_guest.take() == Some(cpu);
        if !operation.act.is_sent() {
            self.going[cpu] = None;
        }
        match operation.act {
            Act::Execute(instruction) => self.execute(cpu, in_guest, instruction),
            Act::Look => self.look(cpu),
            Act::Pass(ns) => self.manual.pass(ns.into()),
            Act::FromOutside { vector, delivery_mode, destination } => {
                self.send_from_outside(vector, delivery_mode, destination);
            }
            Act::Message { address, data } => self.write_message(address, data),
            Act::Migrate(clock) => self.migrate(clock.into()),
        }
        if !self.is_overdue(cpu) {
            self.expect_equal_registers(cpu);
        }
        self.expect_equal(operation);
        (0..CPUS.len()).for_each(|cpu| self.expect_nothing_overlooked(cpu));
    }

    /// Sends processor 0 an interrupt that the manual's does not get: for a test of the comparison.
    ///
    /// # Panics
    /// If the comparison is any good.
    pub fn lose_an_interrupt(&self, vector: u8) {
        self.service.send(None, Ipi::new(Delivery::Fixed(vector), Destination::Physical(0)));
        self.expect_equal(Operation { cpu: 0, act: Act::Look });
    }

    /// What time it is for a processor of kipi's.
    fn now(&self, cpu: usize) -> Now {
        Now { ns: self.manual.ns + self.epoch, tsc: self.manual.tsc(cpu) }
    }

    /// Whether a timer of kipi's has expired that has not been looked at: it runs when its processor does something, the manual's always.
    fn is_overdue(&self, cpu: usize) -> bool {
        self.processors[cpu].next_deadline().is_some_and(|deadline| deadline.is_past(self.now(cpu)))
    }

    /// The machine goes on elsewhere; what the hypervisor holds of it goes along.
    fn migrate(&mut self, clock: u64) {
        let saved: Vec<_> = (0..CPUS.len())
            .map(|cpu| {
                let now = self.now(cpu);
                self.processors[cpu].save(&self.service, now)
            })
            .collect();
        self.service = service();
        self.processors = processors(&self.service);
        self.epoch = clock;
        self.going = [None; CPUS.len()];
        for (cpu, saved) in saved.iter().enumerate() {
            let now = self.now(cpu);
            self.processors[cpu].restore(&self.service, saved, now);
            assert_eq!(&self.processors[cpu].save(&self.service, now), saved, "processor {cpu} has been restored");
        }
    }
}
