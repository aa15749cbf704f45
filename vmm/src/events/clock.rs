//! The clock: guest TSC = host TSC + offset, and how far that can be trusted.

use std::arch::x86_64::_rdtsc;
use std::time::{Duration, Instant};

/// How an offset was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The vCPU's attribute KVM_VCPU_TSC_OFFSET (KVM API, vcpu devices): exact.
    Attribute,
    /// The guest's IA32_TSC read between two reads of the host's.
    Bracket,
}

/// Guest TSC minus host TSC of one vCPU, in cycles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The difference.
    pub cycles: i64,
    /// How far it may be off, in cycles.
    pub error: u64,
    /// How it was obtained.
    pub method: Method,
}

#[inline]
pub fn host_tsc() -> u64 {
    // SAFETY: user space may read the TSC on every x86-64 Linux unless a process forbids it to itself (prctl).
    unsafe { _rdtsc() }
}

/// The host TSC's frequency in kHz, measured against CLOCK_MONOTONIC: for a KVM that does not tell.
pub fn measure_khz(over: Duration) -> u64 {
    let (start, tsc) = (Instant::now(), host_tsc());
    std::thread::sleep(over);
    let (elapsed, cycles) = (start.elapsed(), host_tsc().wrapping_sub(tsc));
    u64::try_from(u128::from(cycles) * 1_000_000 / elapsed.as_nanos().max(1)).unwrap_or(u64::MAX)
}

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
