//! Descriptors of segments, the TSS and interrupt gates (SDM Vol. 3A 3.4.5, 7.14.1, 8.2.3), as numbers.

/// Selector of 64-bit code at CPL0, in the GDT of [`gdt`].
pub const KERNEL_CODE: u16 = 0x08;
/// Selector of data at CPL0.
pub const KERNEL_DATA: u16 = 0x10;
/// Selector of data at CPL3.
pub const USER_DATA: u16 = 0x18 | 3;
/// Selector of 64-bit code at CPL3.
pub const USER_CODE: u16 = 0x20 | 3;
/// Selector of the TSS, whose descriptor takes two places.
pub const TASK: u16 = 0x28;

/// Present, execute and read, accessed; L set, D clear: 64-bit code at CPL0.
const CODE64: u64 = 0x00AF_9B00_0000_FFFF;
/// Present, read and write, accessed: data at CPL0.
const DATA: u64 = 0x00CF_9300_0000_FFFF;
const DPL3: u64 = 3 << 45;
const PRESENT: u64 = 1 << 47;
const AVAILABLE_TSS: u64 = 9 << 40;
const INTERRUPT_GATE: u64 = 0xE << 40;

/// A GDT with the selectors above, for a TSS at `tss` of `tss_bytes`.
pub const fn gdt(tss: u64, tss_bytes: u64) -> [u64; 7] {
    let limit = tss_bytes - 1;
    let low = limit | (tss & 0xFF_FFFF) << 16 | AVAILABLE_TSS | PRESENT | (tss >> 24 & 0xFF) << 56;
    [0, CODE64, DATA, DATA | DPL3, CODE64 | DPL3, low, tss >> 32]
}

/// An interrupt gate to `handler` at CPL0, on stack `ist` of the TSS: IF is clear in the handler.
pub const fn interrupt_gate(handler: u64, ist: u8) -> [u64; 2] {
    let low = handler & 0xFFFF
        | (KERNEL_CODE as u64) << 16
        | (ist as u64) << 32
        | INTERRUPT_GATE
        | PRESENT
        | (handler >> 16 & 0xFFFF) << 48;
    [low, handler >> 32]
}

#[cfg(test)]
mod tests {
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
}
