use super::accesses::low;
use super::state::{BASE_ENABLE, BASE_X2APIC};
use super::{Effect, GeneralProtection, Highest, LocalApic};
use crate::addressing::Mode;
use crate::capabilities::{Capabilities, DeliveryStatus};
use crate::icr::Unsent;
use crate::ipi::{Delivery, Destination, Ipi, Trigger};
use crate::registers::{
    DFR, DIVIDE, EOI, ESR, ICR, ICR_HIGH, ID, INITIAL_COUNT, IRR, LDR, LVT_BITS, LVT_ERROR, LVT_MASKED, LVT_TIMER, PPR,
    SELF_IPI, SVR, SVR_BITS, SVR_ENABLE, TMR, TPR, TSC_DEADLINE_MSR, X2APIC_MSR, errors,
};
use crate::requests::Requests;
use crate::timer::{Deadline, Now};
use crate::vectors::Vectors;
use alloc::vec::Vec;
use proptest::prelude::*;

const NOW: Now = Now { ns: 1000, tsc: 2000 };
const ALL: Capabilities =
    Capabilities { address_bits: 48, x2apic: true, tsc_deadline: true, icr_delivery_status: DeliveryStatus::Ignored };

/// A local APIC, and what its senders share with it.
struct Machine {
    apic: LocalApic,
    irr: Vectors,
    tmr: Vectors,
    now: Now,
}

impl Machine {
    fn after_reset(capabilities: Capabilities) -> Self {
        let apic = LocalApic::new(3, false, capabilities);
        Self { apic, irr: Vectors::new(), tmr: Vectors::new(), now: NOW }
    }

    fn xapic_with(capabilities: Capabilities) -> Self {
        let mut machine = Self::after_reset(capabilities);
        assert_eq!(machine.store(SVR, SVR_ENABLE | 0xFF), Effect::FirstEnable);
        machine
    }

    /// Enabled by hardware and software, in xAPIC mode.
    fn xapic() -> Self {
        Self::xapic_with(ALL)
    }

    fn x2apic_with(capabilities: Capabilities) -> Self {
        let mut machine = Self::xapic_with(capabilities);
        assert_eq!(machine.apic.set_base(machine.apic.base() | BASE_X2APIC), Ok(()));
        machine
    }

    fn x2apic() -> Self {
        Self::x2apic_with(ALL)
    }

    fn requests(&self) -> Requests<'_> {
        Requests { irr: &self.irr, tmr: &self.tmr }
    }

    fn load<const N: usize>(&mut self, offset: u32) -> [u8; N] {
        let mut data = [0x5A; N];
        let Self { apic, irr, tmr, now } = self;
        apic.load(offset, &mut data, &|| *now, Requests { irr, tmr });
        data
    }

    fn read(&mut self, offset: u32) -> u32 {
        u32::from_le_bytes(self.load(offset))
    }

    fn store_bytes(&mut self, offset: u32, data: &[u8]) -> Effect {
        let Self { apic, irr, tmr, now } = self;
        apic.store(offset, data, &|| *now, Requests { irr, tmr })
    }

    fn store(&mut self, offset: u32, value: u32) -> Effect {
        self.store_bytes(offset, &value.to_le_bytes())
    }

    fn read_msr(&mut self, msr: u32) -> Result<u64, GeneralProtection> {
        let Self { apic, irr, tmr, now } = self;
        apic.read_msr(msr, &|| *now, Requests { irr, tmr })
    }

    fn write_msr(&mut self, msr: u32, value: u64) -> Result<Effect, GeneralProtection> {
        let Self { apic, irr, tmr, now } = self;
        apic.write_msr(msr, value, &|| *now, Requests { irr, tmr })
    }

    fn tick(&mut self) {
        let Self { apic, irr, tmr, now } = self;
        apic.tick(&|| *now, Requests { irr, tmr });
    }

    fn pending(&self) -> Option<u8> {
        self.apic.pending(self.requests())
    }

    fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        let Self { apic, irr, tmr, .. } = self;
        apic.acknowledge(vector, Requests { irr, tmr });
        Some(vector)
    }
}

fn msr(offset: u32) -> u32 {
    X2APIC_MSR + offset / 16
}

