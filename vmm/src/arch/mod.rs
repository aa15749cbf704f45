//! What x86-64 asks of a VMM before the first instruction: page tables, registers, CPUID.

pub mod cpuid;
pub mod paging;
pub mod regs;
