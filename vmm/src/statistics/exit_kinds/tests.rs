use super::*;
use crate::events::timeline::tests::event;

const VMX: u64 = 1;
const SVM: u64 = 2;
/// Modes of the local APIC.
const XAPIC: bool = false;
const X2APIC: bool = true;

fn kernel(point: Point, values: [u64; 3]) -> Event {
    event(0, 0, EventKind::Kernel(point, values))
}

fn left(reason: u64, isa: u64, info: u64) -> Event {
    kernel(Point::Exit, [reason, isa, info])
}

fn written(register: u64) -> Event {
    kernel(Point::Apic, [1, register, 0])
}

/// What these events of vCPU 0 are exits of.
fn acts(events: &[Event], x2apic: bool) -> Vec<Option<Act>> {
    let evidence = Evidence::of(events, x2apic);
    (0..events.len()).filter_map(|index| evidence.exit(index)).map(Kind::act).collect()
}

#[test]
fn an_exit_that_says_all_is_its_act() {
    for (act, [vmx, svm]) in [
        (Act::Cpuid, [(10, 0), (0x72, 0)]),
        (Act::Hlt, [(12, 0), (0x78, 0)]),
        (Act::OutVmm, [(30, 0x510_0001), (0x7B, 0x510_0040)]),
        (Act::InVmm, [(30, 0x510_0009), (0x7B, 0x510_0041)]),
        (Act::Rdmsr, [(31, 0), (0x7C, 0)]),
        // Of an MSR that is no local APIC's.
        (Act::Wrmsr, [(32, 0), (0x7C, 1)]),
    ] {
        for ((reason, info), isa) in [(vmx, VMX), (svm, SVM)] {
            assert_eq!(acts(&[left(reason, isa, info)], X2APIC), [Some(act)], "{reason:#x}");
        }
    }
    assert_eq!(acts(&[left(1, VMX, 0), left(0x60, SVM, 0)], X2APIC), [None; 2], "interrupts of the host");
}

#[test]
fn an_exit_for_a_local_apic_is_that_of_its_register() {
    const OTHERS: u64 = 0x310;
    let by_register = [
        (0x300, [Some(Act::IcrXApic), Some(Act::IcrX2Apic)]),
        (0xB0, [Some(Act::EoiXApic), Some(Act::EoiX2Apic)]),
        (OTHERS, [None; 2]),
    ];
    for (register, [of_xapic, of_x2apic]) in by_register {
        for (wrmsr, isa, info) in [(32, VMX, 0), (0x7C, SVM, 1)] {
            assert_eq!(acts(&[left(wrmsr, isa, info), written(register)], X2APIC), [of_x2apic]);
        }
        for (access, isa) in [(44, VMX), (48, VMX), (49, VMX), (0x400, SVM), (0x402, SVM)] {
            assert_eq!(acts(&[left(access, isa, 0), written(register)], XAPIC), [of_xapic], "{access:#x}");
        }
        assert_eq!(acts(&[left(56, VMX, register), written(register)], XAPIC), [of_xapic]);
        assert_eq!(acts(&[left(56, VMX, register), written(register)], X2APIC), [of_x2apic]);
    }
    let delivery_status = kernel(Point::Apic, [0, 0x300, 0]);
    assert_eq!(acts(&[left(48, VMX, 0), delivery_status], XAPIC), [Some(Act::ReadXApic)]);
}

#[test]
fn a_page_that_is_touched_first_is_no_access_to_a_local_apic() {
    assert_eq!(acts(&[left(48, VMX, 0), left(0x400, SVM, 0)], XAPIC), [None; 2]);
    let entry = kernel(Point::Entry, [0; 3]);
    assert_eq!(acts(&[left(48, VMX, 0), entry, left(49, VMX, 0), written(0x300)], XAPIC), [None, Some(Act::IcrXApic)]);
    let elsewhere = event(0, 1, EventKind::Kernel(Point::Apic, [1, 0x300, 0]));
    assert_eq!(acts(&[left(48, VMX, 0), elsewhere], XAPIC), [None], "another vCPU's");
}

#[test]
fn an_icr_write_that_apic_virtualisation_has_begun_needs_no_other_event() {
    for (x2apic, act) in [(XAPIC, Act::IcrXApic), (X2APIC, Act::IcrX2Apic)] {
        assert_eq!(acts(&[left(56, VMX, 0x300)], x2apic), [Some(act)]);
        assert_eq!(acts(&[left(0x401, SVM, 0)], x2apic), [Some(act)]);
    }
}

#[test]
fn where_kvm_shows_no_exits_each_access_counts_once() {
    let msr = |write, msr| kernel(Point::Msr, [write, msr, 0]);
    let events = [msr(1, 0x830), written(0x300), msr(1, 0x80B), written(0xB0), kernel(Point::Eoi, [0xE1, 1, 0])];
    assert_eq!(acts(&events, X2APIC), [Some(Act::IcrX2Apic), Some(Act::EoiX2Apic)]);
    assert_eq!(acts(&[msr(1, 0x83F), msr(0, 0x802), msr(1, 0x6E0)], X2APIC), [None, None, Some(Act::Wrmsr)]);
    // A timer's MSR beside them.
    let events = [msr(1, 0x6E0), written(0x310), written(0x300), written(0xB0)];
    assert_eq!(acts(&events, XAPIC), [Some(Act::Wrmsr), None, Some(Act::IcrXApic), Some(Act::EoiXApic)]);
    let ports = [kernel(Point::Port, [1, 0x510, 0]), kernel(Point::Port, [0, 0x510, 0])];
    assert_eq!(acts(&ports, XAPIC), [Some(Act::OutVmm), Some(Act::InVmm)]);
}

#[test]
fn an_exit_to_the_vmm_is_what_its_local_apic_serves() {
    let stay = |kind, payload| event(0, 0, EventKind::Return(Exit::with(kind, payload)));
    let write = |register| stay(ExitKind::ApicWrite, register);
    let events = [write(0x310), write(0x300), write(0xB0), stay(ExitKind::ApicRead, 0x300)];
    let found = [None, Some(Act::IcrXApic), Some(Act::EoiXApic), Some(Act::ReadXApic)];
    assert_eq!(acts(&events, XAPIC), found);
    assert_eq!(acts(&events[1..3], X2APIC), [Some(Act::IcrX2Apic), Some(Act::EoiX2Apic)]);
    let others = [stay(ExitKind::Interrupted, 0), stay(ExitKind::Observe, 1), stay(ExitKind::Halt, 0)];
    assert_eq!(acts(&others, XAPIC), [None, Some(Act::OutVmm), Some(Act::Hlt)]);
}