#[test]
fn after_reset_it_is_as_the_manual_says() {
    let mut machine = Machine::after_reset(ALL);
    assert_eq!(machine.read(ID), 3 << 24);
    assert_eq!([SVR, DFR, LDR, TPR].map(|offset| machine.read(offset)), [0xFF, u32::MAX, 0, 0]);
    let lvt: Vec<u32> = (LVT_TIMER..=LVT_ERROR).step_by(16).map(|offset| machine.read(offset)).collect();
    assert_eq!(lvt, [LVT_MASKED; 6]);
    assert_eq!(machine.apic.base(), 0xFEE0_0800);
    assert_eq!(LocalApic::new(3, true, ALL).base(), 0xFEE0_0900);
    assert!(!machine.apic.addressing().enabled, "software has not enabled it");
}

#[test]
fn the_highest_vector_above_the_priority_comes_first() {
    let mut machine = Machine::xapic();
    assert!(machine.irr.set(0x51) && machine.irr.set(0xE1) && machine.irr.set(0xD1));
    assert_eq!(machine.acknowledge(), Some(0xE1));
    assert_eq!(machine.apic.ppr(), 0xE0);
    assert_eq!(machine.pending(), None, "a lower class waits for the EOI");
    assert!(machine.irr.set(0xF1));
    assert_eq!(machine.acknowledge(), Some(0xF1), "a higher one does not");
    let ended = |vector| Effect::EndOfInterrupt { vector, level: false };
    assert_eq!([(); 3].map(|()| machine.store(EOI, 0)), [ended(0xF1), ended(0xE1), Effect::None]);
    assert_eq!(machine.pending(), Some(0xD1));
    machine.apic.set_cr8(14);
    assert_eq!(
        (machine.pending(), machine.apic.highest(machine.requests()), machine.apic.ppr()),
        (None, Highest::Held, 0xE0)
    );
    machine.apic.set_cr8(5);
    assert_eq!(machine.acknowledge(), Some(0xD1));
    assert_eq!(machine.apic.highest(machine.requests()), Highest::Nothing, "what is in service holds the rest");
}

#[test]
fn a_write_of_cr8_clears_the_subclass() {
    let mut machine = Machine::xapic();
    machine.store(TPR, 0xDF);
    assert_eq!(machine.apic.cr8(), 13);
    machine.apic.set_cr8(13);
    assert_eq!(machine.read(TPR), 0xD0, "of the same class, too");
    machine.apic.set_cr8(2);
    assert_eq!(machine.read(TPR), 0x20);
}

#[test]
fn commands_are_sent_in_both_modes() {
    let mut machine = Machine::xapic();
    machine.store(ICR_HIGH, 7 << 24);
    let sent = machine.store(ICR, 0x40E1);
    assert_eq!(sent, Effect::Send(Ipi::new(Delivery::Fixed(0xE1), Destination::Physical(7))));
    assert_eq!((machine.read(ICR_HIGH), machine.read(ICR)), (7 << 24, 0x40E1));
    let mut machine = Machine::x2apic();
    let sent = machine.write_msr(msr(ICR), 0x0000_0107_0000_40E1);
    assert_eq!(sent, Ok(Effect::Send(Ipi::new(Delivery::Fixed(0xE1), Destination::Physical(0x107)))));
    let own = Ipi::new(Delivery::Fixed(0x51), Destination::Itself);
    assert_eq!(machine.write_msr(msr(SELF_IPI), 0x51), Ok(Effect::Send(own)));
}

#[test]
fn the_icrs_trigger_mode_is_for_init_alone() {
    let sent = Machine::xapic().store(ICR, 0x8000 | 0x40E1);
    assert_eq!(sent, Effect::Send(Ipi::new(Delivery::Fixed(0xE1), Destination::Physical(0))), "by an edge");
}

#[test]
fn only_an_aligned_store_of_32_bits_writes() {
    let mut machine = Machine::xapic();
    let command = 0x40E1_u32.to_le_bytes();
    for (offset, bytes) in
        [(ICR, &command[..1]), (ICR, &command[..2]), (ICR + 1, &command[..]), (ICR + 4, &command[..])]
    {
        assert_eq!(machine.store_bytes(offset, bytes), Effect::None, "{} bytes at {offset:#x}", bytes.len());
    }
    assert_eq!(machine.store_bytes(ICR, &[0xE1, 0x40, 0, 0, 0, 0, 0, 0]), Effect::None, "64 bits");
    assert_eq!(machine.read(ICR), 0, "nothing was sent");
    machine.store(ESR, 0);
    assert_eq!(machine.read(ESR), 0, "and nothing is an error");
}

