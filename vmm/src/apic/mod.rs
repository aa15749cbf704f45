//! A local APIC in user space, and the broadcast service on top of it.

pub mod ipi;
pub mod vectors;
