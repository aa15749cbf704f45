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
mod tests;
