use super::*;
use crate::addressing::Mode;
use crate::capabilities::DeliveryStatus;
use crate::inbox::Events;
use crate::ipi::{Delivery, Destination, Ipi, Trigger};
use crate::registers::{DIVIDE, EOI, ICR, INITIAL_COUNT, LVT_TIMER, SVR, SVR_ENABLE, TPR};
use crate::saved::Saved;
use proptest::prelude::*;

const PAGE: u64 = 0xFEE0_0000;
const X2APIC: u64 = PAGE | 0xD00;
const OFF: u64 = PAGE | 0x100;

struct Nobody;

impl Fetch for Nobody {
    fn interrupt(&self) {}

    fn wake(&self) {}
}

fn at(ns: u64) -> Now {
    Now { ns, tsc: ns * 2 }
}

struct Machine {
    service: Service<Nobody>,
    processor: Processor,
    now: Now,
}

impl Machine {
    fn after_reset() -> Self {
        let service = Service::new([(7, Nobody)]);
        let capabilities = Capabilities {
            address_bits: 48,
            x2apic: true,
            tsc_deadline: true,
            icr_delivery_status: DeliveryStatus::Ignored,
        };
        let processor = Processor::new(0, Setup { id: 7, bootstrap: true, capabilities }, &service);
        Self { service, processor, now: at(1000) }
    }

    fn enabled() -> Self {
        let mut machine = Self::after_reset();
        machine.store(SVR, SVR_ENABLE | 0xFF);
        machine
    }

    fn store(&mut self, offset: u32, value: u32) -> Option<Eoi> {
        let address = self.processor.local().page() + u64::from(offset);
        let now = self.now;
        let written = self.processor.write_mmio(&self.service, address, &value.to_le_bytes(), &|| now);
        written.expect("in the page").eoi
    }

    fn load(&mut self, offset: u32) -> u32 {
        let address = self.processor.local().page() + u64::from(offset);
        let (now, mut data) = (self.now, [0; 4]);
        let read = self.processor.read_mmio(&self.service, address, &mut data, &|| now);
        assert_eq!(read, Some(offset));
        u32::from_le_bytes(data)
    }

    fn write_msr(&mut self, msr: u32, value: u64) -> Result<Option<Eoi>, GeneralProtection> {
        let now = self.now;
        self.processor.write_msr(&self.service, msr, value, &|| now)
    }

    fn accepted(&self, delivery: Delivery) -> u32 {
        self.service.send(None, Ipi::new(delivery, Destination::All)).accepted
    }
}

#[test]
fn the_page_lies_where_the_base_says_in_every_mode() {
    let mut machine = Machine::enabled();
    let now = machine.now;
    let mut read = |address| machine.processor.read_mmio(&machine.service, address, &mut [0; 4], &|| now);
    assert_eq!([PAGE - 4, PAGE, PAGE + 0xFFC, PAGE + 0x1000].map(&mut read), [None, Some(0), Some(0xFFC), None]);
    assert_eq!(machine.write_msr(APIC_BASE_MSR, 0x8000_0900), Ok(None));
    let mut read = |address| machine.processor.read_mmio(&machine.service, address, &mut [0; 4], &|| now);
    assert_eq!([PAGE, 0x8000_0030].map(&mut read), [None, Some(0x30)]);
    assert_eq!(machine.processor.write_mmio(&machine.service, PAGE, &[0; 4], &|| now), None);
    for base in [X2APIC, OFF] {
        assert_eq!(machine.write_msr(APIC_BASE_MSR, base), Ok(None));
        assert_eq!(machine.load(TPR), u32::MAX);
    }
}

#[test]
fn the_local_apic_has_its_msrs() {
    let own = [0x1B, 0x6E0, 0x800, 0x830, 0x8FF];
    assert!(own.into_iter().all(Processor::owns_msr));
    assert!([0x10, 0x1A, 0x1C, 0x6DF, 0x6E1, 0x7FF, 0x900].into_iter().all(|msr| !Processor::owns_msr(msr)));
    let mut machine = Machine::after_reset();
    assert_eq!(machine.processor.read_msr(&machine.service, 0x1B, &Now::default), Ok(PAGE | 0x900));
    assert_eq!(machine.write_msr(0x1B, X2APIC | 1), Err(GeneralProtection));
    assert_eq!(machine.processor.local().base(), PAGE | 0x900);
}

#[test]
fn senders_see_a_new_base_at_once() {
    let mut machine = Machine::enabled();
    let mode = |machine: &Machine| Addressing::from_bits(machine.service.inbox(0).published()).mode;
    assert_eq!(mode(&machine), Mode::XApic);
    machine.write_msr(APIC_BASE_MSR, X2APIC).expect("a step that there is");
    assert_eq!(mode(&machine), Mode::X2Apic);
    machine.write_msr(APIC_BASE_MSR, OFF).expect("a step that there is");
    assert_eq!(mode(&machine), Mode::Disabled);
    assert_eq!(
        [Delivery::Fixed(0x51), Delivery::Nmi, Delivery::Init].map(|delivery| machine.accepted(delivery)),
        [0; 3]
    );
    machine.write_msr(APIC_BASE_MSR, PAGE | 0x900).expect("a step that there is");
    assert_eq!(machine.accepted(Delivery::Fixed(0x51)), 1, "software's enable has lasted");
}

