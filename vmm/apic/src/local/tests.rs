use super::accesses::low;
use super::state::{BASE_ENABLE, BASE_X2APIC};
use super::{Effect, GeneralProtection, LocalApic};
use crate::icr::Unsent;
use crate::ipi::{Delivery, Destination, Ipi};
use crate::registers::{
    DFR, DIVIDE, EOI, ESR, ICR, ICR_HIGH, ID, INITIAL_COUNT, LDR, LVT_BITS, LVT_ERROR, LVT_MASKED, LVT_TIMER, PPR,
    SELF_IPI, SVR, SVR_BITS, SVR_ENABLE, TPR, X2APIC_MSR, errors,
};
use crate::timer::{Deadline, Now};
use crate::vectors::Vectors;
use alloc::vec::Vec;
use proptest::prelude::*;

const NOW: Now = Now { ns: 1000, tsc: 2000 };

fn now() -> Now {
    NOW
}

/// Enabled by hardware and software, in xAPIC mode.
fn xapic() -> (LocalApic, Vectors) {
    let (mut apic, irr) = (LocalApic::new(3, false), Vectors::new());
    apic.write_mmio(SVR, SVR_ENABLE | 0xFF, &now, &irr);
    (apic, irr)
}

fn x2apic() -> (LocalApic, Vectors) {
    let (mut apic, irr) = xapic();
    assert_eq!(apic.set_base(apic.base() | BASE_X2APIC, 48), Ok(()));
    (apic, irr)
}

fn msr(offset: u32) -> u32 {
    X2APIC_MSR + offset / 16
}

#[test]
fn after_reset_it_is_as_the_manual_says() {
    let (mut apic, irr) = (LocalApic::new(5, true), Vectors::new());
    let mut read = |offset| apic.read_mmio(offset, &now, &irr);
    assert_eq!(read(ID), 5 << 24);
    assert_eq!((read(SVR), read(DFR), read(LDR), read(TPR)), (0xFF, u32::MAX, 0, 0));
    assert_eq!((LVT_TIMER..=LVT_ERROR).step_by(16).map(read).collect::<Vec<_>>(), [LVT_MASKED; 6]);
    assert_eq!(apic.base(), 0xFEE0_0900);
    assert!(!apic.addressing().enabled, "software has not enabled it");
}

#[test]
fn the_highest_vector_above_the_priority_comes_first() {
    let (mut apic, irr) = xapic();
    assert!(irr.set(0x51) && irr.set(0xE1) && irr.set(0xD1));
    assert_eq!(apic.acknowledge(&irr), Some(0xE1));
    assert_eq!(apic.ppr(), 0xE0);
    assert_eq!(apic.pending(&irr), None, "a lower class waits for the EOI");
    assert!(irr.set(0xF1));
    assert_eq!(apic.acknowledge(&irr), Some(0xF1), "a higher one does not");
    let mut end = || apic.write_mmio(EOI, 0, &now, &irr);
    assert_eq!([end(), end(), end()], [Effect::EndOfInterrupt(0xF1), Effect::EndOfInterrupt(0xE1), Effect::None]);
    assert_eq!(apic.pending(&irr), Some(0xD1));
    apic.set_cr8(14);
    assert_eq!((apic.pending(&irr), apic.held_by_tpr(&irr), apic.ppr()), (None, true, 0xE0));
    apic.set_cr8(5);
    assert_eq!(apic.acknowledge(&irr), Some(0xD1));
    assert!(!apic.held_by_tpr(&irr), "what is in service holds the rest");
}

#[test]
fn cr8_and_tpr_are_one() {
    let (mut apic, irr) = xapic();
    apic.write_mmio(TPR, 0xDF, &now, &irr);
    assert_eq!(apic.cr8(), 13);
    apic.set_cr8(13);
    assert_eq!(apic.read_mmio(TPR, &now, &irr), 0xDF, "CR8 as it was changes nothing");
    apic.set_cr8(2);
    assert_eq!(apic.read_mmio(TPR, &now, &irr), 0x20);
}

