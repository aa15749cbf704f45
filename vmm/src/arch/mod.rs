//! What x86-64 asks of a VMM before the first instruction: page tables, registers, CPUID.

pub mod cpuid;
pub mod paging;
pub mod regs;

/// vCPUs that the xAPIC's eight-bit ids can tell apart: 255 is its broadcast address (SDM Vol. 3A 12.6.2.1).
pub const XAPIC_VCPUS: usize = 255;
