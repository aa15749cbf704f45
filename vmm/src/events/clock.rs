//! The clock: guest TSC = host TSC + offset, and how far that can be trusted.

pub use kipi_kvm_apic::tsc::{Method, Offset, host as host_tsc};
use std::time::Duration;

/// A time in TSC cycles.
pub fn cycles(time: Duration, tsc_khz: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(tsc_khz) / 1_000_000).unwrap_or(u64::MAX)
}

/// One exchange of stamps: the partner's stamp was taken between the two of vCPU 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// vCPU 0, before the request.
    pub sent: u64,
    /// The partner, between request and answer.
    pub answered: u64,
    /// vCPU 0, after the answer.
    pub received: u64,
}