#[test]
fn a_load_gives_the_bytes_of_one_register() {
    let mut machine = Machine::xapic();
    machine.store(LDR, 0x1200_0000);
    machine.store(TPR, 0x34);
    assert_eq!(machine.load(LDR + 3), [0x12]);
    assert_eq!(machine.load(LDR + 2), [0, 0x12]);
    assert_eq!(machine.load(TPR), [0x34, 0]);
    assert_eq!((machine.load(LDR + 3), machine.load(TPR + 4)), ([0, 0], [0, 0]), "beyond it: undefined, zeros here");
    assert_eq!(machine.load(TPR), [0; 8]);
    machine.store(ESR, 0);
    assert_eq!(machine.read(ESR), 0);
}

#[test]
fn without_registers_in_memory_loads_are_ones_and_stores_are_lost() {
    let mut off = Machine::xapic();
    assert_eq!(off.apic.set_base(off.apic.base() & !BASE_ENABLE), Ok(()));
    for mut machine in [off, Machine::x2apic()] {
        assert_eq!((machine.load(TPR), machine.load(0x47)), ([0xFF; 4], [0xFF]));
        assert_eq!(machine.store(ICR, 0x40E1), Effect::None);
        machine.store(TPR, 0x50);
        assert_eq!(machine.apic.cr8(), 0);
    }
}

#[test]
fn errors_show_after_a_write_and_interrupt_once() {
    let mut machine = Machine::xapic();
    machine.store(LVT_ERROR, 0x31);
    assert_eq!(machine.store(ICR, 0x400F), Effect::Unsent(Unsent::IllegalVector(15)));
    assert!(machine.irr.take(0x31));
    assert_eq!(machine.read(ESR), 0, "not written yet");
    machine.store(0x40, 0);
    machine.store(ICR, 0x400F);
    machine.store(ESR, 0);
    assert_eq!(machine.read(ESR), errors::SEND_ILLEGAL_VECTOR | errors::ILLEGAL_REGISTER);
    machine.store(ESR, 0);
    assert_eq!(machine.read(ESR), 0);
}

#[test]
fn an_error_interrupt_with_an_illegal_vector_ends() {
    let mut machine = Machine::xapic();
    machine.store(LVT_ERROR, 0x05);
    machine.store(0x40, 0);
    machine.store(ESR, 0);
    assert_eq!(machine.read(ESR), errors::ILLEGAL_REGISTER | errors::RECEIVE_ILLEGAL_VECTOR);
    assert_eq!(machine.irr.highest(), None);
}

#[test]
fn x2apic_mode_has_msrs_and_their_reserved_bits() {
    let mut machine = Machine::x2apic();
    assert_eq!(machine.read_msr(msr(ID)), Ok(3));
    assert_eq!(machine.read_msr(msr(LDR)), Ok(8));
    for unreadable in [DFR, EOI, ICR_HIGH, SELF_IPI, 0x90, 0xC0, 0x2F0] {
        assert_eq!(machine.read_msr(msr(unreadable)), Err(GeneralProtection), "{unreadable:#x}");
    }
    for (offset, value) in [
        (EOI, 1),
        (ESR, 1),
        (TPR, 0x100),
        (SVR, 0x11FF),
        (ID, 0),
        (LDR, 0),
        (PPR, 0),
        (ICR, 1 << 13),
        (LVT_TIMER, 1 << 19),
        (LVT_TIMER, 1 << 14),
        (LVT_ERROR, 1 << 14),
    ] {
        assert_eq!(machine.write_msr(msr(offset), value), Err(GeneralProtection), "{offset:#x}");
    }
    assert_eq!(machine.write_msr(msr(TPR), 0xFF), Ok(Effect::None));
    assert_eq!(Machine::xapic().read_msr(msr(ID)), Err(GeneralProtection), "not in xAPIC mode");
}

#[test]
fn read_only_bits_are_not_reserved() {
    let mut machine = Machine::x2apic();
    for (offset, read_only) in
        [(LVT_TIMER, 1 << 12), (0x350, 1 << 12 | 1 << 14), (0x360, 1 << 14), (LVT_ERROR, 1 << 12)]
    {
        assert_eq!(machine.write_msr(msr(offset), read_only | 0x41), Ok(Effect::None), "{offset:#x}");
        assert_eq!(machine.read_msr(msr(offset)), Ok(0x41), "{offset:#x}");
    }
    assert_eq!(machine.write_msr(msr(SVR), 0x3FF), Ok(Effect::None));
    assert_eq!(machine.read_msr(msr(SVR)), Ok(0x3FF), "focus processor checking is kept");
}