#[test]
fn a_level_triggered_interrupt_ends_with_a_word() {
    let mut machine = Machine::enabled();
    let level = Ipi { trigger: Trigger::Level, ..Ipi::new(Delivery::Fixed(0x51), Destination::All) };
    for (ipi, eoi) in [(level, Some(Eoi { vector: 0x51 })), (Ipi { trigger: Trigger::Edge, ..level }, None)] {
        machine.service.send(None, ipi);
        machine.processor.local.acknowledge(0x51, machine.service.requests(0));
        assert_eq!(machine.store(EOI, 0), eoi);
    }
    machine.service.send(None, level);
    machine.write_msr(APIC_BASE_MSR, X2APIC).expect("a step that there is");
    machine.processor.local.acknowledge(0x51, machine.service.requests(0));
    assert_eq!(machine.write_msr(0x80B, 0), Ok(Some(Eoi { vector: 0x51 })));
}

#[test]
fn a_narrow_store_does_not_send() {
    let mut machine = Machine::enabled();
    let now = machine.now;
    for data in [&[0xE1_u8][..], &[0xE1, 0x40]] {
        let written = machine.processor.write_mmio(&machine.service, PAGE + u64::from(ICR), data, &|| now);
        assert_eq!(written, Some(Written { offset: ICR, eoi: None }));
    }
    assert_eq!(machine.service.inbox(0).irr().highest(), None);
}

#[test]
fn cr8_and_the_tpr_keep_step() {
    let mut machine = Machine::enabled();
    machine.store(TPR, 0x25);
    machine.processor.follow_cr8(2);
    assert_eq!(machine.load(TPR), 0x25, "nobody is known to have written it");
    machine.processor.write_cr8(2);
    assert_eq!(machine.load(TPR), 0x20);
    machine.processor.follow_cr8(3);
    assert_eq!(machine.load(TPR), 0x30);
}

#[test]
fn a_timer_goes_on_on_another_clock() {
    let mut machine = Machine::enabled();
    machine.store(LVT_TIMER, 1 << 17 | 0x31);
    machine.store(DIVIDE, 0b0011);
    machine.store(INITIAL_COUNT, 100);
    machine.now = at(1000 + 1600 + 700);
    let saved = machine.processor.save(&machine.service, machine.now);
    assert_eq!((saved.timer_left, saved.irr[1]), (Some(900), 1 << 0x11), "one beat has passed");
    let mut other = Machine::after_reset();
    other.now = at(50);
    other.processor.restore(&other.service, &saved, other.now);
    assert_eq!(other.processor.next_deadline(), Some(Deadline::Ns(950)));
    assert_eq!(other.load(0x390), machine.load(0x390));
}

/// Anything that a processor can be, and more.
fn saved() -> impl Strategy<Value = Saved> {
    let activity = prop_oneof![
        Just(Activity::Running),
        Just(Activity::WaitForSipi),
        any::<bool>().prop_map(|interruptible| Activity::Halted { interruptible }),
    ];
    let events = (0..3_u8, any::<bool>(), any::<Option<u8>>());
    let base = prop_oneof![Just(PAGE | 0x900), Just(X2APIC), Just(OFF)];
    let small = (any::<u8>(), any::<u8>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>());
    // Nothing that expires at once: a save would find it expired.
    let timer = (any::<u32>(), 0..12_u32, prop::option::of(1_u64..1 << 40), prop_oneof![Just(0), 1_u64 << 40..1 << 50]);
    let sets = any::<[[u32; 8]; 3]>();
    ((activity, events, base), small, timer, sets, any::<[u32; 6]>(), any::<bool>()).prop_map(
        |((activity, (nmis, init, sipi), base), small, timer, [isr, tmr, irr], lvt, was_enabled)| {
            let (tpr, logical_id, dfr, svr, esr, errors, icr) = small;
            let (initial_count, divide, timer_left, tsc_deadline) = timer;
            let events = Events { nmis, init, sipi };
            Saved {
                activity,
                events,
                base,
                tpr,
                logical_id,
                dfr,
                svr,
                isr,
                tmr,
                irr,
                esr,
                errors,
                icr,
                lvt,
                initial_count,
                divide,
                timer_left,
                tsc_deadline,
                was_enabled,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_restored_is_what_was_saved(saved in saved(), ns in 0..1_u64 << 38) {
        let mut machine = Machine::after_reset();
        machine.processor.restore(&machine.service, &saved, at(ns));
        prop_assert_eq!(machine.processor.save(&machine.service, at(ns)), saved);
        let published = Addressing::from_bits(machine.service.inbox(0).published());
        prop_assert_eq!(published, machine.processor.local().addressing());
    }
}