#[test]
fn commands_are_sent_in_both_modes() {
    let (mut apic, irr) = xapic();
    apic.write_mmio(ICR_HIGH, 7 << 24, &now, &irr);
    let sent = apic.write_mmio(ICR, 0x40E1, &now, &irr);
    assert_eq!(sent, Effect::Send(Ipi { delivery: Delivery::Fixed(0xE1), destination: Destination::Physical(7) }));
    assert_eq!((apic.read_mmio(ICR_HIGH, &now, &irr), apic.read_mmio(ICR, &now, &irr)), (7 << 24, 0x40E1));
    let (mut apic, irr) = x2apic();
    let sent = apic.write_msr(msr(ICR), 0x0000_0107_0000_40E1, &now, &irr);
    let ipi = Ipi { delivery: Delivery::Fixed(0xE1), destination: Destination::Physical(0x107) };
    assert_eq!(sent, Ok(Effect::Send(ipi)));
    let own = Ipi { delivery: Delivery::Fixed(0x51), destination: Destination::Itself };
    assert_eq!(apic.write_msr(msr(SELF_IPI), 0x51, &now, &irr), Ok(Effect::Send(own)));
}

#[test]
fn errors_show_after_a_write_and_interrupt_once() {
    let (mut apic, irr) = xapic();
    apic.write_mmio(LVT_ERROR, 0x31, &now, &irr);
    assert_eq!(apic.write_mmio(ICR, 0x400F, &now, &irr), Effect::Unsent(Unsent::IllegalVector(15)));
    assert!(irr.take(0x31));
    assert_eq!(apic.read_mmio(ESR, &now, &irr), 0, "not written yet");
    apic.write_mmio(0x40, 0, &now, &irr);
    apic.write_mmio(ICR, 0x400F, &now, &irr);
    apic.write_mmio(ESR, 0, &now, &irr);
    assert_eq!(apic.read_mmio(ESR, &now, &irr), errors::SEND_ILLEGAL_VECTOR | errors::ILLEGAL_REGISTER);
    apic.write_mmio(ESR, 0, &now, &irr);
    assert_eq!(apic.read_mmio(ESR, &now, &irr), 0);
}

#[test]
fn an_error_interrupt_with_an_illegal_vector_ends() {
    let (mut apic, irr) = xapic();
    apic.write_mmio(LVT_ERROR, 0x05, &now, &irr);
    apic.write_mmio(0x40, 0, &now, &irr);
    apic.write_mmio(ESR, 0, &now, &irr);
    assert_eq!(apic.read_mmio(ESR, &now, &irr), errors::ILLEGAL_REGISTER | errors::RECEIVE_ILLEGAL_VECTOR);
    assert_eq!(irr.highest(), None);
}

#[test]
fn x2apic_mode_has_msrs_and_their_reserved_bits() {
    let (mut apic, irr) = x2apic();
    assert_eq!(apic.read_msr(msr(ID), &now, &irr), Ok(3));
    assert_eq!(apic.read_msr(msr(LDR), &now, &irr), Ok(8));
    for unreadable in [DFR, EOI, ICR_HIGH, SELF_IPI, 0x90, 0xC0, 0x2F0] {
        assert_eq!(apic.read_msr(msr(unreadable), &now, &irr), Err(GeneralProtection), "{unreadable:#x}");
    }
    let mut write = |offset, value| apic.write_msr(msr(offset), value, &now, &irr);
    for (offset, value) in [(EOI, 1), (ESR, 1), (TPR, 0x100), (SVR, 0x2FF), (ID, 0), (LDR, 0), (PPR, 0), (ICR, 1 << 12)]
    {
        assert_eq!(write(offset, value), Err(GeneralProtection), "{offset:#x}");
    }
    assert_eq!(write(LVT_TIMER, 1 << 19), Err(GeneralProtection));
    assert_eq!(write(TPR, 0xFF), Ok(Effect::None));
    assert_eq!(xapic().0.read_msr(msr(ID), &now, &irr), Err(GeneralProtection), "not in xAPIC mode");
}

