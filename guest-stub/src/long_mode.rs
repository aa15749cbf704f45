//! The control registers that all of the guest's processors run with, whoever starts them.

/// CR0: PG, WP, NE, ET, MP, PE (SDM Vol. 3A 2.5).
pub const CR0: u32 = 0x8001_0033;
/// CR4: OSXMMEXCPT, OSFXSR, PAE.
pub const CR4: u32 = 0x620;
/// EFER: NXE, LME; LMA follows from CR0.PG (SDM Vol. 3A table 2-5).
pub const EFER: u32 = 0x900;
/// EFER.LMA, once long mode is active.
pub const LMA: u32 = 1 << 10;
/// The number of EFER's MSR.
pub const IA32_EFER: u32 = 0xC000_0080;
