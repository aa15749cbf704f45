use super::*;

fn bits(value: u64, low: u32, count: u32) -> u64 {
    value >> low & ((1 << count) - 1)
}

#[test]
fn segments_have_the_manuals_fields() {
    let gdt = gdt(0x1234_5678_9ABC, 104);
    for (selector, dpl, long) in [(KERNEL_CODE, 0, 1), (KERNEL_DATA, 0, 0), (USER_DATA, 3, 0), (USER_CODE, 3, 1)] {
        let descriptor = gdt[usize::from(selector >> 3)];
        assert_eq!(bits(descriptor, 47, 1), 1, "present");
        assert_eq!(bits(descriptor, 44, 1), 1, "code or data");
        assert_eq!(bits(descriptor, 45, 2), dpl);
        assert_eq!(bits(descriptor, 53, 1), long, "L");
        assert_eq!(bits(descriptor, 43, 1), long, "code");
        assert_eq!(u64::from(selector & 3), dpl, "requested privilege");
        assert!(long == 0 || bits(descriptor, 54, 1) == 0, "D must be clear in 64-bit code");
    }
}

#[test]
fn the_tss_descriptor_is_figure_8_4() {
    let gdt = gdt(0x1234_5678_9ABC, 104);
    let (low, high) = (gdt[5], gdt[6]);
    let base = bits(low, 16, 24) | bits(low, 56, 8) << 24 | high << 32;
    assert_eq!(base, 0x1234_5678_9ABC);
    assert_eq!(bits(low, 0, 16), 103, "limit");
    assert_eq!(bits(low, 40, 5), 9, "64-bit TSS, available");
    assert_eq!(bits(low, 47, 1), 1);
    assert_eq!(usize::from(TASK >> 3), 5);
}

#[test]
fn gates_are_figure_7_8() {
    let [low, high] = interrupt_gate(0xFFFF_8000_1234_5678, 3);
    assert_eq!(bits(low, 0, 16) | bits(low, 48, 16) << 16 | high << 32, 0xFFFF_8000_1234_5678);
    assert_eq!(bits(low, 16, 16), u64::from(KERNEL_CODE));
    assert_eq!(bits(low, 32, 3), 3, "IST");
    assert_eq!(bits(low, 40, 4), 0xE, "interrupt gate");
    assert_eq!(bits(low, 45, 2), 0, "DPL");
    assert_eq!(bits(low, 47, 1), 1);
}
