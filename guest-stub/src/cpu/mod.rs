//! What a processor offers: registers, flags, ports, clock, local APIC and descriptor tables. Nothing here knows of calls.

pub(crate) mod apic;
pub(crate) mod flags;
pub(crate) mod frame;
pub(crate) mod hypercall;
pub(crate) mod hyperv;
pub(crate) mod irql;
pub(crate) mod msr;
pub(crate) mod port;
pub(crate) mod tables;
pub(crate) mod tsc;