#[test]
fn modes_change_as_in_the_manuals_figure() {
    let (mut apic, _) = xapic();
    let off = apic.base() & !BASE_ENABLE;
    let (on, x2apic) = (off | BASE_ENABLE, off | BASE_ENABLE | BASE_X2APIC);
    assert_eq!(apic.set_base(off | BASE_X2APIC, 48), Err(GeneralProtection));
    assert_eq!(apic.set_base(x2apic, 48), Ok(()));
    assert_eq!(apic.set_base(on, 48), Err(GeneralProtection), "x2APIC back to xAPIC");
    assert_eq!(apic.set_base(off, 48), Ok(()));
    assert_eq!(apic.set_base(x2apic, 48), Err(GeneralProtection), "off straight to x2APIC");
    assert_eq!(apic.set_base(on, 48), Ok(()));
    assert!(!apic.addressing().enabled, "switched off, it forgot that software had enabled it");
    assert_eq!(apic.set_base(on | 1 << 48, 48), Err(GeneralProtection));
    assert_eq!(apic.set_base(on | 1, 48), Err(GeneralProtection));
}

#[test]
fn disabled_by_software_it_masks_its_lvt() {
    let (mut apic, irr) = xapic();
    apic.write_mmio(LVT_TIMER, 0x31, &now, &irr);
    apic.write_mmio(SVR, 0xFF, &now, &irr);
    assert_eq!(apic.read_mmio(LVT_TIMER, &now, &irr), LVT_MASKED | 0x31);
    apic.write_mmio(LVT_TIMER, 0x31, &now, &irr);
    assert_eq!(apic.read_mmio(LVT_TIMER, &now, &irr), LVT_MASKED | 0x31, "the mask stays while it is disabled");
}

#[test]
fn the_timer_interrupts() {
    let (mut apic, irr) = xapic();
    apic.write_mmio(LVT_TIMER, 0x31, &now, &irr);
    apic.write_mmio(DIVIDE, 0b1011, &now, &irr);
    apic.write_mmio(INITIAL_COUNT, 500, &now, &irr);
    assert_eq!(apic.next_deadline(), Some(Deadline::Ns(1500)));
    apic.tick(&|| Now { ns: 1499, ..NOW }, &irr);
    assert_eq!(irr.highest(), None);
    apic.tick(&|| Now { ns: 1500, ..NOW }, &irr);
    assert_eq!(irr.highest(), Some(0x31));
}

#[test]
fn init_keeps_id_and_mode() {
    let (mut apic, irr) = x2apic();
    apic.write_msr(msr(TPR), 0x50, &now, &irr).expect("allowed");
    let base = apic.base();
    apic.init();
    assert_eq!((apic.base(), apic.addressing().id, apic.cr8()), (base, 3, 0));
}

proptest! {
    /// Nothing that a guest writes panics, and what it reads back has no bits that it could not write.
    #[test]
    fn any_accesses_are_survived(
        accesses in prop::collection::vec((0..5_u8, any::<u32>(), any::<u64>()), 1..200),
        x2 in any::<bool>(),
    ) {
        let (mut apic, irr) = if x2 { x2apic() } else { xapic() };
        let mut time = NOW;
        for (kind, place, value) in accesses {
            match kind {
                0 => { apic.read_mmio(place % 0x1000, &|| time, &irr); }
                1 => { apic.write_mmio((place % 0x1000) & !0xF, low(value), &|| time, &irr); }
                2 => { let _ = apic.read_msr(X2APIC_MSR + place % 0x100, &|| time, &irr); }
                3 => { let _ = apic.write_msr(X2APIC_MSR + place % 0x100, value, &|| time, &irr); }
                _ => {
                    let _ = apic.set_base(value, 48);
                    apic.set_cr8(value % 16);
                    let [vector, ..] = place.to_le_bytes();
                    irr.set(vector);
                    apic.acknowledge(&irr);
                    time.ns = time.ns.wrapping_add(value);
                    apic.tick(&|| time, &irr);
                }
            }
            prop_assert!(apic.svr & !SVR_BITS == 0);
            prop_assert!(apic.lvt.iter().zip(LVT_BITS).all(|(entry, bits)| entry & !bits == 0));
            prop_assert!(apic.pending(&irr).is_none_or(|vector| vector >> 4 > apic.ppr() >> 4));
        }
    }
}