#[test]
fn the_icrs_delivery_status_is_a_question_of_the_vendor() {
    let mut intel = Machine::x2apic();
    assert!(matches!(intel.write_msr(msr(ICR), 1 << 12 | 0x40E1), Ok(Effect::Send(_))));
    assert_eq!(intel.read_msr(msr(ICR)), Ok(0x40E1));
    let mut amd = Machine::x2apic_with(Capabilities { icr_delivery_status: DeliveryStatus::Reserved, ..ALL });
    assert_eq!(amd.write_msr(msr(ICR), 1 << 12 | 0x40E1), Err(GeneralProtection));
}

#[test]
fn modes_change_as_in_the_manuals_figure() {
    let mut machine = Machine::xapic();
    let off = machine.apic.base() & !BASE_ENABLE;
    let (on, x2apic) = (off | BASE_ENABLE, off | BASE_ENABLE | BASE_X2APIC);
    assert_eq!(machine.apic.set_base(off | BASE_X2APIC), Err(GeneralProtection));
    assert_eq!(machine.apic.set_base(x2apic), Ok(()));
    assert_eq!(machine.apic.set_base(on), Err(GeneralProtection), "x2APIC back to xAPIC");
    assert_eq!(machine.apic.set_base(off), Ok(()));
    assert_eq!(machine.apic.set_base(x2apic), Err(GeneralProtection), "off straight to x2APIC");
    assert_eq!(machine.apic.set_base(on), Ok(()));
    assert_eq!(machine.apic.set_base(on | 1 << 48), Err(GeneralProtection));
    assert_eq!(machine.apic.set_base(on | 1), Err(GeneralProtection));
    let mut hidden = Machine::after_reset(Capabilities { x2apic: false, ..ALL });
    assert_eq!(hidden.apic.set_base(x2apic), Err(GeneralProtection), "CPUID does not show it");
}

#[test]
fn off_and_on_again_it_is_what_it_was() {
    let mut machine = Machine::xapic();
    machine.store(TPR, 0x20);
    machine.store(LVT_TIMER, 0x31);
    machine.store(DIVIDE, 0b1011);
    machine.store(INITIAL_COUNT, 500);
    machine.irr.set(0x51);
    let on = machine.apic.base();
    assert_eq!(machine.apic.set_base(on & !BASE_ENABLE), Ok(()));
    assert_eq!((machine.pending(), machine.apic.addressing().mode), (None, Mode::Disabled));
    machine.now.ns += 500;
    machine.tick();
    assert!(!machine.irr.contains(0x31), "off, it raises nothing");
    assert_eq!(machine.apic.set_base(on), Ok(()));
    assert_eq!((machine.read(SVR), machine.read(TPR), machine.pending()), (SVR_ENABLE | 0xFF, 0x20, Some(0x51)));
}

#[test]
fn disabled_by_software_it_masks_its_lvt() {
    let mut machine = Machine::xapic();
    machine.store(LVT_TIMER, 0x31);
    machine.store(SVR, 0xFF);
    assert_eq!(machine.read(LVT_TIMER), LVT_MASKED | 0x31);
    machine.store(LVT_TIMER, 0x31);
    assert_eq!(machine.read(LVT_TIMER), LVT_MASKED | 0x31, "the mask stays while it is disabled");
}

#[test]
fn disabled_by_software_it_still_gives_what_waits() {
    let mut machine = Machine::xapic();
    machine.irr.set(0x51);
    machine.store(SVR, 0xFF);
    assert_eq!(machine.pending(), Some(0x51));
    assert_eq!(machine.store(SVR, SVR_ENABLE | 0xFF), Effect::None, "only the first one clears");
    machine.apic.init();
    assert_eq!((machine.pending(), machine.read(IRR + 0x20)), (None, 0), "what a late sender leaves is not there");
    assert_eq!(machine.store(SVR, SVR_ENABLE | 0xFF), Effect::FirstEnable);
}

#[test]
fn the_timer_interrupts() {
    let mut machine = Machine::xapic();
    machine.store(LVT_TIMER, 0x31);
    machine.store(DIVIDE, 0b1011);
    machine.store(INITIAL_COUNT, 500);
    assert_eq!(machine.apic.next_deadline(), Some(Deadline::Ns(1500)));
    machine.now.ns = 1499;
    machine.tick();
    assert_eq!(machine.irr.highest(), None);
    machine.now.ns = 1500;
    machine.tick();
    assert_eq!(machine.irr.highest(), Some(0x31));
}

#[test]
fn without_tsc_deadline_in_cpuid_there_is_none() {
    const NONE: Capabilities = Capabilities { tsc_deadline: false, ..ALL };
    const MODE_2: u32 = 2 << 17;
    let mut machine = Machine::xapic_with(NONE);
    machine.store(LVT_TIMER, MODE_2 | 0x31);
    assert_eq!(machine.read(LVT_TIMER), 0x31, "the bit does not stick");
    assert_eq!(machine.read_msr(TSC_DEADLINE_MSR), Err(GeneralProtection));
    assert_eq!(machine.write_msr(TSC_DEADLINE_MSR, 5), Err(GeneralProtection));
    let mut machine = Machine::x2apic_with(NONE);
    assert_eq!(machine.write_msr(msr(LVT_TIMER), (MODE_2 | 0x31).into()), Err(GeneralProtection));
    let mut machine = Machine::x2apic();
    assert_eq!(machine.write_msr(msr(LVT_TIMER), (MODE_2 | 0x31).into()), Ok(Effect::None));
    assert_eq!(machine.write_msr(TSC_DEADLINE_MSR, 9000), Ok(Effect::None));
    assert_eq!(machine.read_msr(TSC_DEADLINE_MSR), Ok(9000));
    assert_eq!(machine.apic.set_base(machine.apic.base() & !(BASE_ENABLE | BASE_X2APIC)), Ok(()));
    assert_eq!(machine.read_msr(TSC_DEADLINE_MSR), Ok(0), "switched off");
}

#[test]
fn init_keeps_id_and_mode() {
    let mut machine = Machine::x2apic();
    machine.write_msr(msr(TPR), 0x50).expect("allowed");
    let base = machine.apic.base();
    machine.apic.init();
    assert_eq!((machine.apic.base(), machine.apic.addressing().id, machine.apic.cr8()), (base, 3, 0));
}

#[test]
fn the_end_of_a_level_triggered_interrupt_is_told() {
    let mut machine = Machine::xapic();
    machine.requests().set_trigger(0x51, Trigger::Level);
    machine.irr.set(0x51);
    assert_eq!(machine.read(TMR + 0x20), 1 << 0x11);
    assert_eq!(machine.acknowledge(), Some(0x51));
    assert_eq!(machine.store(EOI, 0), Effect::EndOfInterrupt { vector: 0x51, level: true });
    machine.requests().accept(0x51);
    assert_eq!(machine.acknowledge(), Some(0x51));
    assert_eq!(machine.store(EOI, 0), Effect::EndOfInterrupt { vector: 0x51, level: false }, "the last one decides");
}

proptest! {
    /// Nothing that a guest writes panics, and what it reads back has no bits that it could not write.
    #[test]
    fn any_accesses_are_survived(
        accesses in prop::collection::vec((0..5_u8, any::<u32>(), any::<u64>()), 1..200),
        x2 in any::<bool>(),
    ) {
        let mut machine = if x2 { Machine::x2apic() } else { Machine::xapic() };
        for (kind, place, value) in accesses {
            match kind {
                0 => { machine.load::<4>(place % 0x1000); }
                1 => { machine.store((place % 0x1000) & !0xF, low(value)); }
                2 => { let _ = machine.read_msr(X2APIC_MSR + place % 0x100); }
                3 => { let _ = machine.write_msr(X2APIC_MSR + place % 0x100, value); }
                _ => {
                    let _ = machine.apic.set_base(value);
                    machine.apic.set_cr8(value % 16);
                    let [vector, ..] = place.to_le_bytes();
                    machine.irr.set(vector);
                    machine.acknowledge();
                    machine.now.ns = machine.now.ns.saturating_add(value);
                    machine.tick();
                }
            }
            prop_assert!(machine.apic.svr & !SVR_BITS == 0);
            prop_assert!(machine.apic.lvt.iter().zip(LVT_BITS).all(|(entry, bits)| entry & !bits == 0));
            prop_assert!(machine.pending().is_none_or(|vector| vector >> 4 > machine.apic.ppr() >> 4));
        }
    }
}
